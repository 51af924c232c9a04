"""``Source``: a data set as a row of Frames, opened by name."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

import numpy as np

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import Taxonomy

GROUP = "lidistill.datasets"
"""Entry points: data set name -> function (path, classes, *, option: str = ..., ...) -> Source."""

BUILTIN = {
    "rig": "rig:open_rig",
    "argoverse2": "argoverse2:open_argoverse2",
    "kitti-360": "kitti_360:open_kitti_360",
    "kitti-object": "kitti_object:open_kitti_object",
    "kitti-raw": "kitti_raw:open_kitti_raw",
    "nuscenes": "nuscenes:open_nuscenes",
    "nuscenes-c": "robo3d:open_nuscenes_c",
    "pandaset-64": "pandaset:open_pandar64",
    "pandaset-gt": "pandaset:open_pandar_gt",
    "semantic-kitti": "semantic_kitti:open_semantic_kitti",
    "semantic-kitti-c": "robo3d:open_semantic_kitti_c",
    "semantic-poss": "semantic_poss:open_semantic_poss",
    "synlidar": "synlidar:open_synlidar",
    "waymo": "waymo:open_waymo",
}
"""Data set name -> module in this room and the function that opens it."""


class Source(Protocol):
    """A data set: frames by number, read when asked for; cheap to pickle, for it is sent to loader workers.

    ``spec`` is how it was asked for, ``name`` what tables call it, ``sensor`` its lidar (frames carry their own
    record, in a mixture they differ), ``taxonomy`` the classes of its labels (without one no label is read), ``splits``
    frame numbers by split name (``train``, ``val``, maybe ``test``). Reading a damaged frame raises ``InputError``
    naming the file.
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


Opener = Callable[..., Source]
T = TypeVar("T")


def evenly(source: Sized, most: int) -> list[int]:
    """Numbers of up to ``most`` items of ``source``, evenly spread, first and last among them."""
    count = min(most, len(source))
    return sorted({int(place) for place in np.linspace(0, len(source) - 1, count)})


def usable(source: Source, most: int, act: Callable[[Frame], T]) -> Iterator[tuple[int, T]]:
    """Number of each of up to ``most`` evenly spread frames, and what ``act`` makes of it.

    Frames that cannot be read or used are left out; raises the ``InputError`` of the last one where that is all.
    """
    used, last = False, InputError(f"{source.spec}: has no scan")
    for index in evenly(source, most):
        try:
            found = act(source[index])
        except InputError as error:
            last = error
            continue
        used = True
        yield index, found
    if not used:
        raise last


def any_frame(source: Source, good: Callable[[Frame], bool]) -> bool:
    """Whether the first, the middle or the last frame is ``good``. A damaged one may be: others than us report it."""
    for index in {0, len(source) // 2, len(source) - 1}:
        try:
            if good(source[index]):
                return True
        except InputError:
            return True
    return False


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
    """Open ``name:/path?option=value&...`` (``semantic-kitti:/data/kitti``), or a plain path: a rig folder.

    ``classes`` names another class list (``kitti-10``) to map the raw labels to. The options are those of the data
    set (``nuscenes:/data/nuscenes?sweeps=10``). No scan is read. Raises ``InputError`` for an unknown name or option,
    a path that is not there, and a folder of another layout.
    """
    name, path, options = parse_spec(spec, "rig")
    opener = _opener(name)
    check_options(spec, name, opener, options)
    return opener(path, classes, **options)


def parse_spec(spec: str, plain: str) -> tuple[str, Path, dict[str, str]]:
    """(name, path, options) of ``name:/path?option=value&...``; a plain path has the name ``plain``."""
    match = re.fullmatch(r"([A-Za-z][\w-]+):([^?].*)", spec)  # two letters or more: C:\data is a path
    if match is None or os.path.exists(spec):
        return plain, Path(spec), {}
    name, rest = match.groups()
    path, query = _path_and_query(rest)
    # a plus sign is one: the rule of web forms, by which it is a blank, would spoil paths
    return name, path, dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))


def _path_and_query(text: str) -> tuple[Path, str]:
    """Cut at a question mark; one that is part of a path which is there cuts nothing."""
    marks = [place for place, letter in enumerate(text) if letter == "?"]
    for end in (len(text), *reversed(marks)):
        if os.path.exists(path := os.path.expanduser(text[:end])):
            return Path(path), text[end + 1 :]
    path, _, query = text.partition("?")
    return Path(path).expanduser(), query


def check_options(spec: str, name: str, opener: Callable[..., object], options: Mapping[str, str]) -> None:
    """Raise ``InputError`` for an option that ``opener`` has no keyword for."""
    known = [p.name for p in inspect.signature(opener).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            there_are = f"it knows {', '.join(known)}" if known else "it has none"
            raise InputError(f"{spec}: data set {name!r} has no option {option!r}{nearest(option, known)}; {there_are}")


def folder(path: Path, expected: str) -> Path:
    """``path`` if it is a folder; else ``InputError`` saying what was ``expected`` there."""
    if path.is_dir():
        return path
    found = "is a file" if path.exists() else "does not exist"
    raise InputError(f"{path}: {found}, expected {expected}; check the path")


def _opener(name: str) -> Opener:
    if name in BUILTIN:
        module, function = BUILTIN[name].split(":")
        opener: Opener = getattr(import_module(f"lidistill.datasets.{module}"), function)
        return opener
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise InputError(f"unknown data set {name!r}{nearest(name, {*found, *BUILTIN})}")
    try:
        opener = found[name].load()
    except Exception as error:  # whatever a third party's module raises
        raise InputError(f"data set {name!r}: its plug-in {found[name].value} cannot be loaded ({error})") from error
    return opener
