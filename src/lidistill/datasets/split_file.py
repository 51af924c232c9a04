"""Split lists that come with the package: data files, used only when their checksum is right."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidistill.checksums import read_verified

DATA = Path(__file__).parent / "data"


@cache
def read_split_file(name: str) -> dict[str, Any]:
    """The document of ``data/<name>``; raises ``InputError`` when it is not the file that was released."""
    document: dict[str, Any] = yaml.safe_load(read_verified(DATA / name))
    return document


def numbers(text: str) -> tuple[int, ...]:
    """``"3 12-14"`` -> (3, 12, 13, 14)."""
    pairs = (word.partition("-") for word in text.split())
    return tuple(n for first, _, last in pairs for n in range(int(first), int(last or first) + 1))
