"""A second sweep of the same drive, and the segments that it has in common with the first (Seal)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.datasets.concat import parts
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame
from lidistill.sensing.rigid import invert, transform
from lidistill.students.batch import Cloud, Tokenizer
from lidistill.training.recipe import DistilRecipe
from lidistill.transforms.augment import flip_xy, rotate_z, scale
from lidistill.transforms.clusters import clusters, hdbscan
from lidistill.transforms.features import point_features
from lidistill.transforms.order import distance_order
from lidistill.transforms.voxels import voxel_sample

FARTHEST = 20.0
"""Metres between two sweeps that show the same things."""


@dataclass(frozen=True)
class Sweep:
    """``cloud``: the second sweep, M points. ``here`` (N,) and ``there`` (M,) int64 are the segments of the points of
    the first and of the second, numbered alike; -1 = none. ``count``: all are below it.
    """

    cloud: Cloud
    here: Tensor
    there: Tensor
    count: int


def neighbour(source: Source, index: int, frame: Frame, within: range) -> Frame | None:
    """The frame after ``index`` in ``source``, or the one before, if it is of the same drive and near; else None.

    ``within``: the frames of the same data set, for drives of two may have one name. Raises ``InputError`` when
    ``frame``, the one at ``index``, has no pose.
    """
    if frame.pose is None:
        raise _no_pose(frame)
    for other in (index + 1, index - 1):
        if other not in within:
            continue
        try:
            found = source[other]
        except InputError:
            continue  # reported when its own turn comes
        if found.pose is None or found.pose.drive != frame.pose.drive:
            continue
        if np.linalg.norm(found.pose.to_world[:3, 3] - frame.pose.to_world[:3, 3]) <= FARTHEST:
            return found
    return None


def need_sweeps(source: Source) -> None:
    """Raise ``InputError`` now for what would make every sample of ``source`` useless: no poses, no scikit-learn."""
    hdbscan()
    for part in parts(source):
        if (frame := part[0]).pose is None:
            raise _no_pose(frame)


def _no_pose(frame: Frame) -> InputError:
    return InputError(
        f"{frame.token}: has no pose, and consistency in time needs one; add poses (of a rig folder: poses.csv) "
        "or choose another objective"
    )


def second_sweep(
    first: Frame,
    kept: NDArray[np.int64],
    second: Frame,
    recipe: DistilRecipe,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
) -> Sweep:
    """Points of ``second`` around those of ``first`` at the rows ``kept``, and the segments of both together.

    Segments are found before anything is augmented, in the frame of the first sweep; the second is augmented by
    itself. What moves leaves two shadows, which are one segment only where they touch, as in the paper.
    """
    assert first.pose is not None
    assert second.pose is not None
    moved = transform(second.points, invert(first.pose.to_world) @ second.pose.to_world)
    rows = voxel_sample(second.points, recipe.voxel, rng.permutation(len(second)))
    coords = scale(flip_xy(rotate_z(second.points[rows], rng), rng), rng)
    inside = np.flatnonzero(tokenizer.inside(coords))
    middle = np.median(first.points[kept], axis=0)
    chosen = inside[_nearest(moved[rows[inside]], middle, recipe.points)]
    rows, coords = rows[chosen], coords[chosen]
    segments = torch.from_numpy(clusters(np.concatenate([first.points[kept], moved[rows]])))
    cloud = tokenizer(coords, point_features(coords, second.intensity[rows], second.sensor))
    here, there = segments[: len(kept)], segments[len(kept) :]
    return Sweep(cloud, here, there, int(segments.max()) + 1 if len(segments) else 0)


def _nearest(points: NDArray[np.float32], place: NDArray[Any], limit: int) -> NDArray[np.int64]:
    """Rows of at most ``limit`` points, nearest to ``place`` (3,) first."""
    x, y, z = (points - place.astype(points.dtype)).T
    return distance_order(x * x + y * y + z * z)[:limit]
