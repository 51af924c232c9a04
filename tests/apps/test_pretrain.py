"""Pretraining with two teachers, from the command line to the report and through an interruption."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lidistill.cli import main
from lidistill.students.config import HeadConfig
from lidistill.teachers.registry import load_teachers
from lidistill.training import distil
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run
from programs import tiny_program

OPTIONS = [
    "--recipe", "city", "--student", "waffleiron-2-16", "--epochs", "4", "--set", "batch_size=2", "--set", "points=500",
    "--set", "head_hidden=null", "--set", "min_pairs=8", "--set", "workers=0", "--set", "student.drop_path=0.3",
    "--set", "teacher.image_size=[48, 96]", "--set", "teacher.1.image_size=[36, 60]", "--set", "teacher.1.weight=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig, two teachers (12 features of 8 x 8 pixels, 5 of 6 x 6, in other colours) and a run with both."""
    folder = tmp_path_factory.mktemp("two")
    tiny_rig(folder / "rig", frames=6, cameras=2)
    tiny_program(folder)
    other = tiny_program(folder, "other", edge=6, features=5)
    other.with_suffix(".yaml").write_text("colors: {mean: [73, 83, 72], std: [45, 46, 45]}\n")
    assert main(command(folder, folder / "run")) == 0
    return folder


def command(folder: Path, out: Path, *more: str, second: str = "other.pt2") -> list[str]:
    teachers = f"{folder / 'patches.pt2'},{folder / second}"
    return ["pretrain", str(folder / "rig"), "--teacher", teachers, "--out", str(out), *OPTIONS, *more]


def test_two_teachers_from_the_command_line(world: Path) -> None:
    run = Run.open(world / "run")
    assert isinstance(run.config.recipe, DistilRecipe)
    assert [t.weight for t in run.config.recipe.teachers] == [1.0, 0.5]
    assert run.config.model.head == HeadConfig(kind="mlp", outputs=17, hidden=17)
    network, _ = run.load_network()
    assert network.head.output.out_features == 17
    rows = [row for row in run.metrics() if row["split"] == "train"]
    first, last = rows[0], rows[-1]
    for key in ("loss", "loss/teacher patches", "loss/teacher other"):
        assert 0 < last[key] < first[key] < 2
    report = (world / "run" / "report.html").read_text()
    assert "patches.pt2 + " in report
    assert "loss/teacher other" in report
    assert sorted(path.name for path in (world / "run" / "pictures").glob("*.jpg")) == [
        *("correlation.jpg", "overlay.jpg", "pca.jpg")
    ]


