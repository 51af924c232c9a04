"""A second sweep of a drive: which one, what it has in common with the first, what is learned from both."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

import lidistill
from lidistill.errors import InputError
from lidistill.objectives.seal import point_to_segment, temporal
from lidistill.sensing.frame import CameraView, Frame, Pose, Sensor
from lidistill.sensing.rigid import from_quaternion, invert, transform
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import build_student
from lidistill.teachers.teacher import Teacher
from lidistill.training.distil import Distillation, FeatureMaps, consistent, superpixel_loss
from lidistill.training.distil_samples import DistilBatch, collate_distil, distil_sample
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.samples import Skip, TrainSamples
from lidistill.training.sweeps import FARTHEST, need_sweeps, neighbour, second_sweep

SENSOR = Sensor("test", intensity=(0.0, 1.0))
BOXES = [(10, 4), (6, -6), (-8, 5)]
TURN = from_quaternion((np.cos(0.2), 0, 0, np.sin(0.2)), (3.0, 1.0, 0.0))
"""Where the second sweep was taken, seen from the first."""


SMALL = ("student=waffleiron-1-8", "min_pairs=8", "points=4000")


def recipe(*overrides: str) -> DistilRecipe:
    small = [*SMALL, "teacher={name: a, image_size: [16, 32]}"]
    seal = ["cameras=all", "objective=seal", "superpixels=slic", "image_head=8"]
    said = load_recipe("city", [*small, *seal, *overrides])
    assert isinstance(said, DistilRecipe)
    return said


TOKENIZER = build_student(recipe().student).tokenizer


def street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) of a plane 1.8 m below and of three boxes, and what each is: -1 ground, else the box."""
    ground = np.column_stack([rng.uniform(-25, 25, (3000, 2)), rng.normal(-1.8, 0.02, 3000)])
    boxes = [rng.uniform((x - 1, y - 1, -1.4), (x + 1, y + 1, 0.5), (500, 3)) for x, y in BOXES]
    owner = np.repeat([-1, 0, 1, 2], [3000, 500, 500, 500])
    return np.concatenate([ground, *boxes]).astype(np.float32), owner


def sweep(name: str, pose: Pose | None, points: np.ndarray, owner: np.ndarray) -> Frame:
    """The intensity of a point says what it is."""
    size = (32, 64)
    intrinsics = np.array([[32.0, 0, 32], [0, 32, 16], [0, 0, 1]])
    ahead = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    view = CameraView("front", *size, intrinsics, ahead, lambda: np.full((*size, 3), 90, np.uint8))
    return Frame(points, owner.astype(np.float32), SENSOR, name, views=(view,), pose=pose)


@pytest.fixture(scope="module")
def drive() -> list[Frame]:
    points, owner = street(np.random.default_rng(0))
    again, same = street(np.random.default_rng(1))
    moved = transform(again, invert(TURN))
    world = from_quaternion((np.cos(0.4), 0, 0, np.sin(0.4)), (100.0, -50.0, 3.0))
    return [sweep("a", Pose("one", world), points, owner), sweep("b", Pose("one", world @ TURN), moved, same)]


