"""One floor of the house imports only floors below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src/lidistill"
FLOORS = (
    ("errors", "processes"),
    ("checksums",),
    ("sensing",),
    ("taxonomy",),
    ("datasets",),
    ("simulator", "transforms"),
    ("students", "teachers", "objectives"),
    ("segmenters",),
    ("training",),
    ("evaluation",),
    ("apps",),
    ("verbs",),
    ("cli",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


@pytest.mark.parametrize("room", sorted(HEIGHT))
def test_a_room_imports_what_is_below_it(room: str) -> None:
    files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").is_file() else sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        for name in imported(file):
            parts = name.split(".")
            if parts[0] != "lidistill" or len(parts) < 2 or parts[1] == room or parts[1] not in HEIGHT:
                continue
            assert HEIGHT[parts[1]] < HEIGHT[room], f"{file} imports {name}"


def test_every_room_has_its_floor() -> None:
    rooms = {path.stem for path in ROOT.iterdir() if not path.stem.startswith("__") or path.stem == "__main__"} - {"py"}
    assert rooms == set(HEIGHT)
