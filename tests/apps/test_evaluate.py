"""``lidistill evaluate``: poses, class maps, processes, speed: cards, files and faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lidistill.apps.pace import pace
from lidistill.cli import main
from lidistill.evaluation.card import Card, read_card
from lidistill.sensing.frame import Sensor

PROBE = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "4", "--set", "student.cell=2"]
PROBE += ["--set", "batch_size=1", "--set", "points=500", "--set", "workers=0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig and a probed run."""
    folder = tmp_path_factory.mktemp("evaluate")
    rig = tiny_rig(folder / "rig", frames=5, images=False)
    (rig / "splits.yaml").write_text("train: ['000000', '000001']\nval: ['000002', '000003', '000004']\n")
    assert main(["probe", "--data", str(rig), "--out", str(folder / "run"), *PROBE]) == 0
    return folder


def evaluated(place: Path, *options: str, data: str = "rig", name: str | None = None) -> Card:
    """The card that ``lidistill evaluate`` leaves; ``name`` is the file's where it matters."""
    out = place / "out" / "-".join(options).replace("/", "_")
    assert main(["evaluate", str(place / "run"), "--data", str(place / data), "--out", str(out), *options]) == 0
    (found,) = out.glob("*.json")
    assert name is None or found.name == name
    return read_card(found)


def test_one_pose_is_the_card_of_the_run(place: Path) -> None:
    plain = evaluated(place, name="rig-val.json")
    assert plain.metrics == read_card(place / "run" / "card.json").metrics
    assert plain.metrics == evaluated(place, "--tta", "1", name="rig-val.json").metrics
    assert "evaluation" not in plain.recipe


def test_poses_make_another_card(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, several = evaluated(place), evaluated(place, "--tta", "4", name="rig-val-tta4.json")
    assert several.metrics["miou"] != plain.metrics["miou"]
    assert several.recipe["evaluation"] == {"tta": 4}
    assert several.data == plain.data
    assert "3 scans" in capsys.readouterr().out


def test_speed_beside_the_sensors(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(place)
    shown = capsys.readouterr()
    assert "the sensor tiny-16 delivers 10 Hz" in shown.out
    assert "scan/s" in shown.err  # the progress bar


def test_more_processes_than_gpus(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert main(["evaluate", str(place / "run"), "--data", str(place / "rig"), "--devices", "2"]) == 2
    assert "this machine has 1 GPUs; take fewer" in capsys.readouterr().err


def test_pace() -> None:
    slow = "2 scans, 500 ms per scan = 2.0 Hz"
    assert pace(1.0, 2, Sensor("a")) == slow
    assert (
        pace(1.0, 2, Sensor("a", rate=20)) == f"{slow}; the sensor a delivers 20 Hz: 10.0 times too slow for live use"
    )
    assert pace(1.0, 2, Sensor("a", rate=2)) == f"{slow}; the sensor a delivers 2 Hz: keeps up"


@pytest.mark.parametrize(("name", "count"), [("kitti-10", 10), ("poss-6", 6)])
def test_map_of_the_city(place: Path, name: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "run" / "metrics.jsonl").read_text()
    card = evaluated(place, "--map", name, name=f"rig-val-{name}-forbid.json")
    said = card.recipe["evaluation"]
    assert (said["map"], said["outside"], len(said["members"])) == (name, "forbid", count + 1)
    assert sorted(c for classes in said["members"].values() for c in classes) == sorted(card.recipe["model"]["classes"])
    assert {key for key in card.metrics if key.startswith("iou/")} <= {f"iou/{c}" for c in said["members"]}
    shown = capsys.readouterr().out
    assert "bus, construction_vehicle, trailer" in shown or "bus, car, construction_vehicle, trailer, truck" in shown
    # the report shows the last line of the log as the run's own classes
    assert (place / "run" / "metrics.jsonl").read_text() == before


def test_forms_of_what_is_outside(place: Path) -> None:
    forbid, miss = (evaluated(place, "--map", "kitti-10", "--outside", form) for form in ("forbid", "miss"))
    assert miss.recipe["evaluation"]["outside"] == "miss"
    # what is forbidden to be wrong outside can be right inside: never fewer right points
    assert forbid.metrics["accuracy"].mean > miss.metrics["accuracy"].mean


def test_data_with_classes_and_a_map_of_ones_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    rig = yaml.safe_load(Path("rig/rig.yaml").read_text())
    Path("other").mkdir()
    for name in ("scans", "labels", "splits.yaml"):
        (Path("other") / name).symlink_to(Path("../rig") / name)
    # raw ids of the rig: 0 sky, 1 road, 6 sidewalk, 10 building ...
    names = ["nothing", "street", *(f"x{i}" for i in range(2, 6)), "walk", *(f"x{i}" for i in range(7, 32))]
    Path("other/rig.yaml").write_text(yaml.safe_dump(rig | {"classes": names}))
    map = {
        "name": "two",
        "classes": {"street": [255, 0, 255], "walk": [0, 175, 0]},
        "default": "other",
        "sources": {
            "other": {1: ["street", "street"], 6: ["walk", "walk"]},
            "nuscenes-16": {10: ["driveable_surface", "street"], 12: ["sidewalk", "walk"]},
        },
    }
    Path("two.yaml").write_text(yaml.safe_dump(map, sort_keys=False))
    card = evaluated(place, "--map", "two.yaml", data="other", name="other-val-two-forbid.json")
    assert card.recipe["evaluation"]["members"]["street"] == ["driveable_surface"]
    assert {"iou/street", "iou/walk"} <= set(card.metrics)
    assert card.metrics["accuracy"].mean > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tta", "0"], "--tta 0: expected the number of poses"),
        (["--map", "kitti-1O"], "did you mean 'kitti-10'"),
        (["--map", "semantic-kitti-19"], "add a source 'city-16' to the map"),
    ],
)
def test_faults(place: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "faults"
    assert main(["evaluate", str(place / "run"), "--data", str(place / "rig"), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_other_classes_name_the_maps_that_would_do(
    place: Path, real: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"semantic-kitti:{real('semantickitti')}"
    assert main(["evaluate", str(place / "run"), "--data", data]) == 2
    assert "evaluate needs the same classes, add --map kitti-10" in capsys.readouterr().err


def test_two_processes_share_the_scans(place: Path) -> None:
    alone = evaluated(place, "--tta", "2", "--map", "poss-6")
    arguments = ["evaluate", "run", "--data", "rig", "--out", "two", "--tta", "2", "--map", "poss-6", "--devices", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lidistill", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mIoU") == 1
    (path,) = (place / "two").glob("*.json")
    together = json.loads(path.read_text())
    assert together["metrics"] == json.loads(alone.model_dump_json())["metrics"]
    assert together["data"]["checksum"] == alone.data.checksum
