"""Samples of all cameras, crops and superpixels: every pair still shows its point; and the objectives that use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lidistill.cli import main
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame
from lidistill.students.registry import build_student
from lidistill.training.crops import Crop, cut_cuboid, draw_crop
from lidistill.training.distil_samples import DistilSample, collate_distil, distil_sample
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import Run
from programs import tiny_program
from rigs import COLORS

SIZE = (48, 160)
SMALL = ["student=waffleiron-1-8", f"teacher.image_size=[{SIZE[0]}, {SIZE[1]}]", "min_pairs=8", "voxel=0.02"]


def recipe(*overrides: str) -> DistilRecipe:
    found = load_recipe("city", [*SMALL, "cameras=all", *overrides])
    assert isinstance(found, DistilRecipe)
    return found


TOKENIZER = build_student(recipe().student).tokenizer
CROPPED = ("crop=true", "teacher_memory=0")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    return tiny_rig(tmp_path_factory.mktemp("all") / "rig", frames=4, cameras=2)


@pytest.fixture
def frame(rig: Path) -> Frame:
    return open_source(str(rig))[0]


@dataclass(frozen=True)
class Columns:
    """Superpixels that say where in the recorded picture they are: the column by 8; the left edge is in none."""

    shape: tuple[int, int]
    count: int = 100
    unassigned: int | None = 0
    folders: tuple[Path, ...] = (Path("superpixels"),)

    def load(self, token: str, view: str) -> NDArray[np.uint16]:
        return np.broadcast_to(np.arange(self.shape[1], dtype=np.uint16) // 8, self.shape).copy()


def draw(frame: Frame, said: DistilRecipe, seed: int = 0) -> DistilSample:
    shape = frame.views[0].height, frame.views[0].width
    return distil_sample(frame, said, TOKENIZER, np.random.default_rng(seed), None, Columns(shape))  # type: ignore[arg-type]


def labels_of(sample: DistilSample, frame: Frame) -> NDArray[np.int64]:
    """What the points of the pairs are: the rig writes 3 x label into the intensity, which no augmentation touches."""
    mean, std = frame.sensor.intensity
    intensity = sample.cloud["features"][:, 0][sample.rows.numpy()]
    return np.round((intensity * std + mean) / 3).astype(int)


def test_a_camera_that_looks_at_a_wall_leaves_its_turn_to_the_next(frame: Frame) -> None:
    """One of two cameras sees nothing, here for it is behind the sky: the other one is always taken."""
    front, other = frame.views
    away = np.array(other.from_lidar)
    away[2, 3] -= 1e4
    blocked = replace(frame, views=(front, replace(other, from_lidar=away)))
    one = recipe("cameras=one")
    shown = {distil_sample(blocked, one, TOKENIZER, np.random.default_rng(seed)).pictures for seed in range(12)}
    assert shown == {(f"{frame.token}/{front.name}",)}
    both = {distil_sample(frame, one, TOKENIZER, np.random.default_rng(seed)).pictures for seed in range(12)}
    assert len(both) == 2
    dark = replace(frame, views=(blocked.views[1],))
    with pytest.raises(InputError, match="sees 0 points, fewer than min_pairs = 8"):
        distil_sample(dark, one, TOKENIZER, np.random.default_rng(0))


@pytest.mark.parametrize("overrides", [(), CROPPED, ("drop_cuboid=true",)])
def test_every_pair_shows_its_point(frame: Frame, overrides: tuple[str, ...]) -> None:
    names, palette = list(COLORS), np.array(list(COLORS.values()), np.float32)
    palette /= np.linalg.norm(palette, axis=1, keepdims=True)
    right = total = 0
    for seed in range(4):
        sample = draw(frame, recipe(*overrides), seed)
        assert sample.images[0].shape == (2, 3, *SIZE)
        assert len(sample.rows) == len(sample.views) == len(sample.pixels[0])
        assert set(sample.views.tolist()) == {0, 1}
        u, v = sample.pixels[0].long().T
        seen = sample.images[0][sample.views, :, v, u].numpy()
        shown = np.array(names)[np.argmax(seen / np.linalg.norm(seen, axis=1, keepdims=True) @ palette.T, axis=1)]
        true = labels_of(sample, frame)
        right += (shown == true).sum()
        total += len(true)
    assert total > 1000
    assert right / total > 0.92


def test_the_whole_scan_goes_along(frame: Frame) -> None:
    """What no camera sees is seen by the student, what two see is paired twice."""
    sample = draw(frame, recipe())
    count = len(sample.cloud["coords"])
    assert count > len(sample.rows.unique())
    assert len(draw(frame, recipe("cameras=one")).cloud["coords"]) < count
    doubled = replace(frame, views=(frame.views[0], frame.views[0]))
    twice = draw(doubled, recipe())
    assert torch.equal(twice.rows.bincount(), 2 * (twice.rows.bincount() > 0))
    pairs = {tuple(pair) for pair in twice.pixels[0][twice.views == 0].tolist()}
    assert pairs == {tuple(pair) for pair in twice.pixels[0][twice.views == 1].tolist()}


@pytest.mark.parametrize("overrides", [(), CROPPED])
def test_superpixels_are_those_of_what_is_shown(frame: Frame, overrides: tuple[str, ...]) -> None:
    """A pair's superpixel is the one at its recorded pixel, but for neighbours where resizing rounds."""
    said = recipe(*overrides, "objective=slidr", "superpixels=slic", "image_head=8")
    sample = draw(frame, said)
    assert sample.superpixels is not None
    assert sample.superpixels.shape == (2, *SIZE)
    u, v = sample.pixels[0].long().T
    found = sample.superpixels[sample.views, v, u].numpy()
    assert 0 not in sample.superpixels.unique()
    whole = draw(frame, recipe())
    recorded = (whole.pixels[0][:, 0].numpy() + 0.5) * frame.views[0].width / SIZE[1] // 8
    if not overrides:
        assert -1 in sample.superpixels.unique()
        assert (np.abs(np.maximum(found, 0) - recorded) <= 1).all()
    # mirrored or not, neighbouring columns of the picture differ by at most the size of a pixel of the crop
    assert (sample.superpixels.diff(dim=2).abs() <= 2).all()


