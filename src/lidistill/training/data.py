"""Sources as a training run sees them: one split of one or several data sets, with known intensity statistics."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lidistill.datasets.concat import Concat
from lidistill.datasets.source import Source, open_source
from lidistill.datasets.statistics import intensity_statistics
from lidistill.datasets.unlabelled import without_labels
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import Taxonomy

log = logging.getLogger("lidistill")


@dataclass(frozen=True)
class Standardised:
    """A source whose frames carry the sensor record ``sensor`` (one with intensity statistics)."""

    source: Source
    sensor: Sensor

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def spec(self) -> str:
        """How the source was asked for."""
        return self.source.spec

    @property
    def taxonomy(self) -> Taxonomy | None:
        """Classes of the labels."""
        return self.source.taxonomy

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """Names of the splits and their frames."""
        return dict(self.source.splits)

    def split(self, name: str) -> Standardised:
        """The frames of one split."""
        return replace(self, source=self.source.split(name))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        return replace(self.source[index], sensor=self.sensor)


def open_split(
    spec: str, split: str | None, sensors: Sequence[Sensor] = (), classes: str | None = None
) -> Standardised:
    """Open ``spec`` and take one of its splits (None = all frames).

    Intensity statistics come, in this order, from ``sensors`` (those a network was trained on; same name), from
    the source's own sensor record, or from measuring scans of the source.
    """
    source = open_source(spec, classes)
    known = next((s for s in sensors if s.name == source.sensor.name and s.intensity), None)
    if known:
        sensor = known
    elif source.sensor.intensity:
        sensor = source.sensor
    else:
        sensor = replace(source.sensor, intensity=intensity_statistics(source))
    if split is not None:
        source = source.split(split)
    if not len(source):
        raise InputError(f"{spec}: split {split!r} has no frame")
    return Standardised(source, sensor)


def open_mixture(specs: Sequence[str], split: str) -> Source:
    """Several sources one after the other (ScaLR: plain concatenation, no re-weighting), without their labels.

    Of a source that has other splits alone (a part of a data set, Robo3D) all frames are taken, which is said.
    """
    if not specs:
        raise InputError("no data: name at least one source, for example a rig folder")
    sources = [without_labels(_split_or_all(spec, split)) for spec in specs]
    return sources[0] if len(sources) == 1 else Concat(sources)


def _split_or_all(spec: str, split: str) -> Standardised:
    found = open_source(spec).splits
    if split not in found:
        there = ", ".join(name for name in found if "-" not in name) or "none"
        log.warning("%s: no split %r (there is %s): all its frames are used", spec, split, there)
    return open_split(spec, split if split in found else None)


def with_split(specs: Sequence[str], split: str, sensors: Sequence[Sensor] = ()) -> Source | None:
    """That split of the sources that have it; None when none has."""
    having = [spec for spec in specs if open_source(spec).splits.get(split)]
    sources = [open_split(spec, split, sensors) for spec in having]
    if len(sources) < 2:
        return sources[0] if sources else None
    return Concat(sources)


def sensors_of(specs: Sequence[str]) -> tuple[Sensor, ...]:
    """The sensor records of the sources, intensity statistics measured where they are not known."""
    found: dict[str, Sensor] = {}
    for spec in specs:
        sensor = open_split(spec, None).sensor
        found.setdefault(sensor.name, sensor)
    return tuple(found.values())
