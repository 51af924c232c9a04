"""``teach-images``: from pictures with masks to a teacher; a stopped run ends with the same numbers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import lidistill
from lidistill.cli import main
from lidistill.datasets.pictures.pictures import open_pictures
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.evaluation.confusion import Confusion
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import load_teacher
from lidistill.training import images
from lidistill.training.image_run import ImageRun

OPTIONS = [
    "--recipe", "city-images", "--set", "width=0.25", "--set", "image_size=[64, 128]", "--set", "crop_size=[48, 96]",
    "--set", "batch_size=4", "--set", "workers=0", "--set", "precision=32-true",
]  # fmt: skip


def command(rig: Path, out: Path, *extra: str) -> list[str]:
    return ["teach-images", str(rig), "--out", str(out), *OPTIONS, *extra]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig with masks and a run on it."""
    folder = tmp_path_factory.mktemp("world")
    rig = tiny_rig(folder / "rig", frames=7, cameras=2, masks=True)
    assert main(command(rig, folder / "run", "--epochs", "12", "--set", "lr=0.01")) == 0
    return folder


def constant(rig: Path) -> float:
    """The mIoU of the best answer that is the same everywhere."""
    held_out = open_pictures(str(rig)).split("val")
    assert held_out.taxonomy is not None
    truth = np.concatenate([held_out[i].classes.ravel() for i in range(len(held_out))])  # type: ignore[union-attr]
    found = []
    for answer in range(16):
        confusion = Confusion(held_out.taxonomy.classes)
        confusion.add(truth, np.full_like(truth, answer))
        found.append(confusion.miou())
    return max(found)


def test_it_learns(world: Path) -> None:
    card = read_card(world / "run" / "card.json")
    miou = card.metrics["miou"].mean
    assert miou is not None
    assert miou > 2 * constant(world / "rig")
    assert (card.verb, card.data.split, card.data.frames) == ("teach-images", "val", 2)
    rows = [row for row in ImageRun.open(world / "run").metrics() if row["split"] == "train"]
    assert rows[-1]["loss"] < rows[0]["loss"] / 2


def test_the_run_folder_is_complete(world: Path) -> None:
    run = world / "run"
    captions = json.loads((run / "pictures" / "captions.json").read_text())
    assert list(captions.values()) == ["rig/000006/front", "rig/000006/left"]
    report = (run / "report.html").read_text()
    for said in ("network small", "2 pictures of", "pictures per second", "rig/000006/front", "driveable_surface"):
        assert said in report
    assert "scans" not in report.split("<pre>")[0]
    assert "teacher: lidistill pretrain ... --teacher" in (run / "log.txt").read_text()
    assert main(["report", str(run)]) == 0
    assert main(["table", str(run)]) == 0


def test_the_folder_is_a_teacher_whose_classifier_is_the_networks(world: Path) -> None:
    teacher = load_teacher(TeacherConfig(name=str(world / "run"), image_size=(64, 128)))
    made = ImageRun.open(world / "run").load_network()
    known = teacher.classifier
    assert known is not None
    assert (known.classes, known.taxonomy) == (made.model.classes, "city-16")
    image = torch.rand(1, 3, 64, 128)
    with torch.no_grad():
        features, _ = made((image - teacher.mean) / teacher.std)
    assert torch.allclose(teacher(image), features, atol=1e-4)
    assert torch.equal(known.weight, made.classifier.weight.flatten(1))


def test_a_lidar_network_learns_from_it(world: Path, tmp_path: Path) -> None:
    small = ["--recipe", "city", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "workers=0"]
    small += ["--set", "points=500", "--set", "teacher.image_size=[64, 128]"]
    learn = ["pretrain", str(world / "rig"), "--teacher", str(world / "run"), "--out", str(tmp_path / "lidar")]
    assert main([*learn, *small]) == 0


