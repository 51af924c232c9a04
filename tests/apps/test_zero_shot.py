"""FSKD from the command line: a teacher that knows classes, a lidar network that has them without a label of a scan."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import lidistill
from lidistill import taxonomy
from lidistill.cli import main
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.students.checkpoints import export_state
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import load_teacher
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import Run
from programs import knowing, tiny_program

CLASSES = taxonomy.load("city-16").classes
OPTIONS = [
    "--recipe", "city-fskd", "--student", "waffleiron-2-16", "--epochs", "6", "--set", "batch_size=2",
    "--set", "points=500", "--set", "min_pairs=8", "--set", "workers=0", "--set", "teacher.image_size=[48, 96]",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig, a teacher of 12 features that knows the 16 classes, and a run that learned from it."""
    folder = tmp_path_factory.mktemp("zero")
    tiny_rig(folder / "rig", frames=6)
    knowing(tiny_program(folder))
    assert main(command(folder, folder / "run")) == 0
    return folder


def command(folder: Path, out: Path, *more: str, teacher: str = "patches.pt2") -> list[str]:
    return ["pretrain", str(folder / "rig"), "--teacher", str(folder / teacher), "--out", str(out), *OPTIONS, *more]


def last_layer(run: Path) -> torch.Tensor:
    return load_file(run / "model.safetensors")["head.output.weight"]


def left_over(weight: torch.Tensor, classifier: torch.Tensor) -> float:
    """The share of ``weight`` (16, F) that no layer before ``classifier`` (16, 12) can account for."""
    found = classifier @ torch.linalg.lstsq(classifier, weight).solution
    return float((weight - found).norm() / weight.norm())


def test_the_run_has_the_classes_of_its_teacher(world: Path) -> None:
    run = Run.open(world / "run")
    model = run.config.model
    assert (model.classes, model.taxonomy, model.head.outputs) == (CLASSES, "city-16", 16)
    assert model.head.calibration is not None
    rows = [row for row in run.metrics() if row["split"] == "train"]
    for key in ("loss", "loss/features", "loss/classes"):
        assert 0 < rows[-1][key] < rows[0][key], key
    assert main(["evaluate", str(world / "run"), "--data", str(world / "rig")]) == 0
    (card,) = (world / "run" / "evaluations").glob("*.json")
    assert read_card(card).recipe["recipe"]["objective"] == "fskd"
    assert sorted(path.name for path in (world / "run" / "pictures").glob("*.jpg")) == [
        "correlation.jpg", "overlay.jpg", "pca.jpg", "prediction.jpg",
    ]  # fmt: skip


def test_labels_of_scans_are_never_read(world: Path, tmp_path: Path) -> None:
    """Other labels give the very same weights."""
    shutil.copytree(world / "rig", tmp_path / "rig")
    for label in sorted((tmp_path / "rig" / "labels").glob("*.label")):
        label.write_bytes(bytes(label.stat().st_size))
    (tmp_path / "patches.pt2").symlink_to(world / "patches.pt2")
    for beside in ("patches.yaml", "patches.safetensors"):
        shutil.copy(world / beside, tmp_path / beside)
    assert main(command(tmp_path, tmp_path / "run")) == 0
    ours, theirs = (load_file(folder / "run" / "model.safetensors") for folder in (world, tmp_path))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_classifier_is_that_of_the_pictures(world: Path, tmp_path: Path) -> None:
    classifier = load_file(world / "patches.safetensors")["weight"]
    assert left_over(last_layer(world / "run"), classifier) < 1e-5
    assert main(command(world, tmp_path / "own", "--set", "soft_labels.classifier=own")) == 0
    assert left_over(last_layer(tmp_path / "own"), classifier) > 0.1


def test_each_part_can_be_left_out(world: Path, tmp_path: Path) -> None:
    assert main(command(world, tmp_path / "plain", "--set", "calibration=null", "--set", "soft_labels.weight=0")) == 0
    state = load_file(tmp_path / "plain" / "model.safetensors")
    assert not [name for name in state if name.startswith("calibration")]
    first, *_, last = (row for row in Run.open(tmp_path / "plain").metrics() if row["split"] == "train")
    assert last["loss"] == last["loss/features"] < first["loss"]


