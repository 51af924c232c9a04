"""Pairing: which point of a scan sees which pixel of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.visibility import visible

ROUNDING = 0.1
"""Metres by which a depth in single precision is less than wrong, up to a hundred kilometres away."""


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
    ahead = _ahead(frame.points, view, min_depth)
    pixels, depth = project(frame.points.take(ahead, axis=0), view)
    inside = np.flatnonzero(in_image(pixels, depth, view.height, view.width, min_depth, margin))
    pairs = Pairs(ahead[inside], pixels.take(inside, axis=0), depth[inside])
    return pairs.select(visible(frame.points, view.from_lidar, pairs.rows)) if occlusion else pairs


def _ahead(points: NDArray[np.float32], view: CameraView, min_depth: float) -> NDArray[np.int64]:
    """Rows worth projecting: about half of a scan lies behind a camera, and single precision is enough to know."""
    if view.distortion is not None and view.distortion.model == "fisheye":
        return np.arange(len(points))  # sees beyond 90 degrees
    a, b, c, d = view.from_lidar[2].astype(np.float32)
    x, y, z = points.T
    return np.flatnonzero(a * x + b * y + c * z + d > min_depth - ROUNDING)
