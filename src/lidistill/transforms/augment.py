"""Augmentation of points: what is done to them, and drawing how much.

``rotate``, ``flip`` and ``rescale`` are exact; ``rotate_z``, ``flip_xy``, ``scale`` draw their argument. None changes
its input, all keep the precision of the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lidistill.transforms.order import distance_order

Real = TypeVar("Real", bound=np.floating[Any])

FLIP_PROBABILITY = 2 / 3
GEOMETRY = slice(1, 5)
"""Columns of ``point_features`` that are lengths: x, y, z, range."""


def rotate(points: NDArray[Real], angle: float) -> NDArray[Real]:
    """Turn (N, 3) points counter-clockwise about z by ``angle`` radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = points.copy()
    turned[:, 0] = points[:, 0] * cos - points[:, 1] * sin
    turned[:, 1] = points[:, 0] * sin + points[:, 1] * cos
    return turned


def flip(points: NDArray[Real], axis: int | None) -> NDArray[Real]:
    """Negate one axis of (N, 3) points (0 = x, 1 = y); ``None`` = leave them."""
    flipped = points.copy()
    if axis is not None:
        flipped[:, axis] *= -1
    return flipped


def rescale(points: NDArray[Real], factor: float) -> NDArray[Real]:
    """Multiply all coordinates by ``factor``."""
    scaled = points.copy()
    scaled *= factor
    return scaled


def draw_angle(rng: np.random.Generator) -> float:
    """Radians from U(-pi, pi)."""
    return rng.uniform(-math.pi, math.pi)


def draw_axis(rng: np.random.Generator) -> int | None:
    """X or y, each with probability 1/3, or none (ScaLR: one of the two is flipped with probability 2/3)."""
    return int(rng.integers(2)) if rng.random() < FLIP_PROBABILITY else None


def draw_factor(rng: np.random.Generator, amount: float = 0.1) -> float:
    """A factor from U(1 - amount, 1 + amount)."""
    return rng.uniform(1 - amount, 1 + amount)


def rotate_z(points: NDArray[Real], rng: np.random.Generator) -> NDArray[Real]:
    """``rotate`` by a drawn angle."""
    return rotate(points, draw_angle(rng))


def flip_xy(points: NDArray[Real], rng: np.random.Generator) -> NDArray[Real]:
    """``flip`` along a drawn axis."""
    return flip(points, draw_axis(rng))


def scale(points: NDArray[Real], rng: np.random.Generator, amount: float = 0.1) -> NDArray[Real]:
    """``rescale`` by a drawn factor."""
    return rescale(points, draw_factor(rng, amount))


@dataclass(frozen=True)
class SegmentAugmentation:
    """Augmentation of one cloud for learning a segmentation head, by the rules of WaffleIron and ScaLR.

    Coordinates are rotated and flipped; the x, y, z *features* are rotated by another angle, and all lengths among the
    features scaled by one factor, so that the network cannot rely on features and coordinates agreeing. Coordinates
    and features are done apart, so that features are computed only for the points that are used.
    """

    angle: float
    angle_of_features: float
    axis: int | None
    factor: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> SegmentAugmentation:
        """Draw one of each."""
        return cls(draw_angle(rng), draw_angle(rng), draw_axis(rng), draw_factor(rng))

    def coords(self, points: NDArray[Real]) -> NDArray[Real]:
        """(N, 3) rotated and flipped."""
        return flip(rotate(points, self.angle), self.axis)

    def features(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """``point_features`` (N, 5) with lengths rotated and scaled."""
        changed = features.copy()
        changed[:, 1:4] = rotate(features[:, 1:4], self.angle_of_features)
        changed[:, GEOMETRY] *= self.factor
        return changed


def limit_points(points: NDArray[np.floating[Any]], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of at most ``limit`` points: all of them, or those nearest to a random point, nearest first."""
    if len(points) <= limit:
        return np.arange(len(points))
    return nearest_rows(points, int(rng.integers(len(points))), limit)


def nearest_rows(points: NDArray[np.floating[Any]], center: int, limit: int) -> NDArray[np.int64]:
    """Rows of the ``limit`` points nearest to the point at row ``center`` (itself included), nearest first.

    Equally distant points come in row order.
    """
    x, y, z = (points - points[center]).T
    distance = x * x + y * y + z * z
    return distance_order(distance)[:limit]