class Columns:
    """Superpixels eight pixels wide."""

    count, unassigned = 16, None

    def load(self, token: str, view: str) -> np.ndarray:
        return np.broadcast_to(np.arange(64, dtype=np.uint16) // 8, (32, 64)).copy()


@dataclass
class Listed:
    frames: list[Frame | InputError]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        found = self.frames[index]
        if isinstance(found, InputError):
            raise found
        return found


def elsewhere(frame: Frame, name: str, drive: str = "one", metres: float = 0.0) -> Frame:
    assert frame.pose is not None
    pose = frame.pose.to_world.copy()
    pose[0, 3] += metres
    return replace(frame, token=name, pose=Pose(drive, pose))


def test_the_neighbour_is_of_the_same_drive_and_near(drive: list[Frame]) -> None:
    a = drive[0]
    near, far = elsewhere(a, "near", metres=2.0), elsewhere(a, "far", metres=FARTHEST + 1)
    other, lost = elsewhere(a, "other", drive="two"), replace(a, token="lost", pose=None)

    def of(*frames: Frame | InputError, at: int) -> str | None:
        source = Listed(list(frames))
        found = neighbour(source, at, source[at], range(len(frames)))  # type: ignore[arg-type]
        return None if found is None else found.token

    assert of(a, near, at=0) == "near"
    assert of(near, a, at=1) == "near"  # the last of a drive looks back
    assert of(a, near, elsewhere(a, "last"), at=1) == "last"
    assert of(near, a, other, at=1) == "near"
    assert of(near, a, InputError("damaged"), at=1) == "near"
    for alone in (other, far, lost):
        assert of(a, alone, at=0) is None
    assert of(a, at=0) is None
    two = Listed([a, near])
    assert neighbour(two, 0, a, range(1)) is None  # type: ignore[arg-type]  # the next one is of another data set
    with pytest.raises(InputError, match=r"lost: has no pose.*poses.csv"):
        of(lost, a, at=0)


def test_an_object_is_one_segment_in_both_sweeps(drive: list[Frame]) -> None:
    first, second = drive
    kept = np.arange(0, len(first), 2)
    found = second_sweep(first, kept, second, recipe(), TOKENIZER, np.random.default_rng(0))
    there = np.round(found.cloud["features"][:, 0]).astype(int)
    here = np.round(first.intensity[kept]).astype(int)
    assert len(found.here) == len(here)
    assert len(found.there) == len(there)
    for box in range(len(BOXES)):
        ids = {*found.here[here == box].tolist(), *found.there[there == box].tolist()} - {-1}
        assert len(ids) == 1
        for segments, owner in ((found.here, here), (found.there, there)):
            assert (segments[owner == box] >= 0).float().mean() > 0.9
            assert set(owner[np.isin(segments.numpy(), list(ids))]) == {box}
    assert (found.there[there == -1] == -1).all()
    assert found.count == max(found.here.max(), found.there.max()) + 1


def test_the_second_sweep_lies_around_the_first(drive: list[Frame]) -> None:
    """Of few points, those that the first sweep's points have around them too, wherever the car went in between."""
    first, second = drive
    corner = np.flatnonzero(np.round(first.intensity) == 0)
    found = second_sweep(first, corner, second, recipe("points=300"), TOKENIZER, np.random.default_rng(0))
    assert len(found.there) == 300
    assert (np.round(found.cloud["features"][:, 0]) == 0).mean() > 0.9


def batch_of(drive: list[Frame], *, seconds: tuple[bool, ...] = (True, True)) -> DistilBatch:
    samples = [
        distil_sample(
            frame,
            recipe(),
            TOKENIZER,
            np.random.default_rng(number),
            None,
            Columns(),  # type: ignore[arg-type]
            drive[1 - number] if seconds[number] else None,
        )
        for number, frame in enumerate(drive)
    ]
    return collate_distil(samples, TOKENIZER)


def test_segments_of_a_batch_are_told_apart(drive: list[Frame]) -> None:
    batch = batch_of(drive)
    assert batch.segments is not None
    assert len(batch.segments) == len(batch.points.features)
    clouds = np.split(batch.segments.numpy(), batch.points.offsets[1:-1].tolist())
    assert len(clouds) == 4
    assert batch.own == len(clouds[0]) + len(clouds[1])
    ids = [set(cloud[cloud >= 0].tolist()) for cloud in clouds]
    assert ids[0] & ids[2]
    assert ids[1] & ids[3]
    assert not (ids[0] | ids[2]) & (ids[1] | ids[3])
    assert max(set.union(*ids)) < batch.segment_count
    half = batch_of(drive, seconds=(False, True))
    assert half.segments is not None
    assert (half.segments[: half.points.offsets[1]] == -1).all()
    assert len(half.segments) == len(half.points.features)


class Means(Teacher):
    def __init__(self) -> None:
        super().__init__(name="a", dim=3, stride=4, grid="centers")

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, self.stride)


