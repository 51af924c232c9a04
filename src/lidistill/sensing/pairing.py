"""Pairing: which point of a scan sees which pixel of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.visibility import visible


@dataclass(frozen=True, eq=False)
class Pairs:
    """P points and their pixels: ``rows`` (P,) int64 of the scan; ``pixels`` (P, 2) = (u, v); ``depth`` (P,) metres."""

    rows: NDArray[np.int64]
    pixels: NDArray[np.float64]
    depth: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, which: NDArray[Any]) -> Pairs:
        """The pairs at ``which`` (indices, in that order, or a (P,) bool mask)."""
        return Pairs(self.rows[which], self.pixels[which], self.depth[which])

    def among(self, rows: NDArray[np.int64]) -> Pairs:
        """The pairs of the given rows of the scan (each at most once), such as one point per voxel, in their order."""
        place = np.full(max(self.rows.max(initial=-1), rows.max(initial=-1)) + 1, -1)
        place[self.rows] = np.arange(len(self))
        found = place[rows]
        return self.select(found[found >= 0])


def pair(
    frame: Frame, view: CameraView, *, occlusion: bool = True, min_depth: float = 1.0, margin: float = 1.0
) -> Pairs:
    """Pair the points of a whole scan with the pixels of one of its pictures, in scan order.

    A point is kept by the rule of ``in_image`` and, with ``occlusion``, when no nearer surface of the scan hides it
    from the camera; without, as in the published code (ScaLR), a wall behind a car is paired with the car.
    The scan must be whole: what is missing hides nothing.
    """
    pixels, depth = project(frame.points, view)
    rows = np.flatnonzero(in_image(pixels, depth, view.height, view.width, min_depth, margin))
    pairs = Pairs(rows, pixels[rows], depth[rows])
    return pairs.select(visible(frame.points, view.from_lidar, rows)) if occlusion else pairs
