"""MinkUNet (Choy et al., CVPR 2019), the Res16UNet34C of SLidR, and SPVCNN (Tang et al., ECCV 2020), packed.

Voxels of five resolutions, residual blocks, skip connections; every point reads the features of its voxel, or of the
eight around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lidistill.students.batch import PointBatch
from lidistill.students.config import StudentConfig, VoxelConfig
from lidistill.students.norms import Norm, build_norm, rowwise
from lidistill.students.packing import Packing
from lidistill.students.planes import Plane
from lidistill.students.sparse import KernelMap, SparseConv
from lidistill.students.student import Student
from lidistill.students.voxels import KERNEL, LEVELS, VoxelTokenizer

STEM, PLANES = 32, (32, 64, 128, 256, 256, 128, 96, 96)
"""Channels after the stem and after each of the eight stages, for a width of 96 (SLidR)."""
BLOCKS = {18: (2, 2, 2, 2, 2, 2, 2, 2), 34: (2, 3, 4, 6, 2, 2, 2, 2)}
MOMENTUM = 0.05
"""Of batch norm, as in SLidR's pretraining."""
FUSED = (4, 2)
"""Levels at which the point branch of SPVCNN meets the voxels between its start and its end at level 0."""


class MinkUNet(Student):
    """``depth`` 18 or 34; ``width`` 96 is the published size, others scale all channels."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        points = config.kind == "spvcnn"
        voxels = config.voxels or VoxelConfig()
        self.voxels = voxels if voxels.interpolate is not None else voxels.model_copy(update={"interpolate": points})
        self.tokenizer = VoxelTokenizer(config.fov, self.voxels, (0, 2, 4) if points else (0,))
        stem, *planes = (max(round(size * config.width / PLANES[-1]), 1) for size in (STEM, *PLANES))
        self.embedding = Unit(config, config.in_channels, stem, KERNEL)
        skips = [stem, *planes[:3]]
        self.layers = nn.ModuleList()
        before = stem
        for number, (size, blocks) in enumerate(zip(planes, BLOCKS[config.depth], strict=True)):
            if number < LEVELS - 1:
                self.layers.append(Stage(config, before, before, before, size, blocks))
            else:
                self.layers.append(Stage(config, before, size, size + skips.pop(), size, blocks))
            before = size
        # numbered like the stages after which they meet the voxels: layer-wise learning rates go by number
        sizes = {3: (stem, planes[3]), 5: (planes[3], planes[5]), 7: (planes[5], planes[7])} if points else {}
        self.points = nn.ModuleDict(
            {
                str(number): Rowwise(nn.Linear(a, b), _norm(config, b), nn.ReLU(inplace=True))
                for number, (a, b) in sizes.items()
            }
        )

    def forward(self, batch: PointBatch) -> Tensor:
        """Features (M, width) of the M packed points, in their order."""
        pyramid = Pyramid.of(batch.prepared, bool(self.voxels.interpolate))
        mean, deviation = self.voxels.intensity
        intensity, rest = batch.features[:, :1], batch.features[:, 1 : self.config.in_channels]
        features = torch.cat([intensity * deviation + mean, rest], dim=1)
        voxels = self.embedding(pyramid.gather(features, 0), pyramid.levels[0].same, pyramid.levels[0].packing)
        tokens = pyramid.read(voxels, 0) if self.points else voxels
        if self.points:
            voxels = pyramid.gather(tokens, 0)
        skips = []
        for level in range(LEVELS - 1):
            skips.append(voxels)
            voxels = self.layers[level](voxels, pyramid.down[level], pyramid.levels[level + 1])
        for number, level in enumerate(reversed(range(LEVELS - 1)), LEVELS - 1):
            if self.points and level + 1 in FUSED:
                tokens = pyramid.read(voxels, level + 1) + self.points[str(number - 1)](tokens, batch.packing)
                voxels = pyramid.gather(tokens, level + 1)
            voxels = self.layers[number](voxels, pyramid.down[level].inverse(), pyramid.levels[level], skips.pop())
        found = pyramid.read(voxels, 0)
        return found + self.points["7"](tokens, batch.packing) if self.points else found


@dataclass(frozen=True, eq=False)
class Level:
    """The voxels of one resolution: ``same``, the map of convolutions among them; ``packing``, whose they are."""

    same: KernelMap
    packing: Packing


class Rowwise(nn.Sequential):
    """Layers that look at one row at a time, and norms that may have to know to which cloud it belongs."""

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:  # type: ignore[override]
        """(N, C) -> (N, C')."""
        for layer in self:
            rows = rowwise(layer, rows, packing)
        return rows


class Unit(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, config: StudentConfig, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = SparseConv(inputs, outputs, kernel)
        self.norm = _norm(config, outputs)

    def forward(self, voxels: Tensor, where: KernelMap, packing: Packing) -> Tensor:
        """(inputs of the map, C) -> (its outputs, C'); ``packing`` of the outputs."""
        return functional.relu(rowwise(self.norm, self.conv(voxels, where), packing), inplace=True)


class Stage(nn.Module):
    """To the next level, ``inputs`` to ``moved`` channels, then residual blocks from ``joined`` (with a skip) to
    ``outputs``.
    """

    def __init__(self, config: StudentConfig, inputs: int, moved: int, joined: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.move = Unit(config, inputs, moved, 2)
        sizes = [joined] + [outputs] * blocks
        self.blocks = nn.ModuleList(Block(config, a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, voxels: Tensor, move: KernelMap, level: Level, skip: Tensor | None = None) -> Tensor:
        """Voxels of one level to those of ``level``, the next one down or up."""
        voxels = self.move(voxels, move, level.packing)
        if skip is not None:
            voxels = torch.cat([voxels, skip.to(voxels.dtype)], dim=1)
        for block in self.blocks:
            voxels = block(voxels, level)
        return voxels


class Block(nn.Module):
    """Two convolutions and a shortcut, which is linear where the number of channels changes (ResNet's basic block)."""

    def __init__(self, config: StudentConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Unit(config, inputs, outputs, KERNEL)
        self.conv = SparseConv(outputs, outputs, KERNEL)
        self.norm = _norm(config, outputs)
        self.shortcut = Rowwise()
        if inputs != outputs:
            self.shortcut = Rowwise(nn.Linear(inputs, outputs, bias=False), _norm(config, outputs))

    def forward(self, voxels: Tensor, level: Level) -> Tensor:
        """(V, inputs) -> (V, outputs)."""
        branch = self.conv(self.first(voxels, level.same, level.packing), level.same)
        branch = rowwise(self.norm, branch, level.packing)
        return functional.relu(branch + self.shortcut(voxels, level.packing), inplace=True)


@dataclass(frozen=True, eq=False)
class Pyramid:
    """The voxels of a batch: ``levels`` of all resolutions, ``down[l]`` from level l to level l + 1."""

    prepared: Mapping[str, Tensor]
    levels: tuple[Level, ...]
    down: tuple[KernelMap, ...]
    interpolate: bool

    @classmethod
    def of(cls, prepared: Mapping[str, Tensor], interpolate: bool) -> Pyramid:
        """From what the tokenizer prepared; ``interpolate``: whether points read the eight voxels around them."""
        sizes = prepared["voxels"][:, -1].tolist()
        levels, down = [], []
        for level in range(LEVELS):
            pairs, counts = prepared[f"same_{level}"], prepared[f"same_counts_{level}"].tolist()
            same = KernelMap.submanifold(pairs, counts, sizes[level], KERNEL)
            levels.append(Level(same, Packing(prepared["voxels"][level], sizes[level])))
        for level in range(LEVELS - 1):
            pairs, counts = prepared[f"down_{level}"], prepared[f"down_counts_{level}"].tolist()
            down.append(KernelMap.strided(pairs, counts, sizes[level], sizes[level + 1]))
        return cls(prepared, tuple(levels), tuple(down), interpolate)

    def gather(self, points: Tensor, level: int) -> Tensor:
        """(M, C) -> (V, C): the mean of the points of every voxel."""
        return self._plane(points, level).flatten(points)[0, :, 0].T

    def read(self, voxels: Tensor, level: int) -> Tensor:
        """(V, C) -> (M, C): what every point finds in its voxel, or in the eight around it."""
        if not self.interpolate:
            return self._plane(voxels, level).inflate(voxels.T[None, :, None])
        corners, shares = (self.prepared[f"{name}_{level}"] for name in ("corners", "shares"))
        return functional.embedding_bag(corners, voxels, mode="sum", per_sample_weights=shares.to(voxels.dtype))

    def _plane(self, like: Tensor, level: int) -> Plane:
        """The voxels of a level as an image of one row."""
        return Plane.of(self.prepared, level, like.dtype)


def _norm(config: StudentConfig, size: int) -> Norm:
    return build_norm(config.norm, size, MOMENTUM)
