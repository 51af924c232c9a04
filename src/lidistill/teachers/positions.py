"""Learned position embeddings, stretched to a picture of another size."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Stretch = Literal["offset", "exact", "antialias"]


def stretch(table: Tensor, rows: int, columns: int, how: Stretch) -> Tensor:
    """Embeddings of a square of patches (1, N, D) -> of ``rows`` x ``columns`` patches (1, rows * columns, D), bicubic.

    ``exact`` maps the grids onto one another; ``antialias`` also filters when it shrinks (timm); ``offset`` samples
    with the scale (rows + 0.1) / sqrt(N), as the published code of DINO and DINOv2 does: 0.1 once guarded against
    rounding and is now part of the features. A grid of the stored size is returned as it is.
    """
    side = round(table.shape[1] ** 0.5)
    if (rows, columns) == (side, side):
        return table
    grid = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if how == "offset":
        scale = ((rows + 0.1) / side, (columns + 0.1) / side)
        grid = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
    else:
        grid = functional.interpolate(grid, (rows, columns), mode="bicubic", antialias=how == "antialias")
    return grid.flatten(2).transpose(1, 2).to(table.dtype)


def set_stretch(embeddings: nn.Module, patch: int, how: Stretch) -> None:
    """Make a transformers embedding module with one class token stretch its positions as ``how`` says."""
    embeddings.interpolate_pos_encoding = partial(_positions, embeddings, patch, how)  # type: ignore[assignment]


def _positions(module: nn.Module, patch: int, how: Stretch, _: Tensor, height: int, width: int) -> Tensor:
    if hasattr(module, "position_embedding"):  # CLIP keeps them in nn.Embedding
        table = module.position_embedding.weight[None]  # type: ignore[union-attr,index]
    else:
        table = module.position_embeddings
    assert isinstance(table, Tensor)
    patches = stretch(table[:, 1:], height // patch, width // patch, how)
    return torch.cat([table[:, :1], patches], 1)
