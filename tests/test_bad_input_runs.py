"""Bad input to the verbs: one sentence and the right exit code, or a counted skip; never a half-written file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from lidistill.cli import main
from programs import tiny_program

STUDENT = ["--set", "student.cell=2", "--set", "batch_size=2", "--set", "points=500", "--set", "workers=0"]
PRETRAIN = ["--recipe", "city", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "min_pairs=8", *STUDENT]
PRETRAIN += ["--set", "teacher.image_size=[48, 96]", "--set", "head_hidden=8"]
PROBE = ["--recipe", "city-probe", "--epochs", "1", *STUDENT]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig, a teacher program, a distilled run and a probed run."""
    folder = tmp_path_factory.mktemp("clean")
    tiny_rig(folder / "rig", frames=5)
    tiny_program(folder)
    assert (
        main(
            [
                "pretrain",
                str(folder / "rig"),
                "--teacher",
                str(folder / "patches.pt2"),
                "--out",
                str(folder / "run"),
                *PRETRAIN,
            ]
        )
        == 0
    )
    assert (
        main(["probe", str(folder / "run"), "--data", str(folder / "rig"), "--out", str(folder / "probe"), *PROBE]) == 0
    )
    return folder


@pytest.fixture
def place(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to be damaged, as the working folder."""
    shutil.copytree(clean, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def edit(change: Callable[[dict], object]) -> None:
    path = Path("rig/rig.yaml")
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))


def camera(**values: object) -> None:
    edit(lambda rig: rig["cameras"]["front"].update(values))


def pose(turn: np.ndarray) -> None:
    edit(
        lambda rig: rig["cameras"]["front"].update(
            from_lidar=(turn @ np.array(rig["cameras"]["front"]["from_lidar"])).tolist()
        )
    )


def each(folder: str, content: bytes) -> None:
    for path in Path(folder).iterdir():
        path.write_bytes(content)


UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])

pretrain = ["pretrain", "rig", "--teacher", "patches.pt2", "--out", "new", *PRETRAIN]
probe = ["probe", "run", "--data", "rig", "--out", "new", *PROBE]

CASES = {
    "no rig.yaml": (lambda: Path("rig/rig.yaml").unlink(), pretrain, 2, "rig.yaml"),
    "no images": (lambda: shutil.rmtree("rig/images"), pretrain, 2, "no camera image"),
    "no scans": (lambda: [p.unlink() for p in Path("rig/scans").iterdir()], pretrain, 2, "scan"),
    "images of another size": (lambda: camera(height=50, width=60), pretrain, 1, "calibration says"),
    "no image decodes": (lambda: each("rig/images/front", b"not an image"), pretrain, 1, "unusable"),
    "every scan truncated": (lambda: each("rig/scans", b"\0" * 33), pretrain, 1, "multiple"),
    "camera looks at the sky": (lambda: pose(UP), pretrain, 1, "unusable"),
    "singular intrinsics": (lambda: camera(intrinsics=np.zeros((3, 3)).tolist()), pretrain, 2, "intrinsics"),
    "mirrored pose": (lambda: pose(np.diag([-1.0, 1, 1, 1])), pretrain, 2, "from_lidar"),
    "unknown key in rig.yaml": (lambda: edit(lambda rig: rig.update(camras={})), pretrain, 2, "did you mean 'cameras'"),
    "split names a missing scan": (
        lambda: Path("rig/splits.yaml").write_text("train: [nowhere]\nval: []\n"), pretrain, 2, "nowhere",
    ),
    "empty train split": (lambda: Path("rig/splits.yaml").write_text("train: []\nval: ['000001']\n"), pretrain, 2, "train"),
    "teacher file missing": (lambda: Path("patches.pt2").unlink(), pretrain, 2, "patches.pt2"),
    "teacher file damaged": (lambda: Path("patches.pt2").write_bytes(b"PK"), pretrain, 2, "patches.pt2"),
    "image size the teacher cannot take": (
        lambda: None, [*pretrain, "--set", "teacher.image_size=[50, 96]"], 2, "image_size",
    ),
    "unknown teacher": (lambda: None, [*pretrain, "--teacher", "dinov2-vitl41"], 2, "did you mean 'dinov2-vitl14'"),
    "unknown objective": (lambda: None, [*pretrain, "--set", "objective=similarty"], 2, "did you mean 'similarity'"),
    "out is a file": (lambda: Path("new").touch(), pretrain, 2, "is a file"),
    "out below a file": (lambda: None, [*pretrain, "--out", "patches.pt2/below"], 2, "patches.pt2"),
    "out holds something else": (lambda: None, [*pretrain, "--out", "rig"], 2, "holds no run"),
    "out holds a run": (lambda: None, [*pretrain, "--out", "run"], 2, "--overwrite"),
    "resume with another recipe": (lambda: None, [*pretrain, "--out", "run", "--resume", "--set", "lr=0.5"], 2, "lr"),
    "run without weights": (lambda: Path("run/model.safetensors").unlink(), probe, 2, "--resume"),
    "run with damaged weights": (lambda: Path("run/model.safetensors").write_bytes(b"x"), probe, 2, "model.safetensors"),
    "run with a damaged recipe": (lambda: Path("run/recipe.yaml").write_text("verb: ["), probe, 2, "recipe.yaml"),
    "data without classes": (lambda: edit(lambda rig: rig.pop("classes")), probe, 2, "class"),
    "unknown class list": (lambda: edit(lambda rig: rig.update(classes="city-61")), probe, 2, "city-16"),
    "no labels": (lambda: shutil.rmtree("rig/labels"), probe, 1, "no labels"),
    "labels of another length": (lambda: each("rig/labels", b"\0" * 40), probe, 1, "labels"),
    "student beside a run": (lambda: None, [*probe, "--student", "waffleiron-1-8"], 2, "leave one"),
    "unknown split": (lambda: None, ["evaluate", "probe", "--data", "rig", "--split", "vall"], 2, "vall"),
    "evaluating a distilled run": (lambda: None, ["evaluate", "run", "--data", "rig"], 2, "no classes"),
    "evaluating on other classes": (
        lambda: edit(lambda rig: rig.update(classes=["a", "b"])), ["evaluate", "probe", "--data", "rig"], 2, "classes",
    ),
    "predicting a missing file": (lambda: None, ["predict", "probe", "nowhere.bin", "--out", "new"], 2, "nowhere.bin"),
    "predicting a folder without scans": (
        lambda: Path("empty").mkdir(), ["predict", "probe", "empty", "--out", "new"], 2, "no point file",
    ),
    "predicting into a full folder": (
        lambda: None, ["predict", "probe", "rig/scans/000000.bin", "--out", "run"], 2, "not empty",
    ),
    "predicting a truncated scan": (
        lambda: Path("bad.bin").write_bytes(b"\0" * 33), ["predict", "probe", "bad.bin", "--out", "new"], 1, "none of the",
    ),
    "predicting with an unknown sensor": (
        lambda: None, ["predict", "probe", "rig/scans/000000.bin", "--out", "new", "--sensor", "tiny-61"], 2, "tiny-16",
    ),
    "importing something else": (
        lambda: None, ["import-checkpoint", "run/model.safetensors", "new"], 2, "model.safetensors",
    ),
    "simulating an unknown sensor": (lambda: None, ["simulate", "new", "--sensor", "spinning-23"], 2, "spinning-32"),
    "simulating no scene": (lambda: None, ["simulate", "new", "--scenes", "0"], 2, "scenes"),
    "simulating into a full folder": (lambda: None, ["simulate", "rig"], 2, "rig"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, arguments, code, said = CASES[name]
    damage()
    before = {path for path in place.rglob("*") if path.name.startswith(".")}
    assert main(list(arguments)) == code
    sentence = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lidistill: ")]
    assert len(sentence) == 1
    assert said in sentence[0]
    assert {path for path in place.rglob("*") if path.name.startswith(".")} == before, (
        "a temporary file was left behind"
    )
    assert not (place / "new" / "model.safetensors").exists()


def test_one_bad_frame_is_skipped_and_counted(place: Path) -> None:
    Path("rig/images/front/000001.png").write_bytes(b"not an image")
    assert main(pretrain) == 0
    skipped = json.loads(Path("new/skipped.json").read_text())
    assert len(skipped) == 1
    assert "000001.png" in skipped[0]["reason"]


def test_one_bad_scan_does_not_stop_a_prediction(place: Path) -> None:
    Path("bad.bin").write_bytes(b"\0" * 33)
    assert main(["predict", "probe", "bad.bin", "rig/scans/000000.bin", "--out", "new"]) == 0
    labels = np.fromfile("new/000000.label", np.uint32)
    assert len(labels) == Path("rig/scans/000000.bin").stat().st_size // 20
    assert not Path("new/bad.label").exists()


def test_points_that_are_not_finite_keep_their_place_in_the_labels(place: Path) -> None:
    points = np.fromfile("rig/scans/000000.bin", np.float32).reshape(-1, 5)
    points[[3, 7], 0] = np.nan
    points.tofile("holes.bin")
    assert main(["predict", "probe", "holes.bin", "--out", "new", "--columns", "5"]) == 0
    assert len(np.fromfile("new/holes.label", np.uint32)) == len(points)


def test_predictions_read_back_as_labels_of_the_same_rig(place: Path) -> None:
    assert main(["predict", "probe", "rig", "--out", "new"]) == 0
    for path in Path("rig/labels").iterdir():
        shutil.copy(Path("new") / path.name, path)
    assert main(["evaluate", "probe", "--data", "rig"]) == 0
    card = json.loads(next(Path("probe/evaluations").iterdir()).read_text())
    assert card["metrics"]["accuracy"]["values"] == [1.0]


def test_no_val_split_is_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("rig/splits.yaml").unlink()
    assert main(probe) == 0
    assert "no split val" in caplog.text
    assert not Path("new/card.json").exists()


def test_a_run_of_one_frame(place: Path) -> None:
    Path("rig/splits.yaml").write_text("train: ['000000']\nval: ['000001']\n")
    assert main(pretrain) == 0
    assert Path("new/model.safetensors").is_file()


@pytest.mark.parametrize("damage", ["no image", "truncated"])
def test_the_first_frame_is_no_more_than_any_other(damage: str, place: Path) -> None:
    if damage == "truncated":
        Path("rig/scans/000000.bin").write_bytes(b"x")
    else:
        next(Path("rig/images/front").glob("000000.*")).unlink()
    assert main([*pretrain, "--set", "bad_frames=0.5"]) == 0
    assert [skip["frame"] for skip in json.loads(Path("new/skipped.json").read_text())] == ["rig[0]"]