@pytest.mark.parametrize("verb", ["probe", "finetune"])
def test_other_verbs_say_what_it_is(verb: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(world / "run"), "--data", str(world / "rig"), "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert "holds an image network; give it to pretrain, as --teacher" in said
    assert said.count("\n") == 1


def test_it_goes_on_from_an_earlier_one(world: Path, tmp_path: Path) -> None:
    start = ["--start", str(world / "run"), "--epochs", "1", "--set", "lr=1e-9", "--set", "schedule.warmup_epochs=0"]
    assert main(command(world / "rig", tmp_path / "next", *start)) == 0
    before, after = (load_file(run / "teacher.safetensors") for run in (world / "run", tmp_path / "next"))
    assert torch.allclose(before["weight"], after["weight"], atol=1e-3)  # min_lr moves them a little


def test_a_stopped_run_ends_with_the_same_numbers(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, calls = images.pixel_loss, []

    def stop_at_the_fifth(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return asked(*arguments)

    assert main(command(world / "rig", tmp_path / "whole", "--epochs", "3")) == 0
    stopped = command(world / "rig", tmp_path / "stopped", "--epochs", "3")
    with monkeypatch.context() as patch:
        patch.setattr(images, "pixel_loss", stop_at_the_fifth)
        assert main(stopped) == 128 + signal.SIGTERM
    assert not (tmp_path / "stopped" / "teacher.pt2").exists()
    assert main([*stopped, "--resume"]) == 0
    for name in ("model.safetensors", "teacher.safetensors"):
        expected, found = (load_file(tmp_path / run / name) for run in ("whole", "stopped"))
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    expected, found = (
        [{k: v for k, v in row.items() if k != "samples_per_s"} for row in ImageRun.open(tmp_path / run).metrics()]
        for run in ("whole", "stopped")
    )
    assert expected == found


CASES = {
    "masks": ({"masks": False}, [], "no picture of this rig has a mask"),
    "key": ({}, ["--set", "widht=1"], "unknown key 'widht'; did you mean 'width'?"),
    "start": ({}, ["--start", "city"], "start = city: is of network = small with width = 1.0; set those"),
    "folder": ({}, ["--start", "nowhere"], "start = nowhere: is not there; expected city, a ResNet-50 file"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_goes_wrong_is_one_sentence(
    case: str, tmp_path: Path, tiny_rig: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    changed, extra, said = CASES[case]
    rig = tiny_rig(tmp_path / "rig", **{"frames": 2, "masks": True, **changed})  # type: ignore[arg-type]
    assert main(command(rig, tmp_path / "run", *extra)) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert said in shown
    assert not (tmp_path / "run").exists()


def test_pictures_without_masks_teach_nothing(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=2)
    (rig / "rig.yaml").unlink()
    with pytest.raises(InputError, match="its pictures have no masks, so there is no class to learn"):
        lidistill.teach_images(str(rig), out=tmp_path / "run")


def test_masks_with_ids_of_another_list_teach_nothing(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=3, masks=True)
    for mask in (rig / "masks").rglob("*.png"):
        ids = np.asarray(Image.open(mask))
        Image.fromarray(np.full_like(ids, 250)).save(mask)
    with pytest.raises(InputError, match=r"0.0 % of the pixels in the masks of .* does the class list fit"):
        lidistill.teach_images(str(rig), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_without_a_mask_are_counted(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=4, masks=True)
    first = sorted((rig / "masks").rglob("*.png"))[0]
    first.unlink()
    assert main(command(rig, tmp_path / "run", "--epochs", "1")) == 0
    assert "1 of 3 pictures of train have no mask and are left out" in (tmp_path / "run/log.txt").read_text()


def test_a_split_val_without_masks_is_none(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=4, masks=True)
    held_out = yaml.safe_load((rig / "splits.yaml").read_text())["val"]
    for stem in held_out:
        for mask in (rig / "masks").rglob(f"{stem}.*"):
            mask.unlink()
    assert main(command(rig, tmp_path / "run", "--epochs", "1")) == 0
    assert "no split val with masks" in (tmp_path / "run/log.txt").read_text()
    assert not (tmp_path / "run/card.json").exists()
    assert (tmp_path / "run/report.html").is_file()
