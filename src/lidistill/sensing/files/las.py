"""``.las`` and ``.laz`` through laspy (extra ``las``)."""

from __future__ import annotations

import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files.cloud import PointFile, from_columns, to_columns

MOST_COMPRESSION = 1000
STEP = 1e-4
"""Metres: coordinates are stored as whole multiples of it."""


def read(path: Path) -> PointFile:
    """Read coordinates, intensity, time, classification, colours, and extra dimensions named as in other formats."""
    laspy = _laspy(path)
    _check_counts(path)
    try:
        content = laspy.read(path)
        standard, extra = (
            {name: np.asarray(content[name]) for name in names if name.lower() not in ("x", "y", "z")}
            for names in (content.point_format.standard_dimension_names, content.point_format.extra_dimension_names)
        )
        columns: dict[str, NDArray[Any]] = {axis: np.asarray(getattr(content, axis)) for axis in "xyz"}
    except (OSError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # laspy and struct raise their own; a panic in lazrs is no Exception
        raise InputError(f"{path}: not a readable {path.suffix} file ({' '.join(str(error).split())})") from None
    # LAS has no way to say that a standard dimension was not recorded: it is zero throughout.
    standard = {name: values for name, values in standard.items() if values.any()}
    if "reflectance" in extra:
        standard.pop("intensity", None)
    if "label" in extra:
        standard.pop("classification", None)
    return from_columns(columns | standard | extra, path)


def write(path: Path, cloud: PointFile) -> None:
    """Write coordinates in steps of 0.1 mm; what LAS has no exact place for becomes an extra dimension."""
    laspy = _laspy(path)
    if not np.isfinite(cloud.points).all():
        raise InputError(f"{path}: LAS holds no NaN or infinite coordinates; drop those points or write .ply")
    header = laspy.LasHeader(point_format=3 if cloud.colors is not None else 1, version="1.2")
    header.scales, header.offsets = np.full(3, STEP), np.zeros(3)
    columns = to_columns(cloud)
    points = [columns.pop(axis).astype(np.float64) for axis in "xyz"]
    colors = [columns.pop(name).astype(np.uint16) * 257 for name in ("red", "green", "blue") if name in columns]
    if "intensity" in columns:
        columns["reflectance"] = columns.pop("intensity")  # the standard one is uint16: 0..1 would be lost
    for name, column in columns.items():
        if name != "time":
            header.add_extra_dim(laspy.ExtraBytesParams(name, column.dtype))
    content = laspy.LasData(header)
    content.x, content.y, content.z = points
    if "time" in columns:
        content.gps_time = columns.pop("time")
    for name, column in columns.items():
        content[name] = column
    for name, values in zip(("red", "green", "blue"), colors, strict=False):
        content[name] = values
    content.write(str(path))


def _check_counts(path: Path) -> None:
    """Compare the counts in the header with the file size: laspy believes them and would read for hours."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        header = file.read(255).ljust(255, b"\0")
    start, records = struct.unpack_from("<II", header, 96)
    length, points = struct.unpack_from("<HI", header, 105)
    trailing = 0
    if header[25] >= 4:  # version 1.4
        trailing, points = struct.unpack_from("<IQ", header, 243)
    largest = size if path.suffix.lower() == ".las" else size * MOST_COMPRESSION
    if records * 54 > start or start > size or trailing * 60 > size or length * points > largest:
        raise InputError(
            f"{path}: not a readable {path.suffix} file (the header promises {points} points of {length} bytes from "
            f"byte {start}, the file has {size}); it is truncated or damaged, copy it again"
        )


def _laspy(path: Path) -> ModuleType:
    try:
        import laspy
    except ImportError:
        raise InputError(f"{path}: {path.suffix} files need laspy; run: pip install 'lidistill[las]'") from None
    module: ModuleType = laspy
    return module
