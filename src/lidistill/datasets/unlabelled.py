"""``Unlabelled``: a source whose labels nobody can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lidistill.datasets.source import Source
from lidistill.sensing.frame import Frame, Sensor


@dataclass(frozen=True)
class Unlabelled:
    """The frames of a source without their labels, and without a class list: all that adaptation may see of a target.

    What learns from a target asks for this type, so that no label can slip in, whatever the data set has.
    """

    source: Source

    @property
    def spec(self) -> str:
        """How the source was asked for."""
        return self.source.spec

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def sensor(self) -> Sensor:
        """Lidar of the source."""
        return self.source.sensor

    @property
    def taxonomy(self) -> None:
        """None."""
        return None

    @property
    def splits(self) -> Mapping[str, tuple[int, ...]]:
        """Frame numbers by name of the split."""
        return self.source.splits

    def split(self, name: str) -> Unlabelled:
        """The frames of one split."""
        return Unlabelled(self.source.split(name))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        return replace(self.source[index], labels=None)
