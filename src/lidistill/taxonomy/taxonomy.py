"""``Taxonomy``: a list of classes and the table from a data set's raw ids to them."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import IGNORE
from lidistill.taxonomy.document import Document, Rows, builtin_names, read_builtin, read_file


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A class list and one raw table.

    ``classes``: C names, the train id is the position; ``colors`` (C, 3) uint8 RGB; ``table`` uint8: raw id -> train
    id, 255 = ignore, raw ids beyond the table are ignored; ``inverse`` (C,) uint32: the raw id that a prediction of
    a class is written as (the one that bears the class's name, else the smallest; 0 where the source lacks the
    class); ``source``: the data set whose raw ids the table reads; ``ids``: the raw ids that it lists, those it
    ignores included.
    """

    name: str
    classes: tuple[str, ...]
    colors: NDArray[np.uint8]
    table: NDArray[np.uint8]
    inverse: NDArray[np.uint32]
    source: str = ""
    ids: frozenset[int] = frozenset()

    def apply(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Train ids uint8 of raw ids of any integer type, in the same shape; ids outside the table give 255."""
        raw = np.asarray(raw)
        if raw.dtype in (np.uint8, np.uint16):  # every value gets a row: no comparison, a third of the time
            rows = np.full(1 << 8 * raw.itemsize, IGNORE, np.uint8)
            rows[: len(self.table)] = self.table[: len(rows)]
            return np.take(rows, raw)
        padded = np.append(self.table, np.uint8(IGNORE))
        # A negative id becomes a huge one, so that one comparison catches both ends.
        index = np.minimum(raw.astype(np.uint64), np.uint64(len(self.table)))
        return padded[index]


def names() -> tuple[str, ...]:
    """Names of the built-in taxonomies."""
    return builtin_names()


def sources(name: str) -> tuple[str, ...]:
    """What raw ids the taxonomy ``name`` (or a file) can read: data sets and other class lists; first the default."""
    document = _document(name)
    return (document.default, *(source for source in document.sources if source != document.default))


def raw_names(name: str, source: str | None = None) -> dict[int, str]:
    """Raw id -> raw name of one source of a taxonomy (``17: vehicle.car``)."""
    document = _document(name)
    return {raw: row[0] for raw, row in _rows(document, source or document.default, name).items()}


def load(name: str, source: str | None = None) -> Taxonomy:
    """Load a taxonomy: a built-in one by name, or a YAML file of the user's in the same form by its path.

    ``source`` names the data set whose raw ids are to be read (``load("kitti-10", "nuscenes")``), or the class list
    whose predictions are to be merged: ``load("kitti-10", "nuscenes-16").apply(predicted)`` takes train ids of
    nuscenes-16 to train ids of kitti-10. None takes the taxonomy's default.

    Raises ``InputError`` for an unknown name or source, a file that is not a taxonomy, and a built-in file that is
    not the one that was released (its checksum differs).
    """
    document = _document(name)
    source = source or document.default
    classes, colors = tuple(document.classes), np.array(list(document.classes.values()), np.uint8)
    rows = _rows(document, source, name)
    return _frozen(document.name, classes, colors, *_tables(rows, classes), source, frozenset(rows))


def from_names(classes: Sequence[str], name: str = "custom") -> Taxonomy:
    """A taxonomy whose raw ids are the train ids 0 .. C-1; colours are spread over the hues."""
    if not 0 < len(classes) <= IGNORE or len(set(classes)) != len(classes):
        raise InputError(f"classes {name!r}: expected 1 to {IGNORE} different class names, found {list(classes)}")
    # The golden angle keeps neighbouring ids far apart; two brightness levels tell long lists apart.
    colors = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 0.95 if i % 2 else 0.7) for i in range(len(classes))]
    table = np.arange(len(classes), dtype=np.uint8)
    return _frozen(
        name,
        tuple(classes),
        np.round(np.array(colors) * 255).astype(np.uint8),
        table,
        table.astype(np.uint32),
        "",
        frozenset(range(len(classes))),
    )


def _document(name: str) -> Document:
    return read_file(Path(name)) if name.endswith((".yaml", ".yml")) else read_builtin(name)


def _rows(document: Document, source: str, where: str) -> Rows:
    if source not in document.sources and source in builtin_names():
        # city-16 has the classes of nuscenes-16: its predictions are read by the table for those.
        source = read_builtin(source).base or source
    if source not in document.sources:
        raise InputError(f"{where}: no table for the raw ids of {source!r}{nearest(source, document.sources)}")
    return document.sources[source]


def _tables(rows: Rows, classes: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Raw id -> train id, and for each class the raw id that is written for it."""
    train: Mapping[str, int] = {name: i for i, name in enumerate(classes)} | {"ignore": IGNORE}
    table = np.full(max(rows) + 1, IGNORE, np.uint8)
    table[list(rows)] = [train[name] for _, name in rows.values()]
    inverse = np.zeros(len(classes), np.uint32)
    # In descending order the smallest raw id comes last and stays, then those that bear the class's name.
    for raw, (_, name) in sorted(rows.items(), key=lambda row: (row[1][0] == row[1][1], -row[0])):
        if name in classes:
            inverse[train[name]] = raw
    return table, inverse


def _frozen(
    name: str,
    classes: tuple[str, ...],
    colors: NDArray[np.uint8],
    table: NDArray[np.uint8],
    inverse: NDArray[np.uint32],
    source: str,
    ids: frozenset[int],
) -> Taxonomy:
    for array in (colors, table, inverse):
        array.setflags(write=False)
    return Taxonomy(name, classes, colors, table, inverse, source, ids)
