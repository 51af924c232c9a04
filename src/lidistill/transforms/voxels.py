"""Voxel down-sampling: one point per cube."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

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
    columns = np.ascontiguousarray(points.T)
    cells, extents = zip(*(_cells(column, size) for column in columns), strict=True)
    if order is not None:
        cells = tuple(column[order] for column in cells)
    first = _first_of_each(cells, extents)
    return first if order is None else np.asarray(order)[first].astype(np.int64, copy=False)


def _cells(column: NDArray[np.floating[Any]], size: float) -> tuple[NDArray[np.int64], int]:
    """Voxel index of every coordinate of one axis, and the number of voxels along it."""
    low, high = float(column.min()), float(column.max())
    if not (math.isfinite(low) and math.isfinite(high) and (high - low) / size < LARGEST_EXTENT):
        raise InputError(
            f"points must have finite coordinates to be sampled in voxels of {size} m, found {low} to {high} along "
            "one axis; drop the broken points first"
        )
    cells = np.floor((column - column.min()) / column.dtype.type(size)).astype(np.int64)
    return cells, int(cells.max()) + 1


def _first_of_each(cells: tuple[NDArray[np.int64], ...], extents: tuple[int, ...]) -> NDArray[np.int64]:
    """Positions of the first point of every voxel, ordered by voxel."""
    x, y, z = cells
    count = len(x)
    position = np.arange(count)
    if math.prod(extents) * count >= 2**63:
        by_voxel = np.lexsort((position, z, y, x))
        starts = np.any([np.diff(column[by_voxel]) != 0 for column in cells], axis=0)
        return by_voxel[np.concatenate(([True], starts))]
    # Voxel and position share one integer, so that a plain sort (several times faster than argsort or unique) does it.
    keys = np.sort(((x * extents[1] + y) * extents[2] + z) * count + position)
    voxel = keys // count
    first = keys[np.concatenate(([True], voxel[1:] != voxel[:-1]))]
    return first % count
