"""``.ply``: ascii, binary little and big endian; the vertex element, other elements are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files.cloud import PointFile, from_columns, to_columns

Encoding = Literal["ascii", "binary_little_endian", "binary_big_endian"]
TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
LENGTHS = {name: kind for name, kind in TYPES.items() if not kind.startswith("f")}
WRITTEN = {"f4": "float", "i4": "int", "u4": "uint", "u1": "uchar"}
LONGEST_HEADER = 64 * 1024


@dataclass(frozen=True)
class Property:
    """``kind`` is the numpy type; ``length`` the type of the number in front of a list, None for a plain value."""

    name: str
    kind: str
    length: str | None = None


@dataclass(frozen=True)
class Element:
    """``count`` rows of ``properties``."""

    name: str
    count: int
    properties: tuple[Property, ...]


def read(path: Path) -> PointFile:
    """Read the vertices. Raises ``InputError`` for a bad header, list properties of vertices, or a truncated body."""
    content = path.read_bytes()
    encoding, elements, start = _header(content, path)
    body = content[start:]
    before: list[Element] = []
    for element in elements:
        if element.name == "vertex":
            break
        before.append(element)
    else:
        raise InputError(f"{path}: no element 'vertex' in the header; expected a PLY file with points")
    if any(p.length for p in element.properties):
        raise InputError(f"{path}: a list property in the vertex element; expected plain numbers, export it again")
    if encoding == "ascii":
        return from_columns(_ascii(body, before, element, path), path)
    return from_columns(_binary(body, before, element, "<" if encoding == "binary_little_endian" else ">", path), path)


def write(path: Path, cloud: PointFile, encoding: Encoding = "binary_little_endian") -> None:
    """Write every column of ``cloud`` as a vertex property."""
    columns = to_columns(cloud)
    properties = [f"property {WRITTEN[column.dtype.str[1:]]} {name}" for name, column in columns.items()]
    lines = ["ply", f"format {encoding} 1.0", f"element vertex {len(cloud)}", *properties, "end_header"]
    with open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode())
        if encoding == "ascii":
            rows = np.stack([column.astype(str) for column in columns.values()], axis=1)
            file.write("".join(" ".join(row) + "\n" for row in rows.tolist()).encode())
            return
        order: Literal["<", ">"] = "<" if encoding == "binary_little_endian" else ">"
        array = np.empty(len(cloud), [(name, column.dtype.newbyteorder(order)) for name, column in columns.items()])
        for name, column in columns.items():
            array[name] = column
        file.write(array.tobytes())


def _header(content: bytes, path: Path) -> tuple[str, list[Element], int]:
    end = content.find(b"end_header", 0, LONGEST_HEADER)
    line_end = content.find(b"\n", end)
    if not content.startswith(b"ply") or end < 0 or line_end < 0:
        raise InputError(f"{path}: no PLY header; expected 'ply' ... 'end_header', it is truncated or another format")
    encoding, elements = "", list[Element]()
    for line in content[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        try:
            if words[:1] == ["format"]:
                encoding = words[1]
            elif words[:1] == ["element"]:
                if int(words[2]) < 0:
                    raise ValueError
                elements.append(Element(words[1], int(words[2]), ()))
            elif words[:1] == ["property"]:
                last = elements.pop()
                found = (
                    Property(words[4], TYPES[words[3]], LENGTHS[words[2]])
                    if words[1] == "list"
                    else Property(words[2], TYPES[words[1]])
                )
                elements.append(Element(last.name, last.count, (*last.properties, found)))
        except (KeyError, IndexError, ValueError):
            raise InputError(f"{path}: header line {line!r} cannot be understood; expected a PLY file") from None
    if encoding not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise InputError(f"{path}: format {encoding!r}; expected ascii, binary_little_endian or binary_big_endian")
    return encoding, elements, line_end + 1


def _ascii(body: bytes, before: list[Element], vertex: Element, path: Path) -> dict[str, NDArray[Any]]:
    skipped = sum(element.count for element in before)
    lines = [line for line in body.split(b"\n") if line.strip()][skipped : skipped + vertex.count]
    rows = [line.split() for line in lines]
    width = len(vertex.properties)
    bad = next((i for i, row in enumerate(rows) if len(row) != width), None)
    if bad is not None or len(rows) < vertex.count:
        found = f"row {bad} has {len(rows[bad])} values" if bad is not None else f"only {len(rows)} rows"
        raise InputError(f"{path}: {found}, expected {vertex.count} rows of {width}; the file is truncated or damaged")
    table = np.array(rows, dtype=bytes).reshape(vertex.count, width)
    try:
        # Whole numbers above 2^53 do not occur in point files; some writers put "3.0" into an integer property.
        return {
            p.name: table[:, i].astype(np.float64 if p.kind[0] != "f" else p.kind).astype(p.kind)
            for i, p in enumerate(vertex.properties)
        }
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected numbers in the vertex rows") from None


def _binary(body: bytes, before: list[Element], vertex: Element, order: str, path: Path) -> dict[str, NDArray[Any]]:
    layout = np.dtype([(str(i), order + p.kind) for i, p in enumerate(vertex.properties)])
    start = 0
    for element in before:
        start = _skip(body, start, element, order, path)
    expected = vertex.count * layout.itemsize
    if len(body) - start < expected:
        raise InputError(
            f"{path}: {len(body) - start} bytes of vertices, expected {expected} ({vertex.count} of {layout.itemsize} "
            "bytes); the file is truncated, copy it again"
        )
    rows = np.frombuffer(body, layout, vertex.count, start)
    native = {p.name: rows[str(i)] for i, p in enumerate(vertex.properties)}
    return {name: column.astype(column.dtype.newbyteorder("=")) for name, column in native.items()}


def _skip(body: bytes, at: int, element: Element, order: str, path: Path) -> int:
    """Offset behind ``element``; rows with lists have to be walked, each is as long as it says."""
    if not any(p.length for p in element.properties):
        return at + element.count * sum(np.dtype(p.kind).itemsize for p in element.properties)
    for _ in range(element.count):
        for p in element.properties:
            size = np.dtype(p.kind).itemsize
            if p.length is None:
                at += size
                continue
            prefix = np.dtype(order + p.length)
            number = int(np.frombuffer(body, prefix, 1, at)[0]) if at + prefix.itemsize <= len(body) else -1
            if number < 0:
                raise InputError(f"{path}: a list of {element.name!r} is cut short or damaged; copy the file again")
            at += prefix.itemsize + size * number
    return at
