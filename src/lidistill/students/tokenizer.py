"""What WaffleIron needs to know of a cloud: the neighbours of its points and their cells in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill.students.batch import Cloud, PointBatch
from lidistill.students.config import Box, StudentConfig
from lidistill.students.planes import pack_plane
from lidistill.transforms.nearest import k_nearest
from lidistill.transforms.order import stable_order

MARGIN = 1e-4
"""Points nearer than this (metres) to the border of the field of view are outside, as in the published code."""

PLANES = ((0, 1), (0, 2), (1, 2))
"""Axes of the planes xy, xz and yz, in the order in which the layers use them (WaffleIron, ICCV 2023, section 3)."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PlaneTokenizer:
    """``fov``: lowest and highest x, y, z in metres; ``cells``: cells along x, y, z; ``neighbors``: K."""

    fov: Box
    cells: tuple[int, int, int]
    neighbors: int

    @classmethod
    def of(cls, config: StudentConfig) -> PlaneTokenizer:
        """The tokenizer of a student."""
        return cls(config.fov, config.cells_per_axis, config.neighbors)

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each plane."""
        return tuple((self.cells[first], self.cells[second]) for first, second in PLANES)

    def inside(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """(N,) bool: which of the (N, 3) points lie in the field of view; a NaN lies nowhere."""
        seen = np.ones(len(points), np.bool_)
        for column, (low, high) in zip(points.T, np.array(self.fov, np.float64), strict=True):
            # compared as doubles, whatever the points are
            seen &= (column > low + MARGIN) & (column < high - MARGIN)
        return seen

    def __call__(self, coords: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]) -> Cloud:
        """Prepare one cloud: ``coords`` (N, 3) in metres, ``features`` (N, C); N may be 0.

        Adds ``cells`` (3, N) int64, flat indices row * columns + column in each plane, and ``neighbors``
        (N, K) int64. Raises ``ValueError`` when a point is not ``inside``.
        """
        if not self.inside(coords).all():
            raise ValueError("every point must lie inside the field of view; select them with inside() first")
        return {
            "coords": coords.astype(np.float32),
            "features": features.astype(np.float32),
            "cells": self._cells(coords),
            "neighbors": nearest_neighbors(coords, self.neighbors),
        }

    def _cells(self, coords: NDArray[np.floating[Any]]) -> Indices:
        low, high = np.array(self.fov, np.float64).T
        size = (high - low) / np.array(self.cells)
        index = [((coords[:, axis] - low[axis]) / size[axis]).astype(np.int64) for axis in range(3)]
        return np.stack([index[a] * self.cells[b] + index[b] for a, b in PLANES])

    def collate(self, clouds: Sequence[Cloud]) -> PointBatch:
        """Pack tokenised clouds.

        ``prepared``: ``neighbors`` (M, K) int64, packed rows; for each plane p, the arrays of ``pack_plane`` as
        ``cells_p``, ``order_p``, ``starts_p`` and ``weights_p``.
        """
        sizes = np.array([len(cloud["coords"]) for cloud in clouds], np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])

        def join(key: str, axis: int = 0) -> NDArray[Any]:
            return np.concatenate([cloud[key] for cloud in clouds], axis=axis)

        neighbors = join("neighbors").astype(np.int64) + np.repeat(offsets[:-1], sizes)[:, None]
        cells = join("cells", axis=1)
        prepared = {"neighbors": neighbors}
        for plane, grid in enumerate(self.grids):
            for name, array in pack_plane(cells[plane], offsets, grid).items():
                prepared[f"{name}_{plane}"] = array
        coords, features = (torch.from_numpy(join(key)).float() for key in ("coords", "features"))
        return PointBatch(
            coords, features, torch.from_numpy(offsets), {name: torch.from_numpy(a) for name, a in prepared.items()}
        )


def nearest_neighbors(coords: NDArray[np.floating[Any]], count: int) -> Indices:
    """(N, count) int64: the rows of the nearest other points of (N, 3), nearest first.

    A cloud of fewer than ``count`` + 1 points repeats those it has; a single point is its own neighbour.
    """
    if len(coords) < 2:
        return np.zeros((len(coords), count), np.int64)
    # Queries that follow each other in space find the tree's nodes in the processor's cache.
    order = _by_place(coords)
    near = coords[order]
    found = k_nearest(near, near, min(count + 1, len(coords)))
    # a point comes first among its neighbours, unless another lies at the same place
    moved = np.flatnonzero(found[:, 0] != np.arange(len(near)))
    found[moved, 1:] = np.where(found[moved, 1:] == moved[:, None], found[moved, :1], found[moved, 1:])
    others = found[:, 1:]
    if others.shape[1] < count:
        others = others[:, np.arange(count) % others.shape[1]]
    neighbors = np.empty((len(coords), count), np.int64)
    neighbors[order] = order[others]
    return neighbors


def _by_place(coords: NDArray[np.floating[Any]]) -> Indices:
    """Rows of (N, 3) in the order of their square metres."""
    x, y = ((column - column.min()).astype(np.int64) for column in coords.T[:2])
    return stable_order(x * (y.max() + 1) + y)
