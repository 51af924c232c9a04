"""Sources whose labels nobody reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from lidistill.datasets.source import Source
from lidistill.sensing.frame import Frame, Sensor

S = TypeVar("S", bound=Source)


def without_labels(source: S) -> S:
    """``source`` as if it had been opened without a class list: its reader then opens no label file.

    One that is no dataclass with a ``taxonomy`` is returned as it is.
    """
    if not is_dataclass(source):
        return source
    known: Any = source
    names = {field.name for field in fields(source)}
    if "taxonomy" in names:
        known = replace(known, taxonomy=None)
    elif "source" in names:  # a split, or another view of one
        known = replace(known, source=without_labels(known.source))
    return cast(S, known)


@dataclass(frozen=True)
class Unlabelled:
    """The frames of a source without their labels, and without a class list: all that adaptation may see of a target.

    What learns from a target asks for this type, so that no label can slip in, whatever the data set has.
    """

    source: Source

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", without_labels(self.source))

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
