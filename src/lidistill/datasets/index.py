"""Index cache: a data set's tables parsed once, kept as columns that every process maps into its memory.

An index is an ordinary uncompressed ``.npz`` (``numpy.load`` opens it), never a pickle. Its name says what it was made
of; it lies in ``.lidistill/`` beside the data, or in ``~/.cache/lidistill`` where the data may not be written to, or
below the folder that the environment variable ``LIDISTILL_CACHE`` names. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files import write_atomically

log = logging.getLogger("lidistill")

VARIABLE = "LIDISTILL_CACHE"
BESIDE = ".lidistill"
LOCAL_HEADER = 30
"""Bytes of a zip member's own header, without its name and extra field; their lengths are its last two numbers."""

Columns = Mapping[str, NDArray[Any]]


class Index:
    """Read-only columns by name. Pickles as its path: a worker maps the file, it does not copy it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self._columns[column]

    def text(self, column: str, *row: int) -> str:
        """One entry of a column of byte strings."""
        return bytes(self._columns[column][row]).decode()

    def __reduce__(self) -> tuple[type[Index], tuple[Path]]:
        return Index, (self.path,)

    @cached_property
    def _columns(self) -> dict[str, NDArray[Any]]:
        try:
            return _map(self.path)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: the index is gone ({error}); open the data set again") from None


def open_index(name: str, beside: Path, inputs: Sequence[Path], version: int, build: Callable[[], Columns]) -> Index:
    """The index ``name`` of the data set in the folder ``beside``; ``build`` makes its columns when there is none yet.

    It is valid for the sizes and times of change of ``inputs`` and for ``version``, the number of the layout that
    ``build`` writes. A damaged file (its checksums differ) is built again. Columns may have any type but objects;
    texts are byte strings (``S``). Raises ``InputError`` when an input is missing or no cache folder can be written to.
    """
    file = f"{name}-{_digest(inputs, version)}.npz"
    folders = cache_folders(beside)
    for folder in folders:
        if _sound(folder / file):
            return Index(folder / file)
    columns = {key: np.asarray(column, order="C") for key, column in build().items()}
    refused = []
    for folder in folders:
        try:
            write_atomically(folder / file, lambda path: np.savez(path, **columns))  # type: ignore[arg-type]
        except InputError as error:
            refused.append(str(error))
            continue
        for old in folder.glob(f"{name}-*.npz"):
            if old.name != file and len(old.name) == len(file):
                with suppress(OSError):
                    old.unlink()
        log.info("%s: index written", folder / file)
        return Index(folder / file)
    raise InputError(f"{refused[-1].partition(';')[0]}; set {VARIABLE} to a folder for the indices of data sets")


def _digest(inputs: Sequence[Path], version: int) -> str:
    rows: list[Any] = [version]
    for path in inputs:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: the file is missing ({error.strerror}); copy the data set again") from None
        rows.append([path.name, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def cache_folders(beside: Path) -> list[Path]:
    """Where an index, or whatever else is made of the data in ``beside``, may lie: the best place first."""
    place = hashlib.sha256(str(beside.resolve()).encode()).hexdigest()[:12]
    if root := os.environ.get(VARIABLE):
        return [Path(root).expanduser() / place]
    home = Path.home() / ".cache" / "lidistill" / place
    # The permission bits are asked too: root may write everywhere, but read-only data is meant to stay as it is.
    writable = beside.stat().st_mode & 0o222 and os.access(beside, os.W_OK)
    return [beside / BESIDE, home] if writable or (beside / BESIDE).is_dir() else [home]


def _sound(path: Path) -> bool:
    """Whether the file is there and every byte of it is as it was written."""
    try:
        _map(path)
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except FileNotFoundError:
        return False
    except (OSError, ValueError, zipfile.BadZipFile):
        log.warning("%s: the index is damaged, it is built again", path)
        return False


def _map(path: Path) -> dict[str, NDArray[Any]]:
    """Columns as views of the mapped file. ``ValueError`` or ``OSError`` when it is not such a file."""
    content: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    try:
        return {name: np.ndarray(shape, dtype, content, offset) for name, shape, dtype, offset in _layout(path)}
    except (zipfile.BadZipFile, struct.error, TypeError, SyntaxError, EOFError) as error:
        raise ValueError(str(error)) from None


def _layout(path: Path) -> Iterator[tuple[str, tuple[int, ...], np.dtype[Any], int]]:
    """(name, shape, type, offset of the first byte) of every column."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("a column is compressed")
            file.seek(member.header_offset + LOCAL_HEADER - 4)
            name, extra = struct.unpack("<HH", file.read(4))
            file.seek(name + extra, os.SEEK_CUR)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("a column has another format")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject or fortran:
                raise ValueError("a column is no plain array")
            yield member.filename.removesuffix(".npy"), shape, dtype, file.tell()
