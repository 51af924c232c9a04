"""Augmentation of points: what is done to them, and drawing how much.

``rotate``, ``flip`` and ``rescale`` are exact; ``rotate_z``, ``flip_xy``, ``scale`` draw their argument. None changes
its input, all keep the precision of the points.
"""

from __future__ import annotations

import math
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


def rotate_z(points: NDArray[Real], rng: np.random.Generator) -> NDArray[Real]:
    """``rotate`` by an angle from U(-pi, pi)."""
    return rotate(points, rng.uniform(-math.pi, math.pi))


def flip_xy(points: NDArray[Real], rng: np.random.Generator) -> NDArray[Real]:
    """``flip`` x or y, each with probability 1/3 (ScaLR: one of the two with probability 2/3)."""
    axis = int(rng.integers(2)) if rng.random() < FLIP_PROBABILITY else None
    return flip(points, axis)


def scale(points: NDArray[Real], rng: np.random.Generator, amount: float = 0.1) -> NDArray[Real]:
    """``rescale`` by a factor from U(1 - amount, 1 + amount)."""
    return rescale(points, rng.uniform(1 - amount, 1 + amount))


def augment_segmentation(
    points: NDArray[Real], features: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[Real], NDArray[np.float32]]:
    """Augment a cloud for learning a segmentation head, by the rules of WaffleIron and ScaLR.

    ``points`` (N, 3) and their ``point_features`` (N, 5) -> the same shapes. Coordinates are rotated and flipped;
    the x, y, z *features* are rotated by another angle, and all lengths among the features scaled by one factor, so
    that the network cannot rely on features and coordinates agreeing.
    """
    points = rotate_z(points, rng)
    features = features.copy()
    features[:, 1:4] = rotate_z(features[:, 1:4], rng)
    points = flip_xy(points, rng)
    features[:, GEOMETRY] = scale(features[:, GEOMETRY], rng)
    return points, features


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
