"""Split lists that come with the package: data files, used only when their checksum is right."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidistill.errors import InputError

DATA = Path(__file__).parent / "data"
CHECKSUMS = "CHECKSUMS.sha256"


@cache
def read_split_file(name: str) -> dict[str, Any]:
    """The document of ``data/<name>``; raises ``InputError`` when it is not the file that was released."""
    path = DATA / name
    try:
        content = path.read_bytes()
        rows = (line.split() for line in (DATA / CHECKSUMS).read_text().splitlines())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); reinstall lidistill") from None
    expected = {file: digest for digest, file in rows}.get(name)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"{path}: expected the sha256 {expected or '(none listed)'} of {CHECKSUMS}, found {found}; the file was "
            "changed: reinstall lidistill"
        )
    document: dict[str, Any] = yaml.safe_load(content)
    return document


def numbers(text: str) -> tuple[int, ...]:
    """``"3 12-14"`` -> (3, 12, 13, 14)."""
    pairs = (word.partition("-") for word in text.split())
    return tuple(n for first, _, last in pairs for n in range(int(first), int(last or first) + 1))
