"""The ground below a sensor: whether z is up, and whether lengths are metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import Matrix

ROUGH = 0.012
"""Roughness of the ground in median ranges (0.15 m in a street): nothing here may presume metres."""
DRAWS = 250
BELOW = 0.04
"""Share of the points that may lie below the ground: reflections, ditches."""
SURE, LEAST = 0.15, 0.04
"""Share of the points that a ground below holds beyond doubt, and at least."""
STEEPEST = 20.0
"""Degrees between a ground's normal and z."""
HEIGHTS = (0.25, 4.8)
"""Of a lidar above the ground, metres."""
UNITS = {"millimetres": 0.001, "centimetres": 0.01, "feet": 0.3048}


@dataclass(frozen=True, eq=False)
class Ground:
    """A plane that holds ``share`` of the points and has nearly all others above it.

    ``up`` (3,) its unit normal, on the sensor's side; ``height`` of the sensor above it, in the scan's units.
    """

    up: Matrix
    height: float
    share: float

    @property
    def tilt(self) -> float:
        """Degrees between the normal and the z axis."""
        return float(np.degrees(np.arccos(np.clip(self.up[2], -1, 1))))

    @property
    def level(self) -> bool:
        """Whether it is where a ground is expected: below the sensor, z along its normal."""
        return self.tilt < STEEPEST

    @property
    def axis(self) -> str:
        """The axis of the scan that is nearest to up, such as ``-z``."""
        axis = int(np.abs(self.up).argmax())
        return ("-" if self.up[axis] < 0 else "") + "xyz"[axis]


def find_ground(points: NDArray[Any]) -> Ground | None:
    """The ground of a scan (N, 3); if none lies below, the plane that looks like one in another direction; or None."""
    distance = np.linalg.norm(points, axis=1)
    median = float(np.median(distance)) if len(points) else 0.0
    near = np.flatnonzero((distance > 0.05 * median) & (distance < 2.5 * median))
    if len(near) < 200:
        return None
    rng = np.random.default_rng(0)
    sample = points[rng.choice(near, min(len(near), 6000), replace=False)].astype(np.float64)
    level = _best_plane(sample, ROUGH * median, rng, level=True)
    share = 0.0 if level is None or level.share < LEAST else level.share
    if share > SURE:
        return level
    other = _best_plane(sample, ROUGH * median, rng, level=False)
    if other is not None and other.share > max(SURE, 2.5 * share):
        return other
    return level if share else None


def _best_plane(points: Matrix, rough: float, rng: np.random.Generator, *, level: bool) -> Ground | None:
    """Of planes through three random points, the one with most points, with nearly all others on the sensor's side."""
    # the lower half holds the ground: fewer draws are lost
    pool = points[points[:, 2] <= np.median(points[:, 2])] if level else points
    corners = pool[rng.integers(0, len(pool), (DRAWS if level else 4 * DRAWS, 3))]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    kept = length > (5 * rough) ** 2
    normal, corners = normal[kept] / length[kept, None], corners[kept]
    height = -np.einsum("ij,ij->i", normal, corners[:, 0])
    normal, height = normal * np.sign(height)[:, None], np.abs(height)  # the sensor is above
    kept = height > 2 * rough
    if level:
        kept &= normal[:, 2] > np.cos(np.radians(STEEPEST))
    normal, height = normal[kept], height[kept]
    if not len(normal):
        return None
    above = points @ normal.T + height
    inside, below = (np.abs(above) < rough).mean(0), (above < -3 * rough).mean(0)
    inside[below > BELOW] = 0
    winner = int(inside.argmax())
    return Ground(normal[winner], float(height[winner]), float(inside[winner])) if inside[winner] > 0 else None


def unit(height: float) -> str | None:
    """What the height of a lidar above the ground is measured in, if not metres; "another unit" for nonsense."""
    if HEIGHTS[0] <= height <= HEIGHTS[1]:
        return None
    fits = [name for name, factor in UNITS.items() if HEIGHTS[0] <= height * factor <= HEIGHTS[1]]
    return fits[-1] if fits else "another unit"
