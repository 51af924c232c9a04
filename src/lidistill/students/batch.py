"""``PointBatch``: several clouds packed one after the other, never padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.students.packing import Packing

Cloud = Mapping[str, NDArray[np.generic]]
"""One tokenised cloud, numpy: ``coords`` (N, 3), ``features`` (N, C) and what the tokenizer prepared."""


@dataclass(frozen=True, eq=False)
class PointBatch:
    """B clouds, M points in all.

    ``coords`` (M, 3) float32, metres; ``features`` (M, C) float32; ``offsets`` (B + 1,) int64: cloud b owns the
    rows ``offsets[b]:offsets[b + 1]``; ``prepared``: what the student's tokenizer computed in the loader's workers.
    """

    coords: Tensor
    features: Tensor
    offsets: Tensor
    prepared: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def clouds(self) -> int:
        """Number of clouds B."""
        return len(self.offsets) - 1

    @cached_property
    def packing(self) -> Packing:
        """To which cloud every row belongs."""
        return Packing(self.offsets, len(self))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PointBatch:
        """Copy to ``device``."""

        def move(t: Tensor) -> Tensor:
            return t.to(device, non_blocking=non_blocking)

        prepared = {name: move(t) for name, t in self.prepared.items()}
        return PointBatch(move(self.coords), move(self.features), move(self.offsets), prepared)

    def pin_memory(self) -> PointBatch:
        """Copy to page-locked memory (called by torch's loader)."""
        prepared = {name: t.pin_memory() for name, t in self.prepared.items()}
        return PointBatch(self.coords.pin_memory(), self.features.pin_memory(), self.offsets.pin_memory(), prepared)


class Tokenizer(Protocol):
    """What a student wants prepared for each cloud; picklable, numpy only, runs in the loader's workers."""

    def inside(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) bool: which of the (N, 3) points lie in the part of space that the student sees."""

    def __call__(self, coords: NDArray[np.float32], features: NDArray[np.float32]) -> Cloud:
        """Prepare one cloud; all points must be ``inside``."""

    def collate(self, clouds: Sequence[Cloud]) -> PointBatch:
        """Pack tokenised clouds."""
