"""``Source``: a data set as a row of Frames, opened by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import Taxonomy

GROUP = "lidistill.datasets"
"""Entry points: data set name -> function (path, classes) -> Source."""


class Source(Protocol):
    """A data set: frames by number, read when asked for; cheap to pickle, for it is sent to loader workers.

    ``spec`` is how it was asked for, ``name`` what tables call it, ``sensor`` its lidar (frames carry their own
    record, in a mixture they differ), ``taxonomy`` the classes of its labels, ``splits`` frame numbers by split name
    (``train``, ``val``, maybe ``test``). Reading a damaged frame raises ``InputError`` naming the file.
    """

    @property
    def spec(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sensor(self) -> Sensor: ...  # noqa: D102
    @property
    def taxonomy(self) -> Taxonomy | None: ...  # noqa: D102
    @property
    def splits(self) -> Mapping[str, tuple[int, ...]]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Frame: ...
    def split(self, name: str, /) -> Source: ...  # noqa: D102


Opener = Callable[[Path, str | None], Source]


@dataclass(frozen=True)
class Split:
    """The frames of ``source`` that one of its splits names, in that order."""

    source: Source
    part: str
    frames: tuple[int, ...]

    @property
    def spec(self) -> str:
        """How the whole data set was asked for."""
        return self.source.spec

    @property
    def name(self) -> str:
        """Name of the whole data set."""
        return self.source.name

    @property
    def sensor(self) -> Sensor:
        """Lidar of the data set."""
        return self.source.sensor

    @property
    def taxonomy(self) -> Taxonomy | None:
        """Classes of the labels."""
        return self.source.taxonomy

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """Itself alone."""
        return {self.part: tuple(range(len(self.frames)))}

    def split(self, name: str) -> Source:
        """The split itself, by its own name."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.source[self.frames[index]]


def take_split(source: Source, name: str) -> Split:
    """The frames of one split; raises ``InputError`` naming the splits that there are."""
    splits = source.splits
    if name not in splits:
        there_are = ", ".join(f"{split} ({len(frames)} frames)" for split, frames in splits.items())
        raise InputError(f"{source.spec}: no split {name!r}; there are: {there_are or 'none'}")
    return Split(source, name, splits[name])


def open_source(spec: str, classes: str | None = None) -> Source:
    """Open ``name:/path`` (``semantic-kitti:/data/kitti``), or a plain path: a rig folder.

    ``classes`` names another class list (``kitti-10``) to map the raw labels to. No scan is read. Raises
    ``InputError`` for an unknown name, a path that is not there, and a folder of another layout.
    """
    match = re.fullmatch(r"([A-Za-z][\w-]+):(.+)", spec)  # two letters or more: C:\data is a path
    if match is None or Path(spec).exists():
        return _builtin()["rig"](Path(spec), classes)
    name, path = match.groups()
    opener = _builtin().get(name) or _plugin(name)
    return opener(Path(path).expanduser(), classes)


def folder(path: Path, expected: str) -> Path:
    """``path`` if it is a folder; else ``InputError`` saying what was ``expected`` there."""
    if path.is_dir():
        return path
    found = "is a file" if path.exists() else "does not exist"
    raise InputError(f"{path}: {found}, expected {expected}; check the path")


def _builtin() -> dict[str, Opener]:
    from lidistill.datasets.rig import open_rig
    from lidistill.datasets.semantic_kitti import open_semantic_kitti

    return {"rig": open_rig, "semantic-kitti": open_semantic_kitti}


def _plugin(name: str) -> Opener:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise InputError(f"unknown data set {name!r}{nearest(name, {*found, *_builtin()})}")
    try:
        opener: Opener = found[name].load()
    except Exception as error:  # whatever a third party's module raises
        raise InputError(f"data set {name!r}: its plug-in {found[name].value} cannot be loaded ({error})") from error
    return opener
