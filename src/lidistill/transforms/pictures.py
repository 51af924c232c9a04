"""Augmentations of pictures and of the classes of their pixels: random pieces, random colours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]


def nearest_pixels(shape: Size, size: Size) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (h, 1) and columns (w,) of a picture of ``shape`` that lie nearest to the pixels of one resized to ``size``.

    ``classes[nearest_pixels(classes.shape, size)]`` resizes classes as ``teachers.images.resize`` does pictures.
    """
    rows, columns = (
        np.clip(np.round((np.arange(n) + 0.5) * old / n - 0.5), 0, old - 1).astype(int)
        for n, old in zip(size, shape, strict=True)
    )
    return rows[:, None], columns


def random_pieces(
    images: Tensor,
    classes: Tensor,
    crop: Size,
    stride: int,
    rng: np.random.Generator,
    *,
    zoom: tuple[float, float] = (0.65, 1.45),
    stretch: float = 0.12,
    flip: bool = True,
) -> tuple[Tensor, Tensor]:
    """A piece of every picture (B, 3, H, W), and the class under every cell of its feature map.

    ``classes`` (B, H, W); returns (B, 3, h, w) for ``crop`` = (h, w), and (B, h / stride, w / stride) int64: cell
    (i, j) is centred on pixel (stride i, stride j). A piece shows ``crop`` times a factor drawn from ``zoom`` (above 1:
    more of the picture, smaller), its sides stretched by up to ``stretch``, at most the whole picture; with ``flip``
    every other one is mirrored.
    """
    count, size = len(images), images.shape[-2:]
    factor = np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]), (count, 1)))
    share = np.array([crop[1] / size[1], crop[0] / size[0]])
    half = np.minimum(share * factor * np.exp(rng.uniform(-stretch, stretch, (count, 2))), 1.0)
    center = rng.uniform(half - 1, 1 - half)
    mirror = np.where(rng.random(count) < 0.5 * flip, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = torch.from_numpy(half[:, 0] * mirror), torch.from_numpy(half[:, 1])
    theta[:, :, 2] = torch.from_numpy(center)
    grid = functional.affine_grid(theta, [count, 3, *crop], align_corners=False)
    pieces = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    cells = grid[:, ::stride, ::stride]
    below = functional.grid_sample(
        classes[:, None].float(), cells, mode="nearest", padding_mode="border", align_corners=False
    )
    return pieces, below[:, 0].round().long()


def random_colors(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] with random gamma, exposure, white balance, saturation, contrast, and grain."""

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(np.exp(rng.uniform(np.log(low), np.log(high), (len(images), channels, 1, 1)))).float()

    x = images.clamp(1e-3, 1) ** draw(0.75, 1.35) * draw(0.8, 1.25) * draw(0.93, 1.08, 3)
    mean = x.mean((1, 2, 3), keepdim=True)
    gray = x.mean(1, keepdim=True)
    x = gray + (x - gray) * draw(0.6, 1.4)
    x = mean + (x - mean) * draw(0.75, 1.3)
    grain = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    return (x + grain * torch.from_numpy(rng.uniform(0, 0.03, (len(x), 1, 1, 1))).float()).clamp(0, 1)