def test_superpixels_of_another_picture_are_refused(frame: Frame) -> None:
    said = recipe("objective=slidr", "superpixels=slic", "image_head=8")
    with pytest.raises(InputError, match="were made of a picture of"):
        distil_sample(frame, said, TOKENIZER, np.random.default_rng(0), None, Columns((48, 96)))  # type: ignore[arg-type]


def test_another_kind_of_student_takes_nothing_over() -> None:
    """A WaffleIron has no voxels, and sees more than intensity, whatever the recipe says of a MinkUNet."""
    student = load_recipe("slidr", ["student=waffleiron-2-16"]).student
    assert (student.name, student.in_channels, student.voxels) == ("waffleiron-2-16", 5, None)
    assert load_recipe("slidr", ["student=minkunet-18-48"]).student.in_channels == 1


def test_batches_keep_pairs_and_pictures_together(frame: Frame) -> None:
    samples = [draw(frame, recipe(), seed) for seed in range(2)]
    batch = collate_distil(samples, TOKENIZER)
    assert batch.scans == (0, 0, 1, 1)
    assert batch.images[0].shape == (4, 3, *SIZE)
    clouds = batch.points.packing.index[batch.rows]
    assert torch.equal(clouds, torch.tensor(batch.scans)[batch.image_index])
    first = len(samples[0].rows)
    assert torch.equal(batch.rows[first:] - batch.points.offsets[1], samples[1].rows)
    assert batch.superpixels is not None
    assert len(batch.superpixels) == 4
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.rows, batch.rows)


