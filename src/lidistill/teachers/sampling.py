"""Teacher features at paired pixels: four taps each, the full-resolution map is never built."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.teachers.teacher import Grid

Size = tuple[int, int]
BLOCK = 1 << 16
"""Pixels whose values are held at a time when all of a picture are read."""


def sample(features: Tensor, image_index: Tensor, pixels: Tensor, size: Size, grid: Grid) -> Tensor:
    """(P, D): bilinear values of ``features`` (B, D, h, w), picture ``image_index`` (P,), ``pixels`` (P, 2) = (u, v).

    ``pixels`` are columns and rows of the picture that the teacher saw, whose ``size`` is (H, W); whole numbers are
    pixel centres. Row v reads the map at the (fractional) cell row y, columns likewise:

    - ``corners``: y = v (h - 1) / (H - 1): first and last cells on first and last pixels, as the published ScaLR
      up-samples (``align_corners``);
    - ``centers``: y = (v + 1/2) h / H - 1/2: cell i in the middle of its patch of pixels, where it really is;
    - ``origin``: y = v h / H: cell i on pixel i H / h, as convolutions of stride 2 with odd kernels leave it.

    Beyond the outer cells their value goes on. Equal to up-sampling the whole map and reading the pixels, without the
    D H W numbers of that map.
    """
    _, dim, rows, columns = features.shape
    y, below, down = _taps(pixels[:, 1], rows, size[0], grid)
    x, right, across = _taps(pixels[:, 0], columns, size[1], grid)
    # one row of D numbers per cell, so that every tap reads contiguous memory; the weighted sum is one fused operation
    cells = features.permute(0, 2, 3, 1).reshape(-1, dim)
    start = image_index * rows
    top, bottom = (start + y) * columns, (start + below) * columns
    taps = torch.stack([top + x, top + right, bottom + x, bottom + right], 1)
    weights = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], 1)
    return functional.embedding_bag(taps, cells, mode="sum", per_sample_weights=weights.to(cells.dtype))


def likeliest(scores: Tensor, shape: Size, size: Size, grid: Grid, pixels: Tensor | None = None) -> Tensor:
    """(P,) int64: the largest channel of ``scores`` (1, C, h, w) at ``pixels`` (P, 2) = (u, v) of a recorded picture.

    The picture has ``shape`` (H, W) and was shown at ``size``, which gave the scores; None = all pixels, row by row.
    """
    if pixels is None:
        v, u = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
        pixels = torch.stack([u.flatten(), v.flatten()], 1)
    device = scores.device
    scale = torch.tensor([size[1] / shape[1], size[0] / shape[0]], device=device)
    found = []
    for block in torch.split(pixels.to(device), BLOCK):
        first = torch.zeros(len(block), dtype=torch.long, device=device)
        found.append(sample(scores.float(), first, (block + 0.5) * scale - 0.5, size, grid).argmax(1))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long, device=device)


def _taps(pixel: Tensor, cells: int, extent: int, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """The cell before each pixel, the one after, and how far (P,) the pixel lies between them, along one axis."""
    if grid == "corners":
        place = pixel * ((cells - 1) / max(extent - 1, 1))
    elif grid == "centers":
        place = (pixel + 0.5) * (cells / extent) - 0.5
    else:
        place = pixel * (cells / extent)
    place = place.clamp(0, cells - 1)
    before = place.long()
    return before, (before + 1).clamp(max=cells - 1), place - before
