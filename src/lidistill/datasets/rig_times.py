"""``times.csv`` of a rig folder: when every scan and picture was taken."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError, nearest
from lidistill.sensing.files import write_atomically

NAME = "times.csv"
Times = NDArray[np.float64]


def read_times(path: Path, stems: Sequence[str], cameras: Sequence[str]) -> tuple[Times, dict[str, Times]]:
    """Seconds of every scan (N,) and, by camera, of its picture (N,); nan where the file has none.

    Rows of scans that are not there are left out. Raises ``InputError`` for a file without the columns ``scan`` and
    ``time``, a column that is no camera, a scan with two rows, and a cell that is no number.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a table of times there") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    if header[:2] != ["scan", "time"]:
        found = ",".join(header) or "nothing"
        raise InputError(f"{path}: expected a first row scan,time and then the names of cameras, found {found:.60}")
    for name in header[2:]:
        if name not in cameras:
            raise InputError(f"{path}: column {name!r} is no camera of rig.yaml{nearest(name, cameras)}")
    table = np.full((len(stems), len(header) - 1), np.nan)
    number, seen = {stem: i for i, stem in enumerate(stems)}, set[str]()
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        stem, cells = row[0].strip(), row[1:]
        if stem in seen:
            raise InputError(f"{path}: line {line}: scan {stem!r} has two rows; keep one")
        seen.add(stem)
        values = _numbers(cells, len(header) - 1, f"{path}: line {line}")
        if stem in number:
            table[number[stem]] = values
    return table[:, 0], {name: table[:, i] for i, name in enumerate(header[2:], 1)}


def write_times(path: Path, scans: Mapping[str, int], pictures: Mapping[str, Mapping[str, int]]) -> None:
    """Write nanoseconds since 1970 as seconds: ``scans`` by stem, ``pictures`` by camera and stem."""
    lines = [",".join(("scan", "time", *pictures))]
    for stem, time in scans.items():
        cells = [_seconds(times[stem]) if stem in times else "" for times in pictures.values()]
        lines.append(",".join((stem, _seconds(time), *cells)))
    write_atomically(path, lambda file: file.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _seconds(nanoseconds: int) -> str:
    """All digits: float64 would round them to 0.2 microseconds."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def _numbers(cells: Sequence[str], columns: int, where: str) -> list[float]:
    if len(cells) != columns:
        raise InputError(f"{where}: {len(cells) + 1} cells, expected {columns + 1} as in the first row")
    try:
        return [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError as error:
        raise InputError(f"{where}: {error}; expected seconds, or nothing where there is no picture") from None
