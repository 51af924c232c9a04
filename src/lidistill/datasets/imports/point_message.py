"""``sensor_msgs/PointCloud2``: bytes laid out by the sender -> columns of points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files import PointFile
from lidistill.sensing.files.cloud import ALIASES, from_columns

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""``PointField`` datatype -> numpy type."""

EPOCH = 1e8
"""Seconds above which a time counts from 1970 (or from boot, years ago) and not from the scan."""


@np.errstate(invalid="ignore", over="ignore")  # no-return markers are NaN, infinite or worse
def read_cloud(message: Any, stamp: int, where: str) -> PointFile:
    """Columns of one message, without the points that are no returns.

    Any layout of fields, either byte order, padding between points and rows. Dropped are points with a coordinate
    that is not finite, and those at (0, 0, 0), the other marker of no return. Times become seconds since ``stamp``
    (nanoseconds, the header's): whole numbers are taken as nanoseconds (Ouster ``t``), fractions as seconds (Velodyne
    ``time``), those since 1970 are told by their size (Hesai ``timestamp``; Livox in nanoseconds).

    Raises ``InputError`` when a coordinate is missing, a field has an unknown type, or there are fewer bytes than
    points.
    """
    columns = _columns(message, where)
    time = next((name for name in columns if name.lower() in ALIASES["time"]), None)
    if time is not None:
        columns[time] = _since(columns[time], stamp)
    cloud = from_columns(columns, Path(where))
    x, y, z = cloud.points.T
    return cloud.select(np.isfinite(x) & np.isfinite(y) & np.isfinite(z) & ((x != 0) | (y != 0) | (z != 0)))


def _columns(message: Any, where: str) -> dict[str, NDArray[Any]]:
    """Field name -> (height * width,) values in native byte order; fields of several values are left out."""
    height, width, step = message.height, message.width, message.point_step
    order = ">" if message.is_bigendian else "<"
    fields = [field for field in message.fields if field.count <= 1]  # some drivers write 0 for 1
    unknown = next((field for field in fields if field.datatype not in TYPES), None)
    if unknown is not None:
        raise InputError(f"{where}: field {unknown.name!r} has unknown datatype {unknown.datatype}, expected 1 to 8")
    kinds = [np.dtype(order + TYPES[field.datatype]) for field in fields]
    end = max((field.offset + kind.itemsize for field, kind in zip(fields, kinds, strict=True)), default=0)
    if end > step:
        raise InputError(f"{where}: fields reach to byte {end} of points of {step} bytes; the message is damaged")
    row = max(message.row_step, width * step)  # many drivers leave row_step at 0
    needed = (height - 1) * row + width * step if height and width else 0
    if len(message.data) < needed:
        raise InputError(
            f"{where}: {len(message.data)} bytes, expected {needed} ({height} x {width} points of {step} bytes); the "
            "message is truncated"
        )
    shape = (height, width) if needed else (0, 0)
    columns = {}
    for field, kind in zip(fields, kinds, strict=True):
        values: NDArray[Any] = np.ndarray(shape, kind, message.data, field.offset if needed else 0, (row, step))
        columns[field.name] = values.reshape(-1).astype(kind.newbyteorder("="))
    return columns


def _since(times: NDArray[Any], stamp: int) -> NDArray[np.float64]:
    """Seconds since ``stamp`` (nanoseconds)."""
    seconds: NDArray[np.float64] = times.astype(np.float64)
    largest = float(np.nanmax(np.abs(seconds), initial=0))
    nanoseconds = times.dtype.kind != "f" or largest > EPOCH * 1e9
    absolute = largest > (EPOCH * 1e9 if nanoseconds else EPOCH)
    if absolute and times.dtype.kind != "f":
        seconds = (times.astype(np.int64) - stamp).astype(np.float64)  # float64 would round to 0.2 microseconds
        return seconds * 1e-9
    seconds = seconds * 1e-9 if nanoseconds else seconds
    return seconds - stamp * 1e-9 if absolute else seconds
