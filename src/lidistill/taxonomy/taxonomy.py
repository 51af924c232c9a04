"""``Taxonomy``: a list of classes and the table from a data set's raw ids to them."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import IGNORE

DATA = Path(__file__).parent / "data"
CHECKSUMS = "CHECKSUMS.sha256"
LARGEST_RAW = 2**16 - 1


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A class list and one raw table.

    ``classes``: C names, the train id is the position; ``colors`` (C, 3) uint8 RGB; ``table`` uint8: raw id -> train
    id, 255 = ignore, raw ids beyond the table are ignored; ``inverse`` (C,) uint32: the raw id that a prediction of
    a class is written as (the one that bears the class's name, else the smallest; 0 where the source lacks the
    class); ``source``: the data set whose raw ids the table reads.
    """

    name: str
    classes: tuple[str, ...]
    colors: NDArray[np.uint8]
    table: NDArray[np.uint8]
    inverse: NDArray[np.uint32]
    source: str = ""

    def apply(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Train ids (N,) uint8 of raw ids (N,) of any integer type; ids outside the table give 255."""
        padded = np.append(self.table, np.uint8(IGNORE))
        # A negative id becomes a huge one, so that one comparison catches both ends.
        index = np.minimum(np.asarray(raw).astype(np.uint64), np.uint64(len(self.table)))
        return padded[index]


def names() -> tuple[str, ...]:
    """Names of the built-in taxonomies."""
    return tuple(sorted(path.stem for path in DATA.glob("*.yaml")))


def sources(name: str) -> tuple[str, ...]:
    """Data sets whose raw ids the built-in taxonomy ``name`` can read; the first is the default."""
    document = _read_builtin(name)
    return (document["default"], *(key for key in document["sources"] if key != document["default"]))


def load(name: str, source: str | None = None) -> Taxonomy:
    """Load a taxonomy: a built-in one by name, or a YAML file of the user's in the same form by its path.

    ``source`` names the data set whose raw ids are to be read (``load("kitti-10", "nuscenes")``); None takes the
    taxonomy's default. Raises ``InputError`` for an unknown name or source, a file that is not a taxonomy, and a
    built-in file that is not the one that was released (its checksum differs).
    """
    if name.endswith((".yaml", ".yml")):
        return _build(_parse(Path(name), _read_bytes(Path(name))), Path(name), source)
    return _build(_read_builtin(name), DATA / f"{name}.yaml", source)


def from_names(classes: Sequence[str], name: str = "custom") -> Taxonomy:
    """A taxonomy whose raw ids are the train ids 0 .. C-1; colours are spread over the hues."""
    if not 0 < len(classes) <= IGNORE or len(set(classes)) != len(classes):
        raise InputError(f"classes {name!r}: expected 1 to {IGNORE} different class names, found {list(classes)}")
    # The golden angle keeps neighbouring ids far apart; two brightness levels tell long lists apart.
    colors = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 0.95 if i % 2 else 0.7) for i in range(len(classes))]
    table = np.arange(len(classes), dtype=np.uint8)
    return _frozen(
        name, tuple(classes), np.round(np.array(colors) * 255).astype(np.uint8), table, table.astype(np.uint32), ""
    )


def _frozen(
    name: str,
    classes: tuple[str, ...],
    colors: NDArray[np.uint8],
    table: NDArray[np.uint8],
    inverse: NDArray[np.uint32],
    source: str,
) -> Taxonomy:
    for array in (colors, table, inverse):
        array.setflags(write=False)
    return Taxonomy(name, classes, colors, table, inverse, source)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the class list cannot be read ({error.strerror}); check the path") from None


@cache
def _read_builtin(name: str) -> dict[str, Any]:
    """Parsed file of a built-in taxonomy, after its checksum was found right."""
    if name not in names():
        raise InputError(f"unknown class list {name!r}{nearest(name, names())}")
    path = DATA / f"{name}.yaml"
    content = _read_bytes(path)
    rows = (line.split() for line in _read_bytes(DATA / CHECKSUMS).decode().splitlines())
    expected = {file: digest for digest, file in rows}.get(path.name)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"{path}: expected the sha256 {expected or '(none listed)'} of {CHECKSUMS}, found {found}; the file was "
            "changed: reinstall lidistill, or copy it elsewhere and give that path as the class list"
        )
    return _parse(path, content)


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    """Check the form of a taxonomy file: ``name``, ``classes``, ``default`` and ``sources``."""
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected the keys name, classes, default, sources; found {_short(document)}")
    for key, kind in (("name", str), ("classes", dict), ("default", str), ("sources", dict)):
        if not isinstance(document.get(key), kind):
            raise InputError(f"{path}: key {key!r} must be a {kind.__name__}, found {_short(document.get(key))}")
    unknown = next((key for key in document if key not in {"name", "classes", "default", "sources"}), None)
    if unknown is not None:
        raise InputError(f"{path}: unknown key {unknown!r}{nearest(str(unknown), document)}")
    if not 0 < len(document["classes"]) <= IGNORE:
        raise InputError(f"{path}: expected 1 to {IGNORE} classes, found {len(document['classes'])}")
    return document


def _build(document: Mapping[str, Any], path: Path, source: str | None) -> Taxonomy:
    source = source or document["default"]
    rows = document["sources"].get(source)
    if not isinstance(rows, dict) or not rows:
        tail = nearest(source, map(str, document["sources"]))
        raise InputError(f"{path}: no table for the raw ids of {source!r}{tail}")
    classes = tuple(map(str, document["classes"]))
    colors = []
    for name, color in document["classes"].items():
        if not (isinstance(color, list) and len(color) == 3 and all(_is_int(part, 255) for part in color)):
            raise InputError(f"{path}: class {name!r}: expected a colour [red, green, blue], found {_short(color)}")
        colors.append(color)
    train = {name: i for i, name in enumerate(classes)} | {"ignore": IGNORE}
    table = np.full(max((raw for raw in rows if _is_int(raw, LARGEST_RAW)), default=0) + 1, IGNORE, np.uint8)
    for raw, row in rows.items():
        if not (_is_int(raw, LARGEST_RAW) and isinstance(row, list) and len(row) == 2):
            raise InputError(
                f"{path}: source {source!r}: expected `id: [raw name, class]`, found {raw!r}: {_short(row)}"
            )
        if row[1] not in train:
            raise InputError(f"{path}: raw id {raw} goes to {row[1]!r}, which is no class{nearest(str(row[1]), train)}")
        table[raw] = train[row[1]]
    inverse = np.zeros(len(classes), np.uint32)
    for raw, (raw_name, name) in sorted(rows.items(), reverse=True):
        if name in classes and (raw_name == name or rows.get(int(inverse[train[name]]), [""])[0] != name):
            inverse[train[name]] = raw
    return _frozen(document["name"], classes, np.array(colors, np.uint8), table, inverse, source)


def _is_int(value: object, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
