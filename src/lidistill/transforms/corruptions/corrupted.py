"""``Corrupted``: a data set whose scans are corrupted when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from lidistill.datasets.source import Source, take_split
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import Taxonomy
from lidistill.transforms.corruptions.registry import check, corrupt


@dataclass(frozen=True)
class Corrupted:
    """``source`` under one corruption in one severity.

    What chance does to a frame depends on ``seed`` and on the frame's token alone: neither on the order of reading nor
    on the process that reads. Severities share their chance, so that they differ in severity only.
    """

    source: Source
    corruption: str
    severity: int
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.corruption, self.severity)

    @property
    def spec(self) -> str:
        """How the source was asked for."""
        return self.source.spec

    @property
    def name(self) -> str:
        """Name of the source and of what was done to it: ``nuscenes/fog/3``."""
        return f"{self.source.name}/{self.corruption}/{self.severity}"

    @property
    def sensor(self) -> Sensor:
        """Lidar of the source."""
        return self.source.sensor

    @property
    def taxonomy(self) -> Taxonomy | None:
        """Classes of the source."""
        return self.source.taxonomy

    @property
    def splits(self) -> Mapping[str, tuple[int, ...]]:
        """Splits of the source."""
        return self.source.splits

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        frame = self.source[index]
        classes = None if self.taxonomy is None else self.taxonomy.classes
        return corrupt(frame, self.corruption, self.severity, _generator(self.seed, frame.token), classes)


def _generator(seed: int, token: str) -> np.random.Generator:
    digest = sha256(token.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
