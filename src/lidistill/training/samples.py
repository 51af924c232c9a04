"""Training and evaluation samples: Frame -> what a network eats, made in the loader's workers.

Every sample is a function of (frame, random generator), and the generator of (seed, epoch, index) alone: it
does not matter which worker makes it, in what order, or whether the run was interrupted in between.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidistill.datasets.concat import part_names, parts
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.objectives import OF_SWEEPS
from lidistill.segmenters.store import Superpixels
from lidistill.sensing.frame import Frame
from lidistill.students.batch import Cloud, PointBatch, Tokenizer
from lidistill.teachers.colors import ColorMatch
from lidistill.training.distil_samples import (
    DistilBatch,
    DistilSample,
    PairMemory,
    collate_distil,
    distil_sample,
    visible_to_student,
)
from lidistill.training.mixing import Mixing
from lidistill.training.recipe import AdaptRecipe, DistilRecipe, SegmentRecipe
from lidistill.training.sweeps import neighbour
from lidistill.transforms.augment import SegmentAugmentation
from lidistill.transforms.features import point_features
from lidistill.transforms.nearest import nearest_kept
from lidistill.transforms.voxels import voxel_sample


@dataclass(frozen=True)
class Skip:
    """A frame that could not be used, and why; ``token``: its data set's name and its number there, ``kitti[7]``."""

    token: str
    reason: str


@dataclass(frozen=True)
class SegmentSample:
    """One scan and its labels: ``labels`` (L,) uint8 of the labelled points, ``rows`` (L,) the cloud row of each."""

    cloud: Cloud
    labels: Tensor
    rows: Tensor
    token: str


def train_sample(
    frame: Frame, recipe: SegmentRecipe | AdaptRecipe, tokenizer: Tokenizer, rng: np.random.Generator
) -> SegmentSample:
    """Voxels with random representatives, at most ``recipe.points`` of them, augmented, with their labels."""
    labels = _labels(frame)
    kept = voxel_sample(frame.points, recipe.voxel, rng.permutation(len(frame)))
    points = frame.points.take(kept, axis=0)
    augmentation = SegmentAugmentation.draw(rng)
    coords = augmentation.coords(points)
    chosen = visible_to_student(coords, recipe.points, tokenizer, rng)
    if not len(chosen):
        raise InputError(f"{frame.token}: no point lies in the student's field of view; check the units and axes")
    kept = kept[chosen]
    features = point_features(points.take(chosen, axis=0), frame.intensity[kept], frame.sensor)
    cloud = tokenizer(coords.take(chosen, axis=0), augmentation.features(features))
    return SegmentSample(cloud, torch.from_numpy(labels[kept]), torch.arange(len(kept)), frame.token)


def full_sample(frame: Frame, voxel: float, tokenizer: Tokenizer) -> SegmentSample:
    """The whole scan without augmentation: ``rows`` names for every recorded point the nearest point of the cloud.

    ``labels`` are all 255 for a frame that has none.
    """
    kept = voxel_sample(frame.points, voxel) if len(frame) else np.zeros(0, np.int64)
    kept = kept[tokenizer.inside(frame.points[kept])]
    if not len(kept):
        raise InputError(f"{frame.token}: no point lies in the student's field of view; check the units and axes")
    points = frame.points.take(kept, axis=0)
    cloud = tokenizer(points, point_features(points, frame.intensity[kept], frame.sensor))
    labels = np.full(len(frame), 255, np.uint8) if frame.labels is None else frame.labels
    rows = torch.from_numpy(nearest_kept(frame.points, kept))
    return SegmentSample(cloud, torch.from_numpy(labels), rows, frame.token)


