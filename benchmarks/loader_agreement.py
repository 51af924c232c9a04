"""Do both pipelines make the same of the same input? Step by step, on real scans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import published_pipeline as published
from lidistill.sensing.frame import Frame
from lidistill.sensing.pairing import pair
from lidistill.students.tokenizer import PlaneTokenizer, nearest_neighbors
from lidistill.teachers.images import prepare
from lidistill.transforms.augment import nearest_rows, rotate_z
from lidistill.transforms.features import point_features
from lidistill.transforms.nearest import nearest_kept
from lidistill.transforms.voxels import voxel_sample
from published_pipeline import Recording


def disagreement(frame: Frame, recording: Recording, tokenizer: PlaneTokenizer, seed: int) -> dict[str, float]:
    """Per step the share of rows that differ, or the largest difference of a number; every step gets the same input.

    Both limit to points around the same one and keep the same representatives, drawn from ``seed``; visibility, which
    the published pipeline has not, is off. Neighbours are compared by distance: equally near ones may be exchanged.
    """
    rng = np.random.default_rng(seed)
    points, intensity = published.read_scan(recording)
    order = rng.permutation(len(points))
    kept = voxel_sample(frame.points, published.VOXEL, order)
    whole = voxel_sample(frame.points, published.VOXEL)
    around = rotate_z(points[kept], rng)
    center = int(rng.integers(len(kept)))
    near = nearest_rows(around, center, published.LIMIT)
    inside = np.flatnonzero(tokenizer.inside(around[near]))
    cloud = around[near[inside]]
    in_view = whole[tokenizer.inside(points[whole])]
    view = frame.views[int(rng.integers(len(frame.views)))]
    picture = recording.pictures[frame.views.index(view)]
    pairs = pair(frame, view, occlusion=False)
    rows, pixels = published.project(points, picture, view.width, view.height)
    image = prepare(view.image(), published.IMAGE_SIZE, antialias=False)
    features = point_features(points, intensity, frame.sensor)
    upsampled = nearest_kept(points, in_view), published.cKDTree(points[in_view]).query(points)[1]
    assert frame.labels is not None
    return {
        "points": _differ(frame.points, points),
        "labels": _differ(frame.labels, published.read_labels(recording)),
        "voxels, random representative": _differ(kept, order[published.voxel_rows(points[order])]),
        "voxels, first representative": _differ(whole, published.voxel_rows(points)),
        "nearest 20 000, as a set": _differ(np.sort(near), np.sort(published.nearest_rows(around, center))),
        "field of view": _differ(inside, published.crop(around[near], tokenizer)),
        "cells": _differ(tokenizer(cloud, cloud)["cells"], published.cells_of(cloud, tokenizer)),
        "neighbours, by distance": _farther(
            cloud, nearest_neighbors(cloud, tokenizer.neighbors), published.neighbors_of(cloud, tokenizer)[1:].T
        ),
        "nearest kept point, by distance": _farther(points, *(in_view[rows][:, None] for rows in upsampled)),
        "points in the picture": _differ(pairs.rows, rows),
        "pixels": _differ(np.floor(pairs.pixels[:, ::-1]).astype(int), pixels),
        "picture, largest difference": float((image - published.read_picture(picture.path)).abs().max()),
        "features, largest difference": float(
            np.abs(features - published.features_of(points, intensity, recording)).max()
        ),
    }


def _differ(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> float:
    """Share of the entries that differ; 1 when even the numbers of entries do."""
    return float((ours != theirs).mean()) if ours.shape == theirs.shape else 1.0


def _farther(points: NDArray[np.float32], ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    """Largest difference, metres, between the distances (N, K) from N points to their K nearest ones."""
    wide = points.astype(np.float64)
    first, second = (np.linalg.norm(wide[rows] - wide[:, None], axis=2) for rows in (ours, theirs))
    return float(np.abs(first - second).max())
