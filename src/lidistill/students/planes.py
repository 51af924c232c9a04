"""A plane: packed points averaged into the cells of an image per cloud, and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lidistill.transforms.order import stable_order

Indices = NDArray[np.int64]


def pack_plane(cells: Indices, offsets: Indices, grid: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Lay the cells of B packed clouds out as B images of one size (numpy, in the loader's workers).

    ``cells`` (M,) int64: row * columns + column of every point in a plane of ``grid`` = (rows, columns); ``offsets``
    (B + 1,): first point of every cloud. Returns ``cells`` (M,) int64 in the stack of B images of h x w;
    ``order`` (M,) int64: points sorted by cell; ``starts`` (B, h, w) int64: where in ``order`` a cell begins;
    ``weights`` (M,) float32: one over the number of points in the point's cell.

    The images show only a window of the grid: the smallest that holds the occupied cells of any cloud and a margin
    of one cell. Two 3 x 3 convolutions give the same on occupied cells as on the whole grid: beyond the window the
    input is empty, and the margin holds what the first one writes around occupied cells.
    """
    row, column = np.divmod(cells, grid[1])
    row, height = _window(row, offsets, grid[0])
    column, width = _window(column, offsets, grid[1])
    clouds = len(offsets) - 1
    image = np.repeat(np.arange(clouds), np.diff(offsets))
    packed = pack_cells((image * height + row) * width + column, clouds * height * width)
    return packed | {"starts": packed["starts"].reshape(clouds, height, width)}


def pack_cells(cells: Indices, count: int) -> dict[str, NDArray[Any]]:
    """The arrays of ``pack_plane`` for ``count`` cells that are no image but a row: ``starts`` is (1, 1, count)."""
    counts = np.bincount(cells, minlength=count)
    return {
        "cells": cells,
        "order": stable_order(cells),
        "starts": (counts.cumsum() - counts).reshape(1, 1, count),
        "weights": (1 / counts[cells]).astype(np.float32),
    }


def _window(index: Indices, offsets: Indices, size: int) -> tuple[Indices, int]:
    """Shift ``index`` (M,) in [0, size) of every cloud into a common window; returns it and the window's length."""
    filled = np.flatnonzero(np.diff(offsets))
    if not len(filled):
        return index, 1
    begins = offsets[filled]
    first = np.maximum(np.minimum.reduceat(index, begins) - 1, 0)
    last = np.minimum(np.maximum.reduceat(index, begins) + 1, size - 1)
    length = int((last - first).max()) + 1
    # A window never sticks out of the grid: what lies beyond the grid is zero after the first convolution too.
    first = np.minimum(first, size - length)
    return index - np.repeat(first, np.diff(offsets)[filled]), length


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a batch, on the device; the tensors are those of ``pack_plane`` and serve every layer."""

    cells: Tensor
    order: Tensor
    starts: Tensor
    weights: Tensor
    sorted_weights: Tensor

    @classmethod
    def of(cls, prepared: Mapping[str, Tensor], plane: int | str, dtype: torch.dtype) -> Plane:
        """The plane of a batch that was prepared under this number or name; ``dtype`` of the tokens."""
        cells, order, starts = (prepared[f"{name}_{plane}"] for name in ("cells", "order", "starts"))
        weights = prepared[f"weights_{plane}"].to(dtype)
        return cls(cells, order, starts, weights, weights[order])

    @property
    def clouds(self) -> int:
        """Number of clouds B."""
        return len(self.starts)

    def flatten(self, tokens: Tensor) -> Tensor:
        """Weighted sum (with the prepared weights: the mean) of the tokens (M, C) of every cell: image (B, C, h, w).

        The image is a channels-last view; empty cells are exactly 0.
        """
        rows: Tensor = _Flatten.apply(tokens, self)  # type: ignore[no-untyped-call]
        return rows.view(*self.starts.shape, tokens.shape[1]).permute(0, 3, 1, 2)

    def inflate(self, image: Tensor) -> Tensor:
        """(M, C): what every point reads in its cell of ``image`` (B, C, h, w)."""
        rows = image.permute(0, 2, 3, 1).reshape(self.starts.numel(), image.shape[1])
        tokens: Tensor = _Inflate.apply(rows, self)  # type: ignore[no-untyped-call]
        return tokens


# The gradients of both are written out because each is the other's transpose: torch's own would sort or add atomically.


class _Flatten(torch.autograd.Function):
    """(M, C) -> (B * h * w, C): sum over the points of a cell of weight times token."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, plane: Plane) -> Tensor:
        ctx.plane = plane
        weights = plane.sorted_weights.to(tokens.dtype)
        return functional.embedding_bag(
            plane.order, tokens.contiguous(), plane.starts.flatten(), mode="sum", per_sample_weights=weights
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        plane: Plane = ctx.plane
        return gradient.index_select(0, plane.cells).mul_(plane.weights[:, None]), None


class _Inflate(torch.autograd.Function):
    """(B * h * w, C) -> (M, C): the row of every point's cell."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, plane: Plane) -> Tensor:
        ctx.plane = plane
        return rows.index_select(0, plane.cells)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        plane: Plane = ctx.plane
        return functional.embedding_bag(plane.order, gradient.contiguous(), plane.starts.flatten(), mode="sum"), None
