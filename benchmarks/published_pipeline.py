"""The published loader, for comparison: the steps of WaffleIron and ScaLR in their order and with their means.

Written from the description of the public code: voxels by unique rows of integers, a full sort of distances, pictures
in float64 before they are shrunk from their full size, scipy's KD-tree as it comes, labels through a vectorised python
function. Calibrations and tables are given ready-made, although the published loaders read them for every sample.
Nothing in the package uses this module; ``loader.py`` times it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

from lidistill.students.tokenizer import PlaneTokenizer

Array = NDArray[Any]

VOXEL = 0.1
LIMIT = 20_000
IMAGE_SIZE = (224, 448)
PLANES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, eq=False)
class Picture:
    """An image file, its ``intrinsics`` (3, 3) and lidar -> camera (4, 4)."""

    path: Path
    intrinsics: Array
    from_lidar: Array


@dataclass(frozen=True, eq=False)
class Recording:
    """The files of one frame; ``train_ids``: raw label -> class; ``intensity``: mean and deviation."""

    scan: Path
    columns: int
    labels: Path
    label_type: str
    train_ids: Mapping[int, int]
    intensity: tuple[float, float]
    pictures: tuple[Picture, ...]


def read_scan(recording: Recording) -> tuple[Array, Array]:
    """(N, 3) float32 points and (N,) intensity."""
    cloud = np.fromfile(recording.scan, np.float32).reshape(-1, recording.columns)
    return cloud[:, :3], cloud[:, 3]


def read_labels(recording: Recording) -> Array:
    """(N,) classes: every raw label through a python dictionary."""
    raw = np.fromfile(recording.labels, recording.label_type)
    if recording.label_type == "uint32":
        raw = raw & 0xFFFF
    classes: Array = np.vectorize(recording.train_ids.__getitem__)(raw)
    return classes


def voxel_rows(points: Array) -> Array:
    """Row of the first point of every voxel, in the order of the voxels."""
    cells = ((points - points.min(0, keepdims=True)) / VOXEL).astype("int")
    _, rows = np.unique(cells, axis=0, return_index=True)
    return rows


def nearest_rows(points: Array, center: int) -> Array:
    """The ``LIMIT`` rows nearest to one point, by sorting all distances."""
    order: Array = np.argsort(((points - points[center]) ** 2).sum(1))[:LIMIT]
    return order


def project(points: Array, picture: Picture, width: int, height: int) -> tuple[Array, Array]:
    """Rows of the points in the picture and their pixels (row, column), rounded down."""
    local = points @ picture.from_lidar[:3, :3].T + picture.from_lidar[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = local @ picture.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        u, v = pixels[:, 0], pixels[:, 1]
        rows = np.where((local[:, 2] > 1) & (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1))[0]
    return rows, np.floor(pixels[rows][:, ::-1]).astype(int)


def read_picture(path: Path) -> Tensor:
    """(3, h, w) float32: decoded, divided in float64, cast, and shrunk from the full size without filtering."""
    image = np.array(Image.open(path).convert("RGB")) / 255.0
    pixels = torch.tensor(image, dtype=torch.float32).permute(2, 0, 1).contiguous()
    return torch.nn.functional.interpolate(pixels[None], IMAGE_SIZE, mode="bilinear", align_corners=False)[0]


def rotated(points: Array, angle: float) -> Array:
    """Turn about z."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned = points.copy()
    turned[:, :2] = points[:, :2] @ np.array([[cos, sin], [-sin, cos]])
    return turned


def flipped(points: Array, rng: np.random.Generator) -> Array:
    """Negate x or y with probability 2/3."""
    turned = points.copy()
    if rng.random() < 2 / 3:
        turned[:, rng.integers(2)] *= -1
    return turned


def features_of(points: Array, intensity: Array, recording: Recording) -> Array:
    """(N, 5): standardised intensity, x, y, z, range."""
    mean, deviation = recording.intensity
    return np.concatenate(
        [((intensity - mean) / deviation)[:, None], points, np.linalg.norm(points, axis=1)[:, None]], axis=1
    )


def crop(points: Array, tokenizer: PlaneTokenizer) -> Array:
    """Rows inside the field of view."""
    low, high = np.array(tokenizer.fov).T
    return np.where(((points > low + 1e-4) & (points < high - 1e-4)).all(1))[0]


def cells_of(points: Array, tokenizer: PlaneTokenizer) -> Array:
    """(3, N) flat cell in every plane."""
    low, high = np.array(tokenizer.fov).T
    index = ((points - low) / ((high - low) / np.array(tokenizer.cells))).astype("int")
    return np.stack([index[:, a] * tokenizer.cells[b] + index[:, b] for a, b in PLANES])