def _labels(frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if frame.labels is None:
        raise InputError(f"{frame.token}: has no labels; learning a segmentation head needs them")
    return frame.labels


# ---- data sets of samples


class Samples(Protocol):
    """Training samples of one or several data sets of ``sizes`` frames called ``names``, and what makes batches."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def collate(self) -> Callable[[Sequence[Any]], Collated[Any]]:
        """Samples, or what was skipped of them -> a batch."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: tuple[int, int], /) -> Any:
        """The sample of (pass over the data, index), or a ``Skip``."""


class TrainSamples(Dataset[DistilSample | SegmentSample | Skip]):
    """Training samples of ``source``, asked for as (pass over the data, index).

    ``colors``: how pictures are brought to each teacher's colours, by the spec of the data set; ``superpixels``: those
    of the pictures, where the recipe needs any.
    """

    def __init__(
        self,
        source: Source,
        recipe: DistilRecipe | SegmentRecipe,
        tokenizer: Tokenizer,
        colors: Mapping[str, Sequence[ColorMatch | None]] = MappingProxyType({}),
        superpixels: Superpixels | None = None,
    ) -> None:
        self.source, self.recipe, self.tokenizer = source, recipe, tokenizer
        self.collate = Collate(tokenizer)
        self.colors, self.superpixels = dict(colors), superpixels
        self.names, self.specs = part_names(source), tuple(part.spec for part in parts(source))
        self.sizes = tuple(len(part) for part in parts(source))
        self.ends = tuple(accumulate(self.sizes))
        self.pairs: list[PairMemory] = []  # one for each data set: their frames may have the same names
        if isinstance(recipe, DistilRecipe):
            share = recipe.teacher_memory / len(self.sizes)
            self.pairs = [PairMemory(recipe.occlusion, share) for _ in self.sizes]
        self.mixing = Mixing.of(recipe, source.taxonomy) if isinstance(recipe, SegmentRecipe) else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> DistilSample | SegmentSample | Skip:
        number, index = key
        rng = np.random.default_rng([self.recipe.seed, number, index])
        part = bisect_right(self.ends, index)
        try:
            frame = self.source[index]
            if isinstance(self.recipe, DistilRecipe):
                colors = self.colors.get(self.specs[part])
                second = None
                if self.recipe.objective in OF_SWEEPS:
                    own = range(self.ends[part] - self.sizes[part], self.ends[part])
                    second = neighbour(self.source, index, frame, own)
                said = self.recipe, self.tokenizer, rng, colors, self.superpixels, second, self.pairs[part]
                sample = distil_sample(frame, *said)
                return replace(sample, source=self.names[part])
            if self.mixing is not None:
                other = self._another(index, rng)
                frame = self.mixing(frame, lambda: self.source[other], rng)
            return train_sample(frame, self.recipe, self.tokenizer, rng)
        except InputError as error:
            return Skip(f"{self.names[part]}[{index - self.ends[part] + self.sizes[part]}]", str(error))

    def _another(self, index: int, rng: np.random.Generator) -> int:
        """A drawn frame of the same data set, another one if it has two."""
        part = bisect_right(self.ends, index)
        size, start = self.sizes[part], self.ends[part] - self.sizes[part]
        return start + (index - start + int(rng.integers(1, max(size, 2)))) % size


# ---- batches


@dataclass(frozen=True)
class SegmentBatch:
    """``labels`` (L,) and ``rows`` (L,) int64: label l belongs to packed point ``rows[l]``; ``sizes``: L per cloud."""

    points: PointBatch
    labels: Tensor
    rows: Tensor
    sizes: tuple[int, ...]
    tokens: tuple[str, ...]

    def to(self, device: torch.device) -> SegmentBatch:
        """Copy to ``device``."""
        labels, rows = (t.to(device, non_blocking=True) for t in (self.labels, self.rows))
        return replace(self, points=self.points.to(device, non_blocking=True), labels=labels, rows=rows)

    def pin_memory(self) -> SegmentBatch:
        """Copy to page-locked memory (called by torch's loader)."""
        return replace(
            self, points=self.points.pin_memory(), labels=self.labels.pin_memory(), rows=self.rows.pin_memory()
        )


class Batch(Protocol):
    """What a network is trained on in one iteration."""

    def to(self, device: torch.device, /) -> Self: ...  # noqa: D102
    def pin_memory(self) -> Self: ...  # noqa: D102


B = TypeVar("B", bound=Batch)


@dataclass(frozen=True)
class Collated(Generic[B]):
    """A batch of the usable samples (None when there was none) and the frames left out."""

    batch: B | None
    skipped: tuple[Skip, ...]

    def pin_memory(self) -> Collated[B]:
        """Copy to page-locked memory (called by torch's loader)."""
        return Collated(None if self.batch is None else self.batch.pin_memory(), self.skipped)


@dataclass(frozen=True)
class Collate:
    """Packs samples of either kind with the student's tokenizer."""

    tokenizer: Tokenizer

    def __call__(self, samples: Sequence[DistilSample | SegmentSample | Skip]) -> Collated[DistilBatch | SegmentBatch]:
        """Leave out the skipped ones and pack the rest."""
        skipped = tuple(s for s in samples if isinstance(s, Skip))
        distil = [s for s in samples if isinstance(s, DistilSample)]
        segment = [s for s in samples if isinstance(s, SegmentSample)]
        if distil:
            return Collated(collate_distil(distil, self.tokenizer), skipped)
        return Collated(self._segment(segment) if segment else None, skipped)

    def _segment(self, samples: Sequence[SegmentSample]) -> SegmentBatch:
        points = self.tokenizer.collate([s.cloud for s in samples])
        starts = points.offsets[:-1].tolist()
        rows = torch.cat([s.rows + start for s, start in zip(samples, starts, strict=True)])
        labels = torch.cat([s.labels for s in samples]).long()
        sizes = tuple(len(s.labels) for s in samples)
        return SegmentBatch(points, labels, rows, sizes, tuple(s.token for s in samples))
