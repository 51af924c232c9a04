"""Visibility: which points of a scan a camera beside the lidar really sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.rigid import transform

CELL = np.radians(0.5)


def visible(points: NDArray[Any], from_lidar: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the camera sees the points at ``rows`` (P,) of the scan ``points`` (N, 3): (P,) bool."""
    if not len(rows):
        return np.zeros(0, np.bool_)
    local = transform(np.asarray(points, np.float64), from_lidar)
    distance = np.linalg.norm(local, axis=1)
    cell = np.stack(
        [np.arctan2(local[:, 0], local[:, 2]), np.arctan2(local[:, 1], np.hypot(local[:, 0], local[:, 2]))], 1
    )
    cell = np.floor(cell / CELL).astype(np.int64)
    low = cell[rows].min(0) - 2
    shape = cell[rows].max(0) - low + 3
    cell -= low
    near = np.flatnonzero(((cell >= 0) & (cell < shape)).all(1))
    buffer = np.full(shape, np.inf)
    np.minimum.at(buffer, tuple(cell[near].T), distance[near])
    seen: NDArray[np.bool_] = distance[rows] < buffer[tuple(cell[rows].T)] * 1.1 + 0.3
    return seen
