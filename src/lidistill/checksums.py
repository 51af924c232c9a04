"""Data files that are part of lidistill: read only if they are the ones that were released."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lidistill.errors import InputError

CHECKSUMS = "CHECKSUMS.sha256"
"""Beside the files: ``sha256sum``'s output, a line a file."""


def read_verified(path: Path) -> bytes:
    """Content of ``path``, after its sha256 was found in the folder's ``CHECKSUMS.sha256``; else ``InputError``."""
    try:
        content = path.read_bytes()
        lines = (path.parent / CHECKSUMS).read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); reinstall lidistill") from None
    expected = {name: digest for digest, name in map(str.split, lines)}.get(path.name)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"{path}: expected the sha256 {expected or '(none listed)'} of {CHECKSUMS}, found {found}; the file was "
            "changed: reinstall lidistill, or copy it elsewhere and give the path of the copy"
        )
    return content