def test_finetuning_goes_on_with_what_is_known(world: Path, tmp_path: Path) -> None:
    """With the same classes the head and the convolutions before it stay; for others they are left behind."""
    tune = ["--recipe", "city-finetune", "--epochs", "1", "--set", "workers=0", "--set", "batch_size=2"]
    run, data = str(world / "run"), str(world / "rig")
    still = [*tune, "--set", "lr=1e-9", "--set", "points=500"]
    assert main(["finetune", run, "--data", data, "--out", str(tmp_path / "same"), *still]) == 0
    assert Run.open(tmp_path / "same").config.model.head == Run.open(run).config.model.head
    torch.testing.assert_close(last_layer(tmp_path / "same"), last_layer(world / "run"), atol=1e-4, rtol=0)
    few = ["--classes", "kitti-10", "--out", str(tmp_path / "other"), *still]
    assert main(["finetune", run, "--data", data, *few]) == 0
    assert Run.open(tmp_path / "other").config.model.head.calibration is None
    assert f"leaves the head of {run} behind: its classes are others" in (tmp_path / "other" / "log.txt").read_text()
    probe = ["--recipe", "city-probe", "--epochs", "1", "--set", "workers=0", "--set", "points=500"]
    assert main(["probe", run, "--data", data, "--out", str(tmp_path / "probe"), *probe]) == 0
    assert Run.open(tmp_path / "probe").config.model.head.calibration is None


def test_labels_can_teach_the_same_network(world: Path, tmp_path: Path) -> None:
    """With the convolutions and from random weights: what FSKD is to be compared with."""
    said = (*("batch_size=2", "points=500", "workers=0"), "calibration={layers: 3, voxel: 0.4}")
    supervised = lidistill.finetune(
        data=str(world / "rig"),
        out=tmp_path / "run",
        recipe="city-supervised",
        student="waffleiron-2-16",
        epochs=1,
        set=said,
    )
    ours, theirs = (Run.open(folder).load_network()[0] for folder in (world / "run", supervised))
    assert ours.calibration is not None
    assert theirs.calibration is not None
    assert [p.shape for p in ours.calibration.parameters()] == [p.shape for p in theirs.calibration.parameters()]
    first = torch.cat([p.flatten() for p in theirs.calibration.parameters()])
    assert not torch.equal(first, torch.cat([p.flatten() for p in ours.calibration.parameters()]))
    for name, reads in (("linear-probe", "features"), ("city-supervised", "outputs")):
        with pytest.raises(InputError, match="calibration is of features that learn"):
            load_recipe(name, ["calibration={}", f"reads={reads}"])


def test_a_teacher_that_knows_no_classes(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_program(world, "mute")
    assert main(command(world, tmp_path / "run", teacher="mute.pt2")) == 2
    assert "teacher mute knows no classes; train one" in capsys.readouterr().err
    assert main(command(world, tmp_path / "run", "--set", "soft_labels=null")) == 2
    assert "soft_labels go with the objective fskd" in capsys.readouterr().err
    two = f"{world / 'patches.pt2'},{world / 'mute.pt2'}"
    assert main(["pretrain", str(world / "rig"), "--teacher", two, "--out", str(tmp_path / "run"), *OPTIONS]) == 2
    assert "objective fskd has one teacher" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_teacher_says_where_its_cells_lie(tmp_path: Path) -> None:
    """The published recipes that these rest on have a ResNet's grid; another teacher keeps its own."""
    program = tiny_program(tmp_path)
    program.with_suffix(".yaml").write_text("grid: origin\n")
    for name in ("fskd", "udakd", "city-fskd", "city-udakd"):
        recipe = load_recipe(name, [f"teacher={program}"])
        assert isinstance(recipe, DistilRecipe)
        assert load_teacher(recipe.teachers[0]).grid == "origin", name


def test_a_sidecar_whose_classes_are_of_another_list(world: Path, tmp_path: Path) -> None:
    program = tiny_program(tmp_path)
    knowing(program)
    said = yaml.safe_load(program.with_suffix(".yaml").read_text())
    program.with_suffix(".yaml").write_text(yaml.safe_dump(said | {"taxonomy": "cityscapes-19"}))
    with pytest.raises(InputError, match="its classes are not those of the list cityscapes-19"):
        load_teacher(TeacherConfig(name=str(program)))


def test_a_classifier_of_its_own_needs_soft_labels() -> None:
    with pytest.raises(InputError, match="learns from soft labels alone; give them a weight"):
        load_recipe("city-fskd", ["soft_labels.classifier=own", "soft_labels.weight=0"])


def test_a_calibrated_network_has_no_published_layout(world: Path) -> None:
    with pytest.raises(InputError, match="has no published layout"):
        export_state(Run.open(world / "run").load_network()[0])
