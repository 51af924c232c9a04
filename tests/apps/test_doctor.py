"""The doctor on small recordings: healthy ones are healthy, every fault is named, and the command says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import lidistill
from doctors import GROSS, Changed, examined
from lidistill.apps.doctor import plan, summary
from lidistill.apps.doctor_frames import examine_frames
from lidistill.apps.doctor_page import write_page
from lidistill.cli import main
from lidistill.datasets.source import open_source

CAMERAS = ("front", "left", "back")


@pytest.fixture(scope="module")
def rig(tiny_rig: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes on a plane, 16 beams, three cameras."""
    return tiny_rig(tmp_path_factory.mktemp("doctor") / "rig", frames=6, cameras=3, height=144, width=288)


def test_healthy_recordings_are_healthy(rig: Path) -> None:
    report = examined(open_source(str(rig)))
    assert report.healthy, [finding.says for finding in report.findings]
    assert [test.verdict for test in report.cameras] == ["good"] * 3
    assert report.exit_code == 0
    assert report.figures["ground"]["height"] == pytest.approx(1.8, abs=0.15)
    assert report.measured is not None
    assert report.measured.rings == 16
    assert report.measured.fov == pytest.approx((-25, 8), abs=0.5)
    assert sum(report.figures["labels"].values()) == 6 * report.figures["points"][1]


# ---- files and the command


@pytest.fixture
def copy(rig: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(rig, tmp_path / "rig"))


def test_every_bad_file_in_one_pass(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, label, image = copy / "scans/000001.bin", copy / "labels/000002.label", copy / "images/left/000003.png"
    for path in (scan, label, image):
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2 - 6])
    assert main(["doctor", str(copy), "--no-page"]) == 1
    shown = capsys.readouterr().out
    assert all(str(path) in shown for path in (scan, label, image))
    assert "3 of 6 frames" in shown
    assert shown.rstrip().endswith("not healthy")


