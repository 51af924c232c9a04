"""Predicting scans that do not belong to the run, or are none: said before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lidistill.apps.predict import PointFiles, differences
from lidistill.cli import main
from lidistill.datasets.source import open_source
from lidistill.sensing.frame import Sensor


@pytest.fixture
def rig(tiny_rig: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_rig(tmp_path / "rig", frames=3)


@pytest.fixture
def run(rig: Path, tmp_path: Path) -> Path:
    small = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "workers=0"]
    assert main(["probe", "--data", str(rig), "--out", str(tmp_path / "run"), *small]) == 0
    return tmp_path / "run"


def scans(rig: Path, change: Callable[[np.ndarray], None]) -> Path:
    """A folder with one scan of the rig, changed."""
    rows = np.fromfile(rig / "scans/000000.bin", np.float32).reshape(-1, 5)
    change(rows)
    folder = rig.parent / "other"
    folder.mkdir()
    rows.tofile(folder / "a.bin")
    return folder


def other_unit(rows: np.ndarray) -> None:
    rows[:, 3] /= 255


def other_tilt(rows: np.ndarray) -> None:
    rows[:, 2] += 0.5 * np.hypot(rows[:, 0], rows[:, 1])


@pytest.mark.parametrize(("change", "said"), [(other_unit, "intensity is"), (other_tilt, "degrees, the lidar from")])
def test_scans_of_another_lidar_are_noticed(
    rig: Path, run: Path, change: Callable[[np.ndarray], None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = scans(rig, change)
    assert main(["predict", str(run), str(folder), "--columns", "5", "--out", str(rig.parent / "labels")]) == 0
    (told,) = [record.message for record in caplog.records if "unlike those of tiny-16" in record.message]
    assert said in told


def test_its_own_scans_are_not(rig: Path, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["predict", str(run), str(rig), "--out", str(rig.parent / "labels")]) == 0
    assert not [record for record in caplog.records if "unlike" in record.message]


def test_real_scans_fit_their_sensor(real: Callable[[str], Path]) -> None:
    root = real("semantickitti") / "dataset"
    source = open_source(f"semantic-kitti:{root}")
    paths = tuple(sorted(root.glob("sequences/*/velodyne/*.bin"))[:3])
    assert differences(PointFiles(paths, source.sensor)) == []
    city = Sensor("city-spinning-32", fov=(-30, 10), intensity=(25.0, 28.0))
    assert "intensity is" in differences(PointFiles(paths, city))[0]


def test_what_is_no_scan_leaves_the_folder_free(rig: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = rig.parent / "labels"
    picture = next((rig / "images").rglob("*.png"))
    assert main(["predict", str(run), str(picture), "--out", str(out)]) == 2
    assert "is no point file" in capsys.readouterr().err
    (rig / "scans/000000.bin").write_bytes(b"12345")
    assert main(["predict", str(run), str(rig / "scans/000000.bin"), "--columns", "5", "--out", str(out)]) == 1
    assert main(["predict", str(run), str(rig / "scans/000001.bin"), "--columns", "5", "--out", str(out)]) == 0
    assert (out / "classes.json").is_file()


def test_evaluating_without_labels_is_refused_at_once(rig: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in (rig / "labels").iterdir():
        label.unlink()
    assert main(["evaluate", str(run), "--data", str(rig)]) == 2
    assert "no labels to compare with" in capsys.readouterr().err
    assert not list(run.glob("evaluations/*.json"))


def test_scans_in_a_rig_folder_are_of_its_lidar(
    rig: Path, tmp_path: Path, tiny_rig: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that knows two lidars needs to be told only of files that lie elsewhere."""
    other = tiny_rig(tmp_path / "other-rig", frames=2)
    (other / "rig.yaml").write_text((other / "rig.yaml").read_text().replace("tiny-16", "other-16"))
    small = ["--recipe", "city", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "workers=0"]
    small += ["--set", "teacher.image_size=[48, 96]", "--set", "min_pairs=8"]
    assert main(["pretrain", str(rig), str(other), "--out", str(tmp_path / "both"), *small]) == 0
    scan = other / "scans/000000.bin"
    assert main(["predict", str(tmp_path / "both"), str(scan), "--out", str(tmp_path / "found")]) == 0
    assert "the sensor other-16" in capsys.readouterr().out
    (tmp_path / "scans").mkdir()
    shutil.copy(scan, tmp_path / "scans")
    loose = ["predict", str(tmp_path / "both"), str(tmp_path / "scans"), "--columns", "5", "--out", str(tmp_path / "x")]
    assert main(loose) == 2
    assert "say with --sensor which one recorded the scans: tiny-16, other-16" in capsys.readouterr().err
