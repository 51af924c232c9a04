"""``Concat``: several data sets one after the other, without re-weighting (as ScaLR merges its data sets)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from lidistill.datasets.source import Source, take_split
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import Taxonomy


class Concat:
    """All frames of the first source, then those of the second, ...

    ``taxonomy`` is the class list that the labelled sources share. When they do not share one, the mixture has no
    labels (``taxonomy`` and the frames' ``labels`` are None): it can be distilled on, which needs none. ``sensor`` is
    the first source's; every frame carries its own.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise InputError("no data: name at least one source")
        self.sources = tuple(sources)
        self.ends = tuple(accumulate(map(len, self.sources)))
        labelled = [source.taxonomy for source in self.sources if source.taxonomy is not None]
        self.mixed = len({taxonomy.classes for taxonomy in labelled}) > 1
        self.taxonomy: Taxonomy | None = labelled[0] if labelled and not self.mixed else None
        self.splits: dict[str, tuple[int, ...]] = {}
        for source, end in zip(self.sources, self.ends, strict=True):
            start = end - len(source)
            for split, frames in source.splits.items():
                self.splits[split] = self.splits.get(split, ()) + tuple(start + frame for frame in frames)

    @property
    def spec(self) -> str:
        """The sources' specs, joined."""
        return " + ".join(source.spec for source in self.sources)

    @property
    def name(self) -> str:
        """The sources' names, joined."""
        return " + ".join(source.name for source in self.sources)

    @property
    def sensor(self) -> Sensor:
        """Lidar of the first source."""
        return self.sources[0].sensor

    def split(self, name: str) -> Source:
        """The frames that the sources have in that split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Frame:
        number = range(len(self))[index]  # negative numbers count from the end, others raise IndexError
        which = bisect_right(self.ends, number)
        source = self.sources[which]
        frame = source[number - self.ends[which] + len(source)]
        return replace(frame, labels=None) if self.mixed else frame


def parts(source: Source) -> tuple[Source, ...]:
    """The data sets that ``source`` is made of: itself, unless it is a ``Concat``."""
    return source.sources if isinstance(source, Concat) else (source,)


def part_names(source: Source) -> tuple[str, ...]:
    """A name for each of its ``parts``, all different: the data set's name, or its spec where two share a name."""
    found = [part.name for part in parts(source)]
    return tuple(name if found.count(name) == 1 else part.spec for name, part in zip(found, parts(source), strict=True))
