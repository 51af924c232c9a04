"""Resizing as the published loaders do."""

import numpy as np
import pytest
import torch

from lidistill.teachers.families import IMAGENET
from lidistill.teachers.images import prepare, resize


def test_resize_equals_the_published_ones(parity):
    data = np.load(parity("04_distillation_losses/image_resize.npz"))
    image, plain, filtered, normal = (
        torch.from_numpy(data[name])[0] for name in ("image", "resized_plain", "resized_antialias", "normalised_plain")
    )
    size = tuple(plain.shape[-2:])
    assert (resize(image, size, antialias=False) - plain).abs().max() <= 1e-6
    assert (resize(image, size, antialias=True) - filtered).abs().max() <= 1e-6
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET)
    assert ((resize(image, size, antialias=False) - mean) / std - normal).abs().max() <= 5e-6  # 1e-6 / 0.224


def test_prepare():
    image = np.zeros((8, 12, 3), np.uint8)
    image[:, 6:, 0] = 255
    ready = prepare(image, (8, 12))
    assert ready.shape == (3, 8, 12)
    assert ready.dtype == torch.float32
    assert (ready[0, :, 6:] == 1).all()
    assert (ready[1:] == 0).all()
    small = prepare(image[:, ::-1], (4, 6))  # negative strides are no trouble
    assert small.shape == (3, 4, 6)
    assert small[0, :, 0].min() > 0.9


@pytest.mark.parametrize("antialias", [False, True])
def test_prepare_equals_dividing_and_transposing_first(antialias):
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    ready = prepare(image, (22, 45), antialias)
    first = torch.from_numpy(image.transpose(2, 0, 1) / 255.0).float()
    assert (ready - resize(first, (22, 45), antialias)).abs().max() < 1e-6
    assert ready.is_contiguous()
