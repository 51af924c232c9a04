"""Voxel down-sampling: one point per cube."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.transforms.order import stable_order

LARGEST_EXTENT = 2**31
"""Voxels along one axis; a cloud that needs more holds a broken coordinate."""


def voxel_sample(
    points: NDArray[np.floating[Any]], size: float, order: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Rows of the points to keep, one per occupied cube of ``size`` metres.

    ``points`` (N, 3). The kept point of a voxel is the first in scan order, or the first in ``order`` (a permutation
    of the N rows). The (K,) rows come sorted by voxel: x, then y, then z. Voxels are counted from the lowest
    coordinate of the cloud, and computed in the cloud's own precision. Raises ``InputError`` for coordinates that are
    not finite.
    """
    if len(points) == 0:
        return np.empty(0, np.int64)
    order = None if order is None else np.asarray(order).astype(np.int64, copy=False)
    cells, extents = zip(*(_cells(column, size) for column in points.T), strict=True)
    voxels = math.prod(extents)
    if voxels >= 2**63:
        return _of_sparse(cells, order)
    key = np.zeros(len(points), np.min_scalar_type(voxels))
    for column, extent in zip(cells, extents, strict=True):
        key *= key.dtype.type(extent)
        key += column.astype(key.dtype)
    rows = stable_order(key, order)
    key = key[rows]
    return rows[np.concatenate(([True], key[1:] != key[:-1]))]


def _cells(column: NDArray[np.floating[Any]], size: float) -> tuple[NDArray[np.int64], int]:
    """Voxel index of every coordinate of one axis, and the number of voxels along it."""
    low, high = float(column.min()), float(column.max())
    if not (math.isfinite(low) and math.isfinite(high) and (high - low) / size < LARGEST_EXTENT):
        raise InputError(
            f"points must have finite coordinates to be sampled in voxels of {size} m, found {low} to {high} along "
            "one axis; drop the broken points first"
        )
    column = np.ascontiguousarray(column)
    cells = ((column - column.min()) / column.dtype.type(size)).astype(np.int64)  # none is negative: rounded down
    return cells, int(cells.max()) + 1


def _of_sparse(cells: tuple[NDArray[np.int64], ...], order: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The rows of a cloud so wide that its voxels cannot be numbered."""
    rows = np.arange(len(cells[0])) if order is None else order
    rows = rows[np.lexsort(tuple(column[rows] for column in reversed(cells)))]
    starts = np.any([np.diff(column[rows]) != 0 for column in cells], axis=0)
    return rows[np.concatenate(([True], starts))]