def test_a_camera_of_the_wrong_size_is_one_finding(copy: Path, tmp_path: Path) -> None:
    record = yaml.safe_load((copy / "rig.yaml").read_text())
    record["cameras"]["left"]["height"] += 1
    (copy / "rig.yaml").write_text(yaml.safe_dump(record))
    (copy / "images/back/000003.png").write_bytes(b"no picture")
    source = open_source(str(copy))
    report = examined(source)
    faults = [(finding.code, finding.camera) for finding in report.findings if finding.severity == "fault"]
    assert faults == [("picture-size", "left"), ("bad-files", None)]
    assert report.figures["cameras"]["left"]["verdict"] == "unusable"
    assert len(report.figures["bad_files"]) == 7
    text = summary(report)
    assert "left: unusable, none of its 6 pictures" in text
    assert text.count("bad file ") == 2
    assert "1 of 6 frames" in text
    page = write_page(report, source, tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert "left: none of its 6 pictures can be used" in page


def test_unknown_label_ids_and_short_scans(copy: Path) -> None:
    for path in (copy / "labels").iterdir():
        (np.fromfile(path, np.uint32) + 700).tofile(path)
    scan = copy / "scans" / "000004.bin"
    rows = np.fromfile(scan, np.float32).reshape(-1, 5)
    rows[rows[:, 1] > 0].tofile(scan)
    np.fromfile(copy / "labels" / "000004.label", np.uint32)[rows[:, 1] > 0].tofile(copy / "labels" / "000004.label")
    codes = {finding.code for finding in examined(open_source(str(copy))).findings}
    assert {"label-ids", "truncated-scans"} <= codes


def test_command_writes_one_page_and_prints_json(rig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["doctor", str(rig), "--out", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is True
    assert told["page"] == str(page)
    text = page.read_text()
    assert text.count("data:image/jpeg") == len(CAMERAS) + 1
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_page_shows_the_picture_before_and_after(rig: Path, tmp_path: Path) -> None:
    source = Changed(open_source(str(rig)), GROSS["transposed-rotation"])
    text = write_page(examined(source), source, tmp_path / "page.html").read_text()
    assert "transpose the 3 x 3 rotation" in text
    assert "from_lidar: [" in text


def test_statistics_can_be_pasted_into_rig_yaml(rig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(rig), "--statistics", "--no-page"]) == 0
    record = yaml.safe_load(capsys.readouterr().out)["lidar"]
    assert record["name"] == "tiny-16"
    assert record["rings"] == 16
    assert record["intensity"][0] == pytest.approx(20.5, abs=1)


def test_kitti_calibration_is_imported_and_then_examined(
    tiny_rig: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_rig(tmp_path / "rig", frames=4, height=144, width=288)
    record = yaml.safe_load((root / "rig.yaml").read_text())
    camera = record.pop("cameras")["front"]
    (root / "rig.yaml").write_text(yaml.safe_dump(record))
    rows = {"P2": np.column_stack([camera["intrinsics"], np.zeros(3)]), "Tr": np.array(camera["from_lidar"])[:3]}
    calib = tmp_path / "calib.txt"
    calib.write_text("".join(f"{key}: {' '.join(map(str, row.ravel()))}\n" for key, row in rows.items()))
    assert main(["doctor", str(root), "--calib", str(calib), "--no-page"]) == 0
    assert "front: sees" in capsys.readouterr().out
    written = yaml.safe_load((root / "rig.yaml").read_text())["cameras"]["front"]
    assert np.allclose(written["from_lidar"], camera["from_lidar"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/"], "nowhere"),
        (["drive.bag"], "--rig"),
        (["here", "--extrinsics", "e.yaml"], "--camera-info"),
        (["here", "--camera-info", "a.yaml"], "--extrinsics"),
        (["here", "--lidar", "/points"], "concern bags"),
    ],
)
def test_bad_input_exits_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments, "--no-page"]) == 2
    assert said in capsys.readouterr().err


def test_frames_are_spread_and_their_neighbours_opened() -> None:
    assert [job.index for job in plan(5, None)] == [0, 1, 2, 3, 4]
    jobs = plan(1000, 3)
    assert [job.index for job in jobs if job.tested] == [0, 500, 999]
    assert [job.index for job in jobs] == [0, 1, 499, 500, 501, 998, 999]


def test_more_frames_than_asked_for_are_explained(rig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(rig), "--no-page", "--frames", "2"]) == 0
    assert "4 of 6 frames opened (2, and those beside them" in capsys.readouterr().out
    assert main(["doctor", str(rig), "--no-page", "--frames", "6"]) == 0
    assert "6 of 6 frames opened\n" in capsys.readouterr().out


def test_help_reads_right(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "those beside up to ten of them" in text
    assert "--no-page Only print, write no page with pictures. (default: a page)" in text


@pytest.mark.parametrize("count", ["-3", "0"])
def test_workers_are_at_least_one(rig: Path, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(rig), "--no-page", "--workers", count]) == 2
    assert f"workers = {count}: expected at least 1" in capsys.readouterr().err


def test_processes_give_the_same_as_none(rig: Path) -> None:
    source = open_source(str(rig))
    jobs = plan(len(source), 2)
    alone, together = (list(examine_frames(source, jobs, workers)) for workers in (1, 2))
    for one, other in zip(alone, together, strict=True):
        assert one.token == other.token
        assert one.raw == other.raw
        assert one.views["left"].seen == other.views["left"].seen
        assert (one.edges is None) == (other.edges is None)


def test_a_plain_script_may_call_the_doctor(rig: Path, tmp_path: Path) -> None:
    """Without ``if __name__ == "__main__"``, and with processes."""
    script = tmp_path / "api.py"
    script.write_text(
        f"import lidistill\nprint('once')\nprint(lidistill.doctor({str(rig)!r}, page=False, workers=2).healthy)\n"
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["once", "True"]


# ---- real recordings


@pytest.mark.parametrize(
    ("spec", "folder"), [("semantic-kitti:{}/dataset", "semantickitti"), ("kitti-object:{}", "kitti_object")]
)
def test_real_recordings_are_healthy(real: Callable[[str], Path], spec: str, folder: str) -> None:
    report = lidistill.doctor(spec.format(real(folder)), frames=4, page=False, workers=1)
    assert report.healthy, [finding.says for finding in report.findings]
    assert all(test.verdict == "good" for test in report.cameras)
