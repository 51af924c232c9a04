"""Instances of rare classes, taken from another scan of the sensor and put into this one.

The instance-level half of PolarMix (Xiao et al., NeurIPS 2022): an instance is turned about the sensor, which keeps its
distance and so its density, the face that it shows and its intensities. Without instance ids, connected pieces of a
class are the instances. Unlike there, a copy is only put where there is room for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.frame import Frame
from lidistill.transforms.augment import rotate
from lidistill.transforms.polar_mix import joined

COPIES = 3
"""Turns of every instance (WaffleIron, ICCV 2023)."""
REACH = 0.5
"""Edge of the cells whose neighbourhood makes points one piece, metres."""
LEAST_POINTS = 10
"""A smaller piece is too little to be recognised."""
STEP = 0.3
"""What is at most this far above the lower end of an instance is the ground that it stands on, metres."""
AROUND = 1.0
"""The ground is looked for this far around an instance, whose own place may fall between two rings, metres."""


def paste(frame: Frame, other: Frame, classes: Sequence[int], rng: np.random.Generator) -> Frame:
    """``frame`` and copies of the instances that ``other`` has of ``classes`` (train ids), each at drawn azimuths.

    A copy that would stand in something is left out; what a copy would hide from the sensor stays. The points are those
    of ``frame`` and then those of the copies; pictures are left out when there is a copy. ``other`` has labels.
    """
    if other.labels is None:
        raise InputError(f"{other.token}: has no labels, so nothing can be pasted from it")
    copies: list[Frame] = []
    for label in classes:
        for rows in pieces(other.points, other.labels == label):
            instance = other.select(rows)
            for angle in rng.uniform(-math.pi, math.pi, COPIES):
                copy = replace(instance, points=rotate(instance.points, angle))
                if has_room(frame.points, copy.points) and all(_apart(copy.points, one.points) for one in copies):
                    copies.append(copy)
    return joined(frame, reduce(joined, copies)) if copies else frame


def has_room(scene: NDArray[np.float32], instance: NDArray[np.float32]) -> bool:
    """Whether the box around ``instance`` (M, 3) holds nothing of ``scene`` (N, 3) but ground, and there is ground."""
    low, high = instance.min(axis=0), instance.max(axis=0)
    x, y = scene[:, 0], scene[:, 1]
    near = (x > low[0] - AROUND) & (x < high[0] + AROUND) & (y > low[1] - AROUND) & (y < high[1] + AROUND)
    around = scene[near]
    under = around[((around[:, :2] >= low[:2]) & (around[:, :2] <= high[:2])).all(axis=1), 2]
    return bool((np.abs(around[:, 2] - low[2]) < STEP).any() and not (under > low[2] + STEP).any())


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether the boxes around two copies do not touch in the ground plane."""
    gap = np.maximum(one.min(axis=0) - other.max(axis=0), other.min(axis=0) - one.max(axis=0))
    return bool((gap[:2] > 0).any())


def pieces(points: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Rows of (N, 3) ``points`` of every connected piece of those that ``mask`` (N,) names, from ten points on.

    Two points are connected when they lie in the same or in touching square cells of the ground plane.
    """
    from scipy.sparse import csr_array  # half a second to import
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(mask)
    if len(rows) < LEAST_POINTS:
        return []
    place = np.floor(points[rows, :2] / REACH).astype(np.int64)
    place -= place.min(axis=0)
    keys, cell = np.unique(place[:, 0] * (place[:, 1].max() + 1) + place[:, 1], return_inverse=True)
    cells = np.stack(np.divmod(keys, place[:, 1].max() + 1), axis=1)
    touching = cKDTree(cells).query_pairs(1.5, output_type="ndarray")
    graph = csr_array((np.ones(len(touching), np.bool_), touching.T), shape=(len(cells), len(cells)))
    _, piece = connected_components(graph, directed=False)
    of_point = piece[cell]
    order = np.argsort(of_point, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(np.diff(of_point[order])) + 1)
    return [part for part in parts if len(part) >= LEAST_POINTS]