def neighbors_of(points: Array, tokenizer: PlaneTokenizer) -> Array:
    """(K + 1, N): the nearest points, the point itself first."""
    _, found = cKDTree(points).query(points, k=tokenizer.neighbors + 1)
    return found.T


def distil_sample(
    recording: Recording, camera: int, tokenizer: PlaneTokenizer, rng: np.random.Generator, project_first: bool = False
) -> dict[str, Any]:
    """Reference facts 2.4: voxels, then projection, limit, augmentation, picture, crop, features.

    ``project_first`` exchanges the first two, as ours does: to tell what that order is worth from what the steps are.
    """
    points, intensity = read_scan(recording)
    picture = recording.pictures[camera]
    with Image.open(picture.path) as file:
        width, height = file.size
    rows, pixels = np.arange(len(points)), np.empty((len(points), 2), int)
    if project_first:
        rows, pixels = project(points, picture, width, height)
    order = rng.permutation(len(rows))
    kept = order[voxel_rows(points[rows][order])]
    rows, pixels = rows[kept], pixels[kept]
    if not project_first:
        seen, pixels = project(points[rows], picture, width, height)
        rows = rows[seen]
    points, intensity = points[rows], intensity[rows]
    if len(points) > LIMIT:
        near = nearest_rows(points, int(rng.integers(len(points))))
        points, intensity, pixels = points[near], intensity[near], pixels[near]
    points = flipped(rotated(points, rng.uniform(-np.pi, np.pi)), rng) * np.float32(rng.uniform(0.9, 1.1))
    image = read_picture(picture.path)
    pixels = np.floor(pixels * (np.array(IMAGE_SIZE) / (height, width))).astype(int)
    rows = crop(points, tokenizer)
    points = points[rows]
    features = features_of(points, intensity[rows], recording)
    return {
        "features": features.T,
        "cells": cells_of(points, tokenizer),
        "neighbors": neighbors_of(points, tokenizer),
        "pixels": pixels[rows],
        "image": image,
    }


def segment_sample(recording: Recording, tokenizer: PlaneTokenizer, rng: np.random.Generator) -> dict[str, Any]:
    """Reference facts 1.6, training: features, voxels, limit, augmentation, crop."""
    points, intensity = read_scan(recording)
    labels = read_labels(recording)
    features = features_of(points, intensity, recording)
    order = rng.permutation(len(points))
    kept = order[voxel_rows(points[order])]
    points, features, labels = points[kept], features[kept], labels[kept]
    if len(points) > LIMIT:
        near = nearest_rows(points, int(rng.integers(len(points))))
        points, features, labels = points[near], features[near], labels[near]
    points = rotated(points, rng.uniform(-np.pi, np.pi))
    features[:, 1:4] = rotated(features[:, 1:4], rng.uniform(-np.pi, np.pi))
    points = flipped(points, rng)
    features[:, 1:] *= rng.uniform(0.9, 1.1)
    rows = crop(points, tokenizer)
    points = points[rows]
    return {
        "features": features[rows].T,
        "cells": cells_of(points, tokenizer),
        "neighbors": neighbors_of(points, tokenizer),
        "labels": labels[rows],
    }


def full_sample(recording: Recording, tokenizer: PlaneTokenizer) -> dict[str, Any]:
    """Reference facts 1.6, validation: the whole scan, and for every recorded point the nearest kept one."""
    every, intensity = read_scan(recording)
    labels = read_labels(recording)
    features = features_of(every, intensity, recording)
    rows = voxel_rows(every)
    rows = rows[crop(every[rows], tokenizer)]
    points = every[rows]
    return {
        "features": features[rows].T,
        "cells": cells_of(points, tokenizer),
        "neighbors": neighbors_of(points, tokenizer),
        "labels": labels,
        "upsample": cKDTree(points).query(every, k=1)[1],
    }


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Clouds padded to the longest (reference facts 1.5), everything as tensors."""
    longest = max(sample["features"].shape[1] for sample in samples)
    shapes = {"features": 0, "cells": 0, "neighbors": longest - 1}
    batch: dict[str, list[Tensor]] = {}
    for sample in samples:
        for key, value in sample.items():
            array = np.asarray(value)
            if key in shapes:
                padding = ((0, 0), (0, longest - array.shape[1]))
                array = np.pad(array, padding, constant_values=shapes[key])
            batch.setdefault(key, []).append(torch.from_numpy(np.ascontiguousarray(array)))
    return {key: torch.stack(v) if key in (*shapes, "image") else torch.cat(v) for key, v in batch.items()}
