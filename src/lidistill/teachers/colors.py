"""Colours of a source's pictures, brought to those a teacher was trained on.

A small network trained on one camera reads another camera's contrast badly. Per channel, the mean and deviation of
the new pictures are measured once and moved to those of the pictures that the teacher knows. Large foundation models
saw all kinds of colours; the papers do not match theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.errors import InputError

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class ColorStatistics:
    """Mean and standard deviation of the channels R, G, B over all pixels, in [0, 255]."""

    mean: Channels
    std: Channels


IMAGENET_COLORS = ColorStatistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True)
class ColorMatch:
    """Moves pictures with the statistics ``source`` to the statistics ``target``; frozen, cheap to pickle."""

    source: ColorStatistics
    target: ColorStatistics

    def __call__(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) float in [0, 1] -> the same, each channel stretched, shifted and cut off at 0 and 1.

        A channel of (nearly) one value is shifted only: stretching it would show its noise.
        """
        gain, shift = [], []
        for m0, s0, m1, s1 in zip(self.source.mean, self.source.std, self.target.mean, self.target.std, strict=True):
            gain.append(s1 / s0 if s0 >= 1.0 else 1.0)
            shift.append((m1 - gain[-1] * m0) / 255)
        return (images * _column(gain, images) + _column(shift, images)).clamp(0, 1)


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1)


def measure(images: Iterable[NDArray[np.uint8]]) -> ColorStatistics:
    """Statistics over all pixels of ``images``, each (H, W, 3) uint8. Raises ``InputError`` when there is none."""
    histogram = np.zeros((3, 256), np.int64)
    for image in images:
        for channel in range(3):
            histogram[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
    count = histogram[0].sum()
    if not count:
        raise InputError("no picture to measure the colours on; the source needs at least one that decodes")
    values = np.arange(256)
    mean = histogram @ values / count
    std = np.sqrt(np.maximum(histogram @ values**2 / count - mean**2, 0))
    return ColorStatistics(_three(mean), _three(std))


def _three(values: NDArray[np.float64]) -> Channels:
    r, g, b = (round(float(v), 4) for v in values)
    return r, g, b