def test_a_run_knows_its_teachers_by_their_weights(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not go on with another teacher at the same place, but with the same one that was exported again; a run of
    before this was written down goes on.
    """
    for name in ("run", "rig"):
        shutil.copytree(world / name, tmp_path / name)
    for teacher in world.glob("*.*"):
        shutil.copy(teacher, tmp_path)
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(world), str(tmp_path)))
    again = ["pretrain", str(tmp_path / "rig"), "--out", str(tmp_path / "run"), "--resume"]
    torch.export.save(torch.export.load(tmp_path / "patches.pt2"), tmp_path / "patches.pt2")
    assert main(again) == 0
    tiny_program(tmp_path, "patches", edge=6, features=12)
    capsys.readouterr()
    assert main(again) == 2
    said = capsys.readouterr().err
    assert f"started differently (teacher_weights.{tmp_path / 'patches.pt2'} = " in said
    text = recipe.read_text()
    recipe.write_text(text[: text.index("teacher_weights:")])
    assert main(again) == 0


def test_both_teachers_are_learned_from(world: Path, tmp_path: Path) -> None:
    """The head's rows of a teacher hardly move when it hardly counts."""
    assert main(command(world, tmp_path / "quiet", "--set", "teacher.1.weight=0.001")) == 0
    heard, quiet = (
        [row for row in Run.open(run).metrics() if row["split"] == "train"][-1]
        for run in (world / "run", tmp_path / "quiet")
    )
    assert quiet["loss/teacher other"] > heard["loss/teacher other"] + 0.1


@pytest.mark.parametrize("memory", ["0", "1"])
def test_a_stopped_run_with_two_teachers_ends_with_the_same_numbers(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    settings = ("--set", f"teacher_memory={memory}")
    assert main(command(world, tmp_path / "whole", *settings)) == 0
    asked = distil.FeatureMaps.__call__
    calls = []

    def stop_at_the_third(maps: distil.FeatureMaps, batch: distil.DistilBatch) -> list[torch.Tensor]:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return asked(maps, batch)

    with monkeypatch.context() as patch:
        patch.setattr(distil.FeatureMaps, "__call__", stop_at_the_third)
        assert main(command(world, tmp_path / "stopped", *settings)) == 128 + signal.SIGTERM
    assert torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)["step"] in range(1, 8)
    assert main(command(world, tmp_path / "stopped", *settings, "--resume")) == 0
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    expected, found = (
        [{k: v for k, v in row.items() if k != "samples_per_s"} for row in Run.open(tmp_path / name).metrics()]
        for name in ("whole", "stopped")
    )
    assert expected == found


def test_a_run_of_before_there_were_several_goes_on(world: Path, tmp_path: Path) -> None:
    """One teacher as a mapping without ``weight``."""
    teacher = str(world / "patches.pt2")
    options = [*OPTIONS[: OPTIONS.index("teacher.1.image_size=[36, 60]") - 1]]
    arguments = ["pretrain", str(world / "rig"), "--teacher", teacher, "--out", str(tmp_path / "old"), *options]
    assert main(arguments) == 0
    recipe = tmp_path / "old" / "recipe.yaml"
    assert "    weight: 1.0\n" in recipe.read_text()
    recipe.write_text(recipe.read_text().replace("    weight: 1.0\n", ""))
    run = Run.open(tmp_path / "old")
    assert isinstance(run.config.recipe, DistilRecipe)
    assert run.config.recipe.teacher.name == teacher
    assert run.config.model.head.kind == "linear"
    assert not any("teacher" in key for row in run.metrics() for key in row)
    assert main([*arguments, "--resume"]) == 0


def test_a_resumed_run_follows_its_own_recipe(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody types the options of last week again; one that is given still counts, and a different one is refused."""
    shutil.copytree(world / "run", tmp_path / "run")
    again = ["pretrain", str(world / "rig"), "--out", str(tmp_path / "run"), "--resume"]
    assert main(again) == 0
    assert main([*again, "--set", "workers=1"]) == 0
    assert main([*again, "--set", "lr=0.5"]) == 2
    assert "started differently" in capsys.readouterr().err
    probe = ["probe", str(world / "run"), "--data", str(world / "rig"), "--out", str(tmp_path / "probe")]
    assert main([*probe, "--recipe", "city-probe", "--epochs", "1", "--set", "workers=0"]) == 0
    assert main([*probe, "--resume"]) == 0


CASES = {
    "unknown second teacher": (["--teacher", "city,dinov2-vitl41"], "did you mean 'dinov2-vitl14'"),
    "missing second program": (["--teacher", "city,gone.pt2"], "gone.pt2: the program does not exist"),
    "both the same": (["--teacher", "city,city", "--set", "teacher.image_size=[48, 96]"], "city is there twice"),
    "size no multiple of the second's stride": (["--set", "teacher.1.image_size=[36, 64]"], "other.pt2"),
    "another weight on resuming": (["--resume", "--set", "teacher.1.weight=2"], "teacher"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_faults_are_one_sentence(name: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more, said = CASES[name]
    out = world / "run" if "--resume" in more else tmp_path / "new"
    assert main(command(world, out, *more)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lidistill: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "new" / "model.safetensors").exists()


def test_teachers_are_loaded_in_order(world: Path) -> None:
    recipe = Run.open(world / "run").config.recipe
    assert isinstance(recipe, DistilRecipe)
    assert [(t.name, t.dim, t.stride) for t in load_teachers(recipe.teachers)] == [("patches", 12, 8), ("other", 5, 6)]
