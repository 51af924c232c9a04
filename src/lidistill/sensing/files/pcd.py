"""``.pcd`` (Point Cloud Library, version 0.7): ascii, binary and binary_compressed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files import lzf
from lidistill.sensing.files.cloud import PointFile, from_columns, to_columns

Encoding = Literal["ascii", "binary", "binary_compressed"]
TYPES = {f"{kind}{size}": np.dtype(f"<{kind.lower()}{size}") for kind in "IU" for size in (1, 2, 4, 8)}
TYPES |= {"F4": np.dtype("<f4"), "F8": np.dtype("<f8")}
LONGEST_HEADER = 64 * 1024


@dataclass(frozen=True)
class Header:
    """``fields``: (name, type, count) in file order; ``points``: how many; ``start``: offset of the body."""

    fields: tuple[tuple[str, np.dtype[Any], int], ...]
    points: int
    data: str
    start: int


def read(path: Path) -> PointFile:
    """Read any encoding, any field types and counts. Raises ``InputError`` for a bad header or a truncated body."""
    content = path.read_bytes()
    header = _header(content, path)
    body = content[header.start :]
    if header.data == "ascii":
        columns = _ascii(body, header, path)
    elif header.data == "binary":
        columns = _binary(body, header, path)
    else:
        columns = _compressed(body, header, path)
    return from_columns(columns, path)


def write(path: Path, cloud: PointFile, encoding: Encoding = "binary") -> None:
    """Write every column of ``cloud``; colours become one packed ``rgb`` field of type U."""
    columns = to_columns(cloud)
    if cloud.colors is not None:
        red, green, blue = (columns.pop(name).astype(np.uint32) for name in ("red", "green", "blue"))
        columns["rgb"] = red << 16 | green << 8 | blue
    kinds = {"f": "F", "i": "I", "u": "U"}
    lines = {
        "VERSION": "0.7",
        "FIELDS": " ".join(columns),
        "SIZE": " ".join(str(column.dtype.itemsize) for column in columns.values()),
        "TYPE": " ".join(kinds[column.dtype.kind] for column in columns.values()),
        "COUNT": " ".join("1" for _ in columns),
        "WIDTH": len(cloud),
        "HEIGHT": 1,
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": len(cloud),
        "DATA": encoding,
    }
    with open(path, "wb") as file:
        file.write("".join(f"{key} {value}\n" for key, value in lines.items()).encode())
        if encoding == "ascii":
            # astype(str) writes the shortest digits that give the same float32 back
            rows = np.stack([column.astype(str) for column in columns.values()], axis=1)
            file.write("".join(" ".join(row) + "\n" for row in rows.tolist()).encode())
        elif encoding == "binary":
            array = np.empty(len(cloud), [(name, column.dtype) for name, column in columns.items()])
            for name, column in columns.items():
                array[name] = column
            file.write(array.tobytes())
        else:
            plain = b"".join(np.ascontiguousarray(column).tobytes() for column in columns.values())
            packed = lzf.store(plain)
            file.write(struct.pack("<II", len(packed), len(plain)) + packed)


def _header(content: bytes, path: Path) -> Header:
    words: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in words:
        end = content.find(b"\n", at, LONGEST_HEADER)
        if end < 0:
            raise InputError(f"{path}: no DATA line in the header; expected PCD, this is truncated or another format")
        key, *values = content[at:end].decode("latin-1").split() or ["#"]
        words[key.upper()] = values
        at = end + 1
    try:
        names, sizes, kinds = words["FIELDS"], words["SIZE"], words["TYPE"]
        counts = [int(count) for count in words.get("COUNT", ["1"] * len(names))]
        types = [TYPES[kind.upper() + size] for kind, size in zip(kinds, sizes, strict=True)]
        fields = tuple(zip(names, types, counts, strict=True))
        points = int(words["POINTS"][0]) if "POINTS" in words else int(words["WIDTH"][0]) * int(words["HEIGHT"][0])
        data = words["DATA"][0].lower()
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: wrong PCD header ({error}); FIELDS, SIZE, TYPE and COUNT must agree") from None
    if data not in ("ascii", "binary", "binary_compressed") or points < 0 or min(counts, default=0) < 1:
        raise InputError(f"{path}: DATA {data}, POINTS {points}, COUNT {counts} in the header; expected a PCD file")
    return Header(fields, points, data, at)


def _ascii(body: bytes, header: Header, path: Path) -> dict[str, NDArray[Any]]:
    width = sum(count for _, _, count in header.fields)
    tokens = body.split()
    if len(tokens) != header.points * width:
        raise InputError(
            f"{path}: {len(tokens)} values, expected {header.points} points of {width}; the file is truncated"
        )
    table = np.array(tokens, dtype=bytes).reshape(header.points, width)
    columns, at = {}, 0
    for name, kind, count in header.fields:
        if count == 1:
            columns[name] = _numbers(table[:, at], kind, name, path)
        at += count
    return columns


def _numbers(text: NDArray[np.bytes_], kind: np.dtype[Any], name: str, path: Path) -> NDArray[Any]:
    try:
        if kind.kind == "f":
            return text.astype(kind)
        return text.astype(np.float64).astype(kind)  # some writers put "3.0" into an integer field
    except ValueError as error:
        raise InputError(f"{path}: field {name!r}: {error}; expected numbers") from None


def _binary(body: bytes, header: Header, path: Path) -> dict[str, NDArray[Any]]:
    # Padding fields are all called "_": numpy wants different names.
    layout = np.dtype([(str(i), kind, (count,)) for i, (_, kind, count) in enumerate(header.fields)])
    expected = header.points * layout.itemsize
    if len(body) < expected:
        raise InputError(
            f"{path}: {len(body)} bytes of points, expected {expected} ({header.points} points of {layout.itemsize} "
            "bytes); the file is truncated, copy it again"
        )
    rows = np.frombuffer(body, layout, header.points)
    return {name: rows[str(i)][:, 0] for i, (name, _, count) in enumerate(header.fields) if count == 1}


def _compressed(body: bytes, header: Header, path: Path) -> dict[str, NDArray[Any]]:
    """Columns one after the other (not rows), as one LZF stream."""
    expected = header.points * sum(kind.itemsize * count for _, kind, count in header.fields)
    if len(body) < 8:
        raise InputError(f"{path}: the compressed data is missing; the file is truncated, copy it again")
    packed, size = struct.unpack("<II", body[:8])
    if size != expected or len(body) < 8 + packed:
        raise InputError(
            f"{path}: {len(body) - 8} compressed bytes for {size}, expected {packed} for {expected}; "
            "the file is truncated, copy it again"
        )
    try:
        plain = lzf.decompress(body[8 : 8 + packed], size)
    except ValueError as error:
        raise InputError(f"{path}: the compressed data is damaged ({error}); copy the file again") from None
    columns, at = {}, 0
    for name, kind, count in header.fields:
        if count == 1:
            columns[name] = np.frombuffer(plain, kind, header.points, at)
        at += header.points * kind.itemsize * count
    return columns