def test_the_loss_is_that_of_its_three_parts(drive: list[Frame]) -> None:
    torch.manual_seed(0)
    network = Network(recipe().student, HeadConfig(kind="linear", outputs=8))
    learning = Distillation(network, 3, 8, unit=True)
    loss = superpixel_loss(Fabric(accelerator="cpu"), recipe(), FeatureMaps([Means()], 0), Columns.count)
    batch = batch_of(drive)
    found = loss(learning, batch)
    assert found["loss"].item() == pytest.approx(sum(float(found[f"loss/{k}"]) for k in ("space", "time", "points")))
    found["loss"].backward()
    assert all(p.grad is not None for p in learning.parameters())
    alone = loss(learning, batch_of(drive, seconds=(False, False)))
    assert set(alone) == set(found)
    assert alone["loss"].item() == alone["loss/space"].item()
    assert alone["loss/time"].isnan()


def test_the_parts_of_the_loss_are_seals(drive: list[Frame]) -> None:
    batch = batch_of(drive)
    assert batch.segments is not None
    features = torch.nn.functional.normalize(torch.randn(len(batch.segments), 8), dim=1)
    parts = consistent(torch.tensor(2.0), features, batch)
    now, then = features.split([batch.own, len(features) - batch.own])
    here, there = batch.segments.split([batch.own, len(features) - batch.own])
    assert torch.equal(parts["loss/time"], temporal(now, here, then, there, batch.segment_count))
    within = [point_to_segment(f, s, batch.segment_count) for f, s in ((now, here), (then, there))]
    torch.testing.assert_close(parts["loss/points"], sum(within) / 2)
    one_each = torch.nn.functional.one_hot(batch.segments.clamp(min=0), batch.segment_count).float()
    assert float(consistent(torch.tensor(2.0), one_each, batch)["loss"]) < 2.01  # nothing to improve


def test_training_asks_for_the_neighbour(drive: list[Frame]) -> None:
    @dataclass
    class Source(Listed):
        spec: str = "x"
        name: str = "x"
        taxonomy: None = None

    samples = TrainSamples(Source(list(drive)), recipe(), TOKENIZER, superpixels=Columns())  # type: ignore[arg-type]
    sample = samples[(0, 1)]
    assert not isinstance(sample, Skip)
    assert sample.sweep is not None  # type: ignore[union-attr]
    plain = TrainSamples(Source(list(drive)), recipe("objective=slidr"), TOKENIZER, superpixels=Columns())  # type: ignore[arg-type]
    assert plain[(0, 1)].sweep is None  # type: ignore[union-attr]
    lost = Source([replace(drive[0], pose=None)])
    skipped = TrainSamples(lost, recipe(), TOKENIZER, superpixels=Columns())[(0, 0)]  # type: ignore[arg-type]
    assert isinstance(skipped, Skip)
    assert "has no pose" in skipped.reason


def test_what_every_sample_needs_is_asked_for_first(
    drive: list[Frame], tiny_rig: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_sweeps(Listed(list(drive)))  # type: ignore[arg-type]
    rig = tiny_rig(tmp_path / "rig", frames=2)
    said = (*SMALL, "objective=seal", "superpixels=slic", "image_head=8", "cameras=all")
    with pytest.raises(InputError, match=r"rig/000000: has no pose"):
        lidistill.pretrain((str(rig),), out=tmp_path / "run", recipe="city", set=said)
    assert not (tmp_path / "run").exists()
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(InputError, match=r"needs scikit-learn; install lidistill\[superpixels\]"):
        need_sweeps(Listed(list(drive)))  # type: ignore[arg-type]
