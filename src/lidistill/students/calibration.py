"""Self-calibrated convolutions over voxels: from features of points to those of pictures (UDAKD, ICRA 2025).

The layer is that of SCNet (Liu et al., CVPR 2020), lifted from pixels to the occupied voxels of a scan. It stands
between any student's features and its head, with voxels of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lidistill.students.batch import Cloud, PointBatch, Tokenizer
from lidistill.students.config import Box
from lidistill.students.kernel_maps import submanifold
from lidistill.students.planes import Plane, pack_cells
from lidistill.students.sparse import KernelMap, SparseConv
from lidistill.students.voxels import distinct, join_maps

KERNEL = 3
REDUCTION = 4
"""Voxels of the coarse resolution are so many times larger (SCNet's r)."""
LEVELS = ("fine", "coarse")


@dataclass(frozen=True)
class CalibratedTokenizer:
    """The tokenizer of a student, and beside what it prepares the voxels that are convolved after it.

    ``voxel``: their edge in metres; ``fov`` of the student.
    """

    student: Tokenizer
    voxel: float
    fov: Box

    def inside(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) bool: which of the (N, 3) points the student sees."""
        return self.student.inside(points)

    def __call__(self, coords: NDArray[np.float32], features: NDArray[np.float32]) -> Cloud:
        """What the student wants, and: ``point_voxels`` (N,) and ``voxel_parents`` (V,), the voxel of every point and
        the coarse voxel of every voxel; ``same_fine`` and ``same_coarse``, maps of 3 x 3 x 3 convolutions, with
        ``same_counts_fine`` and ``same_counts_coarse``.
        """
        low = np.array(self.fov)[:, 0]
        voxels, cells = distinct(np.maximum(np.floor((coords - low) / self.voxel), 0).astype(np.int64))
        parents, coarse = distinct(cells // REDUCTION)
        found: dict[str, NDArray[Any]] = {"point_voxels": voxels, "voxel_parents": parents}
        for level, places in zip(LEVELS, (cells, coarse), strict=True):
            found[f"same_{level}"], found[f"same_counts_{level}"] = submanifold(places, KERNEL)
        return {**self.student(coords, features), **found}

    def collate(self, clouds: Sequence[Cloud]) -> PointBatch:
        """Pack tokenised clouds.

        Adds to what the student wants the maps of all clouds together as ``same_LEVEL`` and ``same_counts_LEVEL``, and
        the arrays of ``planes.pack_cells`` from points to voxels (``..._fine``) and on to coarse ones (``..._coarse``).
        """
        batch = self.student.collate(clouds)
        prepared: dict[str, NDArray[Any]] = {}
        for level, owners in zip(LEVELS, ("point_voxels", "voxel_parents"), strict=True):
            own = [cloud[owners].astype(np.int64) for cloud in clouds]
            sizes = np.array([owner.max(initial=-1) + 1 for owner in own])
            before = sizes.cumsum() - sizes
            prepared |= join_maps(clouds, "same", level, np.stack([before, before], axis=1))
            shifted = [owner + shift for owner, shift in zip(own, before, strict=True)]
            packed = pack_cells(np.concatenate(shifted), int(sizes.sum()))
            prepared |= {f"{name}_{level}": array for name, array in packed.items()}
        tensors = {name: torch.from_numpy(array) for name, array in prepared.items()}
        return PointBatch(batch.coords, batch.features, batch.offsets, {**batch.prepared, **tensors})


class Calibration(nn.Module):
    """``layers`` self-calibrated convolutions over the mean features of voxels, added to the features of the points."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfCalibrated(width) for _ in range(layers))

    def forward(self, features: Tensor, batch: PointBatch) -> Tensor:
        """(M, F) -> (M, F); ``batch`` was packed by a ``CalibratedTokenizer``."""
        grid = Grid.of(batch.prepared, features.dtype)
        voxels = grid.points.flatten(features)[0, :, 0].T
        for layer in self.layers:
            voxels = layer(voxels, grid)
        return features + grid.points.inflate(voxels.T[None, :, None]).to(features.dtype)


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels of a batch: ``points`` belong to fine ones, ``voxels`` to coarse ones; who meets whom on either level."""

    points: Plane
    voxels: Plane
    fine: KernelMap
    coarse: KernelMap

    @classmethod
    def of(cls, prepared: Mapping[str, Tensor], dtype: torch.dtype) -> Grid:
        """From what the tokenizer prepared; ``dtype`` of the features."""
        points, voxels = (Plane.of(prepared, level, dtype) for level in LEVELS)
        maps = []
        for level, owner in zip(LEVELS, (points, voxels), strict=True):
            counts = prepared[f"same_counts_{level}"].tolist()
            maps.append(KernelMap.submanifold(prepared[f"same_{level}"], counts, owner.starts.numel(), KERNEL))
        return cls(points, voxels, *maps)


class SelfCalibrated(nn.Module):
    """Half of the channels are convolved as they are; the other half through a gate that a wider surrounding opens.

        y1 = conv4(sigmoid(x1 + up(conv2(pool(x1)))) * conv3(x1)),  y2 = conv1(x2)

    and the result is x + relu(y1, y2), so that features keep their signs. Every convolution has 3 x 3 x 3 positions and
    a batch norm.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.calibrated = (width + 1) // 2
        sizes = self.calibrated, self.calibrated, self.calibrated, width - self.calibrated
        self.surrounding, self.gated, self.last, self.plain = (Convolution(size) for size in sizes)

    def forward(self, voxels: Tensor, grid: Grid) -> Tensor:
        """(V, C) -> (V, C)."""
        gated, plain = voxels[:, : self.calibrated], voxels[:, self.calibrated :]
        pooled = grid.voxels.flatten(gated)[0, :, 0].T
        wide = self.surrounding(pooled, grid.coarse)
        gate = torch.sigmoid(gated + grid.voxels.inflate(wide.T[None, :, None]))
        found = self.last(gate * self.gated(gated, grid.fine), grid.fine)
        return voxels + functional.relu(torch.cat([found, self.plain(plain, grid.fine)], dim=1))


class Convolution(nn.Module):
    """3 x 3 x 3 positions, as many channels out as in, and a batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SparseConv(channels, channels, KERNEL)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, voxels: Tensor, where: KernelMap) -> Tensor:
        """(V, C) -> (V, C)."""
        convolved: Tensor = self.conv(voxels, where)
        norm = self.norm
        # one row has no variance: a small cloud may lie in one coarse voxel. A synchronised norm has other processes'
        if len(convolved) == 1 and not isinstance(norm, nn.SyncBatchNorm):
            return functional.batch_norm(convolved, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return cast(Tensor, norm(convolved))
