"""How well a calibration lays the scans' edges over the pictures' edges, and how well others would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.cameras import project
from lidistill.sensing.examine.edges import PictureEdges, ScanEdges
from lidistill.sensing.frame import CameraView, Matrix

TILES = 12
"""Columns into which a picture is cut: neighbouring edges meet the same line of a picture, so they count as one."""


@dataclass(frozen=True, eq=False)
class Look:
    """One scan and one picture: ``edges`` of the whole scan, ``picture`` edges, the ``view`` as given.

    ``others``: the frame's other cameras, by name; calibrations may differ from frame to frame.
    """

    edges: ScanEdges
    picture: PictureEdges
    view: CameraView
    others: Mapping[str, CameraView] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a camera's calibration may be instead: ``from_lidar`` (4, 4) (it may mirror), ``intrinsics`` (3, 3)."""

    from_lidar: Matrix
    intrinsics: Matrix


@dataclass(frozen=True, eq=False)
class Agreement:
    """``sums`` (B,) of relative strength minus 1 and ``counts`` (B,) of edges, by block of picture and frame."""

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def edges(self) -> int:
        """Edges that fall into the pictures."""
        return int(self.counts.sum())

    @property
    def ratio(self) -> float:
        """Mean strength of the picture at the scan's edges relative to the surroundings: 1 = at random."""
        return 1 + float(self.sums.sum() / max(self.counts.sum(), 1))

    @property
    def error(self) -> float:
        """Standard error of the ratio over blocks."""
        total = max(self.counts.sum(), 1)
        # blocks that happen to be alike must not make the error vanish: at least that of independent edges
        return float(np.sqrt(((self.sums - (self.ratio - 1) * self.counts) ** 2).sum() + total) / total)

    @property
    def z(self) -> float:
        """How many standard errors the ratio is above 1."""
        return (self.ratio - 1) / self.error

    def better(self, other: Agreement) -> float:
        """Standard errors (over blocks) by which the sum here exceeds that of ``other`` on the same edges."""
        gain = self.sums - other.sums
        return float(gain.sum() / np.sqrt((gain**2).sum() + 1.0))


Change = Callable[[Look], Calibration]
"""What the calibration of a look may be instead."""


def agreement(looks: Sequence[Look], change: Change | None = None) -> Agreement:
    """Lay the edges of all ``looks`` over their pictures; None = the calibration as given."""
    sums, counts = np.zeros((len(looks), TILES)), np.zeros((len(looks), TILES))
    for row, look in enumerate(looks):
        view = look.view
        if change is not None:
            instead = change(look)
            view = replace(view, from_lidar=instead.from_lidar, intrinsics=instead.intrinsics)
        pixels, depth = project(look.edges.places, view)
        value = look.picture.at(pixels, look.edges.upright)
        met = (value >= 0) & (depth > 1)
        tile = np.clip(pixels[met, 0] * TILES / view.width, 0, TILES - 1).astype(np.int64)
        sums[row] = np.bincount(tile, value[met] - 1, TILES)
        counts[row] = np.bincount(tile, minlength=TILES)
    return Agreement(sums.ravel(), counts.ravel())


def joined(parts: Sequence[Agreement]) -> Agreement:
    """The agreement of several cameras together."""
    return Agreement(np.concatenate([p.sums for p in parts]), np.concatenate([p.counts for p in parts]))


def given(look: Look) -> Calibration:
    """The calibration as given."""
    return Calibration(look.view.from_lidar, look.view.intrinsics)


def turned(calibration: Calibration, angles: Sequence[float]) -> Calibration:
    """The camera turned by ``angles`` (degrees) about its own x (right), y (down) and z (forward) axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles)
    return replace(calibration, from_lidar=matrix @ calibration.from_lidar)


def moved(calibration: Calibration, shift: Sequence[float]) -> Calibration:
    """The camera's coordinates moved by ``shift`` (3,) metres."""
    matrix = calibration.from_lidar.copy()
    matrix[:3, 3] += shift
    return replace(calibration, from_lidar=matrix)


def rotation(angles: Sequence[Any]) -> Matrix:
    """(3, 3) rotation whose axis and angle in degrees are the direction and length of ``angles`` (3,)."""
    vector = np.radians(np.asarray(angles, np.float64))
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: Matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned
