"""Teacher features at paired pixels: four taps each, the full-resolution map is never built."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.teachers.teacher import Grid


def sample(features: Tensor, image_index: Tensor, pixels: Tensor, size: tuple[int, int], grid: Grid) -> Tensor:
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
