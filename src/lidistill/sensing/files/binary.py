"""``.bin``: rows of float32, x y z intensity (KITTI) or x y z intensity ring (nuScenes), no header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidistill.errors import InputError
from lidistill.sensing.files.cloud import PointFile, rings

COLUMNS = (4, 5)
PROBE = 4096
"""Values looked at to tell float64 from float32."""


def read(path: Path, columns: int | None = None) -> PointFile:
    """Read ``columns`` (4 or 5) values per row; None tells them apart by the file size and by the ring column.

    Raises ``InputError`` when the size is no multiple of a row, the values are float64, or the fifth column is no ring.
    """
    size = path.stat().st_size
    if columns is None:
        columns = _guess(path, size)
    if columns not in COLUMNS:
        raise InputError(f"{path}: {columns} columns asked for, expected 4 (x y z intensity) or 5 (and ring)")
    if size % (4 * columns):
        other = COLUMNS[1 - COLUMNS.index(columns)]
        hint = f"columns: {other} would fit" if size % (4 * other) == 0 else "the file is truncated, copy it again"
        raise InputError(
            f"{path}: {size} bytes, expected a multiple of {4 * columns} (rows of {columns} float32); {hint}"
        )
    if _doubles(path):
        raise InputError(f"{path}: the values are float64, expected rows of float32; write the scan as float32")
    rows = np.fromfile(path, "<f4").reshape(-1, columns)
    ring = rings(rows[:, 4], path) if columns == 5 else None
    return PointFile(np.ascontiguousarray(rows[:, :3]), rows[:, 3].copy(), ring)


def write(path: Path, cloud: PointFile) -> None:
    """Write x y z intensity, and ring when there is one; the format holds no other column."""
    if cloud.intensity is None:
        raise InputError(f"{path}: .bin needs an intensity column; write .pcd, .ply or .npz instead")
    columns = [cloud.points, cloud.intensity] if cloud.ring is None else [cloud.points, cloud.intensity, cloud.ring]
    path.write_bytes(np.column_stack(columns).astype("<f4").tobytes())


def _doubles(path: Path) -> bool:
    """Whether the values are float64: two float32 read as one are hardly ever between 0.1 mm and 1 km."""
    values = np.abs(np.fromfile(path, "<f8", PROBE))
    values = values[values != 0]
    return len(values) >= 32 and bool(np.mean((values > 1e-4) & (values < 1e3)) > 0.9)


def _guess(path: Path, size: int) -> int:
    fits = [columns for columns in COLUMNS if size % (4 * columns) == 0]
    if not fits:
        raise InputError(
            f"{path}: {size} bytes, expected a multiple of 16 or 20 (rows of 4 or 5 float32); it is truncated"
        )
    if len(fits) == 1:
        return fits[0]
    fifth = np.fromfile(path, np.float32, count=20_000)[4::5]
    # Read with the wrong stride, this column holds coordinates of every axis in turn: hardly ever whole numbers.
    return 5 if size and bool(((fifth >= 0) & (fifth < 1024) & (fifth == np.floor(fifth))).all()) else 4
