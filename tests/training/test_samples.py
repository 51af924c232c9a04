"""Samples: points carry the pixel that shows them, through reading, projection, visibility and resizing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill.datasets.concat import Concat
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame
from lidistill.students.registry import build_student
from lidistill.taxonomy import load
from lidistill.training.distil_samples import DistilBatch, distil_sample
from lidistill.training.recipe import load_recipe
from lidistill.training.samples import (
    Collate,
    SegmentBatch,
    Skip,
    TrainSamples,
    full_sample,
    train_sample,
)
from rigs import COLORS

SIZE = (48, 160)  # another aspect than the recorded 96 x 192
DISTIL = load_recipe(
    "city", ["student=waffleiron-1-8", f"teacher.image_size=[{SIZE[0]}, {SIZE[1]}]", "min_pairs=8", "voxel=0.02"]
)
SEGMENT = load_recipe("city-probe", ["student=waffleiron-1-8", "points=700"])
TOKENIZER = build_student(SEGMENT.student).tokenizer


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    return tiny_rig(tmp_path_factory.mktemp("samples") / "rig", frames=4, cameras=2)


@pytest.fixture
def frame(rig: Path) -> Frame:
    return open_source(str(rig))[0]


def test_the_paired_pixel_shows_the_point(frame: Frame) -> None:
    mean, std = frame.sensor.intensity
    right = total = 0
    names, palette = list(COLORS), np.array(list(COLORS.values()), np.float32)
    palette /= np.linalg.norm(palette, axis=1, keepdims=True)
    for seed in range(6):
        sample = distil_sample(frame, DISTIL, TOKENIZER, np.random.default_rng(seed))
        assert sample.shown == (0,)
        ((image,),), (pixels,) = sample.images, sample.pixels
        assert image.shape == (3, *SIZE)
        u, v = pixels.long().T
        assert u.min() >= 0
        assert u.max() < SIZE[1]
        assert v.max() < SIZE[0]
        seen = image[:, v, u].T.numpy()
        shown = np.array(names)[np.argmax(seen / np.linalg.norm(seen, axis=1, keepdims=True) @ palette.T, axis=1)]
        # the rig writes 3 x label into the intensity, which no augmentation touches
        true = np.round((sample.cloud["features"][:, 0] * std + mean) / 3).astype(int)
        right += (shown == true).sum()
        total += len(true)
    assert total > 1500
    # resizing to another aspect blurs the borders of objects
    assert right / total > 0.93


def test_wrong_pairs_would_be_noticed(frame: Frame) -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    views = tuple(replace(view, from_lidar=view.from_lidar @ turned) for view in frame.views)
    with pytest.raises(AssertionError):
        test_the_paired_pixel_shows_the_point(replace(frame, views=views))


def test_a_sample_is_a_function_of_seed_epoch_and_index(rig: Path) -> None:
    samples = TrainSamples(open_source(str(rig)), DISTIL, TOKENIZER)
    first, again, later = samples[(0, 1)], samples[(0, 1)], samples[(1, 1)]
    assert np.array_equal(first.cloud["coords"], again.cloud["coords"])
    assert torch.equal(first.pixels[0], again.pixels[0])
    assert not np.array_equal(first.cloud["coords"][:5], later.cloud["coords"][:5])


def test_cameras_are_drawn_evenly(frame: Frame) -> None:
    pictures = [distil_sample(frame, DISTIL, TOKENIZER, np.random.default_rng(s)).pictures[0] for s in range(40)]
    counts = [pictures.count(name) for name in sorted(set(pictures))]
    assert len(counts) == 2
    assert min(counts) > 8


def test_augmented_points_agree_with_their_features_in_distillation(frame: Frame) -> None:
    sample = distil_sample(frame, DISTIL, TOKENIZER, np.random.default_rng(3))
    assert np.allclose(sample.cloud["features"][:, 1:4], sample.cloud["coords"], atol=1e-5)


def test_training_keeps_labels_beside_their_points(frame: Frame) -> None:
    sample = train_sample(frame, SEGMENT, TOKENIZER, np.random.default_rng(0))
    mean, std = frame.sensor.intensity
    raw = np.round((sample.cloud["features"][:, 0] * std + mean) / 3).astype(int)
    assert len(raw) <= 700
    assert (load("city-16").apply(raw) == sample.labels.numpy()).mean() > 0.99


def test_evaluation_names_a_row_for_every_recorded_point(frame: Frame) -> None:
    sample = full_sample(frame, 0.3, TOKENIZER)
    assert len(sample.rows) == len(sample.labels) == len(frame)
    coords = sample.cloud["coords"]
    assert len(coords) < len(frame)
    nearest = ((frame.points[:, None] - coords[None]) ** 2).sum(-1).argmin(1)
    distance = np.linalg.norm(coords[sample.rows] - frame.points, axis=1)
    assert np.allclose(distance, np.linalg.norm(coords[nearest] - frame.points, axis=1), atol=1e-5)
    assert np.array_equal(sample.labels.numpy(), frame.labels)


def test_a_frame_without_images_or_labels_is_skipped(rig: Path, frame: Frame) -> None:
    with pytest.raises(InputError, match="no camera image"):
        distil_sample(replace(frame, views=()), DISTIL, TOKENIZER, np.random.default_rng(0))
    with pytest.raises(InputError, match="no labels"):
        train_sample(replace(frame, labels=None), SEGMENT, TOKENIZER, np.random.default_rng(0))
    with pytest.raises(InputError, match="field of view"):
        full_sample(replace(frame, points=frame.points + 1000), 0.1, TOKENIZER)


def test_a_skipped_frame_of_a_mixture_is_named_by_its_data_set(
    rig: Path, tmp_path: Path, tiny_rig: Callable[..., Path]
) -> None:
    blind = tiny_rig(tmp_path / "blind", frames=3, images=False)
    samples = TrainSamples(Concat([open_source(str(rig)), open_source(str(blind))]), DISTIL, TOKENIZER)
    skip = samples[0, 5]
    assert isinstance(skip, Skip)
    assert skip.token == "blind[1]"


def test_batches_pack_the_usable_samples(rig: Path) -> None:
    source = open_source(str(rig))
    samples = [TrainSamples(source, DISTIL, TOKENIZER)[(0, i)] for i in range(3)]
    collated = Collate(TOKENIZER)([samples[0], Skip("x", "broken"), samples[2]])
    assert isinstance(collated.batch, DistilBatch)
    assert collated.skipped == (Skip("x", "broken"),)
    assert collated.batch.points.clouds == 2
    assert torch.equal(collated.batch.image_index.unique(), torch.tensor([0, 1]))
    assert len(collated.batch.pixels[0]) == len(collated.batch.points)
    whole = [full_sample(source[i], 0.3, TOKENIZER) for i in range(2)]
    packed = Collate(TOKENIZER)(whole).batch
    assert isinstance(packed, SegmentBatch)
    assert packed.rows.max() < len(packed.points)
    second = packed.rows[packed.sizes[0] :]
    assert second.min() >= packed.points.offsets[1]
    assert Collate(TOKENIZER)([Skip("x", "broken")]).batch is None


def test_a_far_centre_does_not_empty_the_sample(frame: Frame) -> None:
    # most of this scan lies beyond the student's field of view
    scale = np.where(np.arange(len(frame)) % 10 < 8, 30, 1)[:, None].astype(np.float32)
    far = replace(frame, points=frame.points * scale)
    for seed in range(10):
        sample = train_sample(far, SEGMENT.model_copy(update={"points": 64}), TOKENIZER, np.random.default_rng(seed))
        assert len(sample.labels) == 64
