"""Files of class lists: their form (``docs/reference/taxonomies.md``), and what is said when they have another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidistill.checksums import read_verified
from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import IGNORE

DATA = Path(__file__).parent / "data"
KEYS = ("name", "classes", "default", "sources")
LARGEST_RAW = 2**16 - 1

Rows = Mapping[int, tuple[str, str]]
"""Raw id -> (raw name, class or ``ignore``)."""


@dataclass(frozen=True)
class Document:
    """A checked file: ``classes`` name -> colour, ``sources`` data set -> rows; ``base`` is the list it refers to."""

    name: str
    classes: Mapping[str, tuple[int, int, int]]
    default: str
    sources: Mapping[str, Rows]
    base: str | None = None


class _Loader(yaml.SafeLoader):
    """YAML itself lets the last of two equal keys win, which hides a raw id that is listed twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int)) and key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key!r} is listed twice; remove one")
            seen.add(key if isinstance(key, (str, int)) else str(key))
        return super().construct_mapping(node, deep)


def builtin_names() -> tuple[str, ...]:
    """Names of the class lists that come with lidistill."""
    return tuple(sorted(path.stem for path in DATA.glob("*.yaml")))


@cache
def read_builtin(name: str) -> Document:
    """A class list that comes with lidistill, after its checksum was found right."""
    if name not in builtin_names():
        raise InputError(f"unknown class list {name!r}{nearest(name, builtin_names())}")
    path = DATA / f"{name}.yaml"
    return _check(path, read_verified(path))


def read_file(path: Path) -> Document:
    """A user's class list; raises ``InputError`` naming the key, class or raw id that is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the class list cannot be read ({error.strerror}); check the path") from None
    return _check(path, content)


def _check(path: Path, content: bytes) -> Document:
    try:
        found = yaml.load(content, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not a usable YAML file ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected the keys {', '.join(KEYS)}; found {_short(found)}")
    unknown = next((key for key in found if key not in KEYS), None)
    if unknown is not None:
        raise InputError(f"{path}: unknown key {unknown!r}{nearest(str(unknown), KEYS)}")
    base = _base(path, found.get("classes"))
    wanted: dict[str, type] = {"name": str, "classes": dict, "default": str, "sources": dict}
    if base is not None:
        wanted["classes"], found = str, {"sources": {}} | found
    for key, kind in wanted.items():
        if key not in found:
            raise InputError(f"{path}: key {key!r} is missing; expected {', '.join(KEYS)}")
        if not isinstance(found[key], kind):
            what = "text" if kind is str else "a mapping"
            raise InputError(f"{path}: key {key!r} must be {what}, found {_short(found[key])}")
    classes = dict(base.classes) if base else _classes(path, found["classes"])
    sources = {str(source): _rows(path, str(source), rows, classes) for source, rows in found["sources"].items()}
    sources = (dict(base.sources) if base else {}) | sources
    if found["default"] not in sources:
        raise InputError(f"{path}: default is {found['default']!r}, no such source{nearest(found['default'], sources)}")
    return Document(found["name"], classes, found["default"], sources, base.name if base else None)


def _base(path: Path, classes: object) -> Document | None:
    """The built-in list that ``classes`` names instead of listing its own."""
    if not isinstance(classes, str):
        return None
    if classes not in builtin_names():
        raise InputError(f"{path}: classes names the unknown list {classes!r}{nearest(classes, builtin_names())}")
    return read_builtin(classes)


def _classes(path: Path, found: Mapping[Any, Any]) -> dict[str, tuple[int, int, int]]:
    if not 0 < len(found) <= IGNORE:
        raise InputError(f"{path}: expected 1 to {IGNORE} classes, found {len(found)}")
    for name, color in found.items():
        if not (isinstance(color, list) and len(color) == 3 and all(_is_int(part, 255) for part in color)):
            raise InputError(
                f"{path}: class {name!r}: expected a colour [red, green, blue] of numbers from 0 to 255, "
                f"found {_short(color)}"
            )
    names = [str(name) for name in found]
    if "ignore" in names:
        raise InputError(f"{path}: no class can be called 'ignore', which stands for points without a class; rename it")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: two classes read the same as text ({', '.join(names)}); rename one")
    return {str(name): (color[0], color[1], color[2]) for name, color in found.items()}


def _rows(path: Path, source: str, found: object, classes: Mapping[str, Any]) -> Rows:
    where = f"{path}: source {source!r}"
    if not isinstance(found, dict) or not found:
        raise InputError(f"{where}: expected rows `id: [raw name, class]`, found {_short(found)}")
    rows = {}
    for raw, row in found.items():
        if not (_is_int(raw, LARGEST_RAW) and isinstance(row, list) and len(row) == 2):
            raise InputError(
                f"{where}: expected `id: [raw name, class]` with an id from 0 to {LARGEST_RAW}, "
                f"found {raw!r}: {_short(row)}"
            )
        name = str(row[1])
        if name != "ignore" and name not in classes:
            raise InputError(
                f"{where}: raw id {raw} goes to {name!r}, no such class{nearest(name, [*classes, 'ignore'])}"
            )
        rows[raw] = (str(row[0]), name)
    return rows


def _is_int(value: object, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
