"""What a sparse convolutional student needs to know of a cloud: its voxels at every resolution and who meets whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill.students.batch import Cloud, PointBatch
from lidistill.students.config import Box, VoxelConfig
from lidistill.students.kernel_maps import Indices, coarser, corners, strided, submanifold
from lidistill.students.planes import pack_cells
from lidistill.transforms.order import stable_order

LEVELS = 5
"""Resolutions of a MinkUNet: voxels of 1, 2, 4, 8 and 16 times the edge."""
KERNEL = 3


@dataclass(frozen=True)
class VoxelTokenizer:
    """``fov``: lowest and highest x, y, z in metres; ``read``: levels at which points and voxels exchange features."""

    fov: Box
    voxels: VoxelConfig
    read: tuple[int, ...] = (0,)

    @property
    def period(self) -> int | None:
        """Voxels that close the circle; None where there is no circle, or it has a seam."""
        closed = self.voxels.shape == "cylindrical" and self.voxels.closed
        return round(360 / self.voxels.degrees) if closed else None

    def inside(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """(N,) bool: which of the (N, 3) points lie in the field of view; a NaN lies nowhere."""
        low, high = np.array(self.fov).T
        seen: NDArray[np.bool_] = ((points >= low) & (points < high)).all(axis=1)
        return seen

    def __call__(self, coords: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]) -> Cloud:
        """Prepare one cloud: ``coords`` (N, 3) in metres, ``features`` (N, C); N may be 0.

        Adds for every level l ``same_l`` (2, P) and ``same_counts_l``, the map of its 3 x 3 x 3 convolutions, and
        ``down_l``, ``down_counts_l``, that of the 2 x 2 x 2 convolution from l to l + 1 (``kernel_maps``); ``sizes``
        (LEVELS,), voxels of each level; for the levels in ``read`` ``cells_l`` (N,), the voxel of every point, and, to
        interpolate, ``corners_l`` (N, 8) and ``shares_l`` (N, 8). Raises ``ValueError`` for a point not ``inside``.
        """
        if not self.inside(coords).all():
            raise ValueError("every point must lie inside the field of view; select them with inside() first")
        places = self.places(coords)
        voxel, cells = distinct(np.floor(places).astype(np.int64))
        cloud: dict[str, NDArray[Any]] = {"coords": coords.astype(np.float32), "features": features.astype(np.float32)}
        period, sizes = self.period, []
        for level in range(LEVELS):
            sizes.append(len(cells))
            cloud[f"same_{level}"], cloud[f"same_counts_{level}"] = submanifold(cells, KERNEL, period)
            if level in self.read:
                cloud[f"cells_{level}"] = voxel
                if self.voxels.interpolate:
                    found = corners(cells, places / 2**level, period)
                    cloud[f"corners_{level}"], cloud[f"shares_{level}"] = found
            if level + 1 < LEVELS:
                cells, pairs, counts = strided(cells, 2, 2, period)
                cloud[f"down_{level}"], cloud[f"down_counts_{level}"] = pairs, counts
                parent = np.empty(sizes[-1], np.int64)
                parent[pairs[0]] = pairs[1]
                voxel = parent[voxel]
                period = None if period is None else coarser(period, 2)
        return cloud | {"sizes": np.array(sizes, np.int64)}

    def places(self, coords: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(N, 3) in voxels, none negative: along x, y, z, or along range, azimuth (from -180 degrees) and height."""
        x, y, z = coords.astype(np.float64).T
        low = np.array(self.fov)[:, 0]
        if self.voxels.shape == "cubic":
            places = (np.stack([x, y, z], axis=1) - low) / self.voxels.size
        else:
            # rounded first: -180 and 180 degrees are one direction
            azimuth = (np.degrees(np.arctan2(y, x)) + 180) % 360
            places = np.stack([np.hypot(x, y), azimuth, z - low[2]], axis=1)
            places /= (self.voxels.size, self.voxels.degrees, self.voxels.size)
        found: NDArray[np.float64] = np.maximum(places, 0)
        return found

    def collate(self, clouds: Sequence[Cloud]) -> PointBatch:
        """Pack tokenised clouds.

        ``prepared``: ``voxels`` (LEVELS, B + 1), the first voxel of every cloud at each level and at last how many
        there are; for every level the maps of all clouds together, as of one cloud; for the levels in ``read`` those of
        ``planes.pack_cells`` as ``cells_l``, ``order_l``, ``starts_l``, ``weights_l``, and ``corners_l``, ``shares_l``.
        """
        sizes = np.stack([cloud["sizes"] for cloud in clouds]).astype(np.int64)
        owned = np.concatenate([np.zeros((1, LEVELS), np.int64), sizes.cumsum(axis=0)])
        before = owned[:-1]
        points = np.array([len(cloud["coords"]) for cloud in clouds], np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), points.cumsum()])
        prepared: dict[str, NDArray[Any]] = {"voxels": owned.T.copy()}
        for level in range(LEVELS):
            prepared |= join_maps(clouds, "same", level, before[:, [level, level]])
            if level + 1 < LEVELS:
                prepared |= join_maps(clouds, "down", level, before[:, [level, level + 1]])
        for level in self.read:
            shift = np.repeat(before[:, level], points)
            cells = np.concatenate([cloud[f"cells_{level}"] for cloud in clouds]).astype(np.int64) + shift
            packed = pack_cells(cells, int(owned[-1, level]))
            prepared |= {f"{name}_{level}": array for name, array in packed.items()}
            if self.voxels.interpolate:
                around = np.concatenate([cloud[f"corners_{level}"] for cloud in clouds]).astype(np.int64)
                prepared[f"corners_{level}"] = around + shift[:, None]
                prepared[f"shares_{level}"] = np.concatenate([cloud[f"shares_{level}"] for cloud in clouds])
        coords, features = (torch.from_numpy(np.concatenate([c[k] for c in clouds])) for k in ("coords", "features"))
        return PointBatch(
            coords.float(),
            features.float(),
            torch.from_numpy(offsets),
            {name: torch.from_numpy(array) for name, array in prepared.items()},
        )


def distinct(cells: Indices) -> tuple[Indices, Indices]:
    """Cells (N, 3), not negative, each once: which of them every one is (N,), and the V of them (V, 3), sorted."""
    extent = cells.max(axis=0, initial=0) + 1
    key = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    order = stable_order(key)
    new = np.diff(key[order], prepend=-1) != 0
    voxel = np.empty(len(cells), np.int64)
    voxel[order] = new.cumsum() - 1
    return voxel, cells[order[new]]


def join_maps(clouds: Sequence[Cloud], name: str, level: int | str, before: Indices) -> dict[str, NDArray[Any]]:
    """The maps of all clouds as one, grouped by kernel position; ``before`` (B, 2): rows of inputs and outputs."""
    counts = np.stack([cloud[f"{name}_counts_{level}"] for cloud in clouds]).astype(np.int64)
    moved = [cloud[f"{name}_{level}"] + shift[:, None] for cloud, shift in zip(clouds, before, strict=True)]
    parts = [np.split(pairs, ends[:-1], axis=1) for pairs, ends in zip(moved, counts.cumsum(axis=1), strict=True)]
    joined = np.concatenate([part for position in zip(*parts, strict=True) for part in position], axis=1)
    return {f"{name}_{level}": joined, f"{name}_counts_{level}": counts.sum(axis=0)}