def test_crops(frame: Frame) -> None:
    view, rng = frame.views[0], np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (view.width, view.height), (500, 2))
    drawn = [draw_crop(pixels, view, rng) for _ in range(50)]
    assert any(crop.mirrored for crop in drawn)
    assert not all(crop.mirrored for crop in drawn)
    for crop in drawn:
        assert crop.cut(view.image()).shape == (crop.height, crop.width, 3)
        assert crop.holds(pixels).mean() > 0.75 or (crop.width, crop.height) == (view.width, view.height)
    ramp = np.broadcast_to(np.arange(view.width), (view.height, view.width))
    for mirrored in (False, True):
        crop = Crop(10, 4, 64, 32, mirrored)
        inside = pixels[crop.holds(pixels)]
        place = crop.pixels(inside, (32, 64)).astype(int)
        assert np.array_equal(crop.cut(ramp)[place[:, 1], place[:, 0]], np.floor(inside[:, 0]))
    assert draw_crop(np.zeros((0, 2)), view, rng).width == view.width  # nothing to keep: it ends


def test_a_cuboid_is_cut_out() -> None:
    rng = np.random.default_rng(0)
    coords = rng.uniform(-10, 10, (4000, 3)).astype(np.float32)
    for _ in range(20):
        left = cut_cuboid(coords, rng)
        gone = np.delete(coords, left, axis=0)
        assert 0 < len(gone) < 0.03 * len(coords)
        assert (np.ptp(gone, axis=0) <= 0.2 * np.ptp(coords, axis=0)).all()
        low, high = gone.min(0), gone.max(0)
        assert not ((coords[left] > low) & (coords[left] < high)).all(axis=1).any()
    assert len(cut_cuboid(coords[:0], rng)) == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["objective=slidr"], "superpixels go with the objectives slidr, st-slidr, seal"),
        (["superpixels=slic"], "superpixels go with the objectives slidr, st-slidr, seal"),
        (["crop=true"], "set it to 0"),
        (["image_head=8"], "needs an objective with negatives"),
        (["superpixels=slick", "objective=slidr"], "superpixels"),
    ],
)
def test_what_does_not_fit_is_a_sentence(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipe(*overrides)


@pytest.mark.parametrize("objective", ["ppkt", "slidr", "st-slidr"])
def test_contrastive_distillation(
    objective: str, tmp_path: Path, tiny_rig: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """From pictures to a probed backbone; the loss falls; superpixels are asked for before anything is written."""
    teacher, rig = tiny_program(tmp_path), tiny_rig(tmp_path / "rig", frames=4, cameras=2)
    said = [f"objective={objective}", "image_head=16", "head_hidden=null", "cameras=all", "crop=true"]
    said += ["teacher_memory=0", "drop_cuboid=true", "optimizer=sgd", "lr=0.1", "points=600", "batch_size=2"]
    said += ["pixel_step=2"] if objective != "ppkt" else []
    said += ["teacher.image_size=[48, 96]", "min_pairs=8", "workers=0", "student.cell=2"]
    command = ["pretrain", str(rig), "--recipe", "city", "--student", "waffleiron-2-16", "--teacher", str(teacher)]
    command += [word for one in said for word in ("--set", one)]
    if objective != "ppkt":
        command += ["--set", "superpixels=slic"]
        assert main([*command, "--out", str(tmp_path / "early")]) == 2
        assert "lidistill superpixels" in capsys.readouterr().err
        assert not (tmp_path / "early").exists()
        assert main(["superpixels", str(rig), "--workers", "1"]) == 0
    run = tmp_path / "run"
    assert main([*command, "--epochs", "12", "--out", str(run)]) == 0
    rows = [row for row in Run.open(run).metrics() if row["split"] == "train"]
    assert rows[-1]["loss"] < rows[0]["loss"]
    probe = ["--data", str(rig), "--recipe", "city-probe", "--epochs", "1", "--set", "workers=0", "--set", "points=500"]
    assert main(["probe", str(run), *probe, "--out", str(tmp_path / "probe")]) == 0
