"""Colour statistics, measured and moved."""

import pickle

import numpy as np
import pytest
import torch

from lidistill.errors import InputError
from lidistill.teachers.colors import IMAGENET_COLORS, ColorMatch, ColorStatistics, measure
from lidistill.teachers.families import IMAGENET


def test_measure_equals_numpy():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (9, 7, 3), np.uint8), rng.integers(0, 100, (4, 20, 3), np.uint8)]
    pixels = np.concatenate([i.reshape(-1, 3) for i in images]).astype(float)
    found = measure(iter(images))
    assert found.mean == pytest.approx(pixels.mean(0), abs=1e-4)
    assert found.std == pytest.approx(pixels.std(0), abs=1e-4)


def test_matched_pictures_have_the_target_statistics():
    rng = np.random.default_rng(1)
    images = np.clip(rng.normal((100, 90, 120), (20, 15, 10), (40, 50, 3)), 0, 255).astype(np.uint8)
    source, target = measure([images]), ColorStatistics((80, 70, 60), (12, 14, 16))
    match = pickle.loads(pickle.dumps(ColorMatch(source, target)))
    batch = torch.from_numpy(images).permute(2, 0, 1)[None].float() / 255
    moved = match(batch.expand(2, -1, -1, -1))
    assert moved.shape == (2, 3, 40, 50)
    assert (255 * moved.mean((0, 2, 3))).tolist() == pytest.approx(target.mean, abs=0.05)
    assert (255 * moved.std((0, 2, 3))).tolist() == pytest.approx(target.std, abs=0.05)
    assert torch.equal(match(batch[0]), moved[0])


def test_same_statistics_change_nothing_and_results_stay_in_range():
    same = ColorMatch(IMAGENET_COLORS, IMAGENET_COLORS)
    images = torch.rand(1, 3, 8, 8)
    assert torch.allclose(same(images), images, atol=1e-6)
    strong = ColorMatch(ColorStatistics((128, 128, 128), (10, 10, 10)), ColorStatistics((128, 128, 128), (90, 90, 90)))
    assert strong(images).min() >= 0
    assert strong(images).max() <= 1
    assert strong(images).max() == 1


def test_flat_channels_are_not_stretched():
    flat = ColorStatistics((50, 50, 50), (0, 0, 0))
    moved = ColorMatch(flat, IMAGENET_COLORS)(torch.full((1, 3, 2, 2), 50 / 255))
    assert (255 * moved[0, :, 0, 0]).tolist() == pytest.approx(IMAGENET_COLORS.mean, abs=1e-3)


def test_imagenet_constants_agree():
    assert [m / 255 for m in IMAGENET_COLORS.mean] == pytest.approx(IMAGENET[0])
    assert [s / 255 for s in IMAGENET_COLORS.std] == pytest.approx(IMAGENET[1])


def test_no_picture():
    with pytest.raises(InputError, match="no picture to measure"):
        measure([])
