"""``PointFile``: what a point file holds, and the columns it is read from and written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

# What tools call a column, in lower case; the first name is the one that is written.
ALIASES = {
    "x": ("x",),
    "y": ("y",),
    "z": ("z",),
    "intensity": ("intensity", "i", "reflectivity", "reflectance", "remission", "scalar_intensity"),
    "ring": ("ring", "channel", "laser_id", "beam", "line", "scalar_ring"),
    "time": ("time", "t", "timestamp", "time_offset", "gps_time", "scalar_time"),
    "labels": ("label", "labels", "class", "classification", "semantic", "scalar_label"),
}
LARGEST = 1e5
"""Metres; beyond it float32 steps exceed 7 mm, and no lidar frame is that large."""


@dataclass(frozen=True, eq=False)
class PointFile:
    """The columns of one point file; None where the file has no such column.

    ``points`` (N, 3) float32, metres; ``intensity`` (N,) float32 as recorded; ``ring`` (N,) int32; ``time`` (N,)
    float32 as recorded (large 64-bit times: since the first of the scan); ``labels`` (N,) uint32; ``colors`` (N, 3)
    uint8.
    """

    points: NDArray[np.float32]
    intensity: NDArray[np.float32] | None = None
    ring: NDArray[np.int32] | None = None
    time: NDArray[np.float32] | None = None
    labels: NDArray[np.uint32] | None = None
    colors: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise InputError(f"points must be (N, 3), found {self.points.shape}")
        for field in fields(self)[1:]:
            column = getattr(self, field.name)
            shape = (len(self.points), 3) if field.name == "colors" else (len(self.points),)
            if column is not None and column.shape != shape:
                raise InputError(f"{len(self.points)} points but {field.name} has shape {column.shape}")

    def __len__(self) -> int:
        return len(self.points)

    def finite(self) -> NDArray[np.bool_]:
        """(N,) bool: rows whose coordinates and intensity are all finite."""
        x, y, z = np.isfinite(self.points).T
        rows: NDArray[np.bool_] = x & y & z
        return rows if self.intensity is None else rows & np.isfinite(self.intensity)

    def select(self, rows: NDArray[Any]) -> PointFile:
        """Keep the points at ``rows`` (indices, in that order, or a (N,) bool mask)."""
        kept: dict[str, Any] = {
            field.name: None if (column := getattr(self, field.name)) is None else column[rows]
            for field in fields(self)
        }
        return replace(self, **kept)


def from_columns(columns: Mapping[str, NDArray[Any]], path: Path) -> PointFile:
    """Recognise columns by their names (any case), whatever their types; others are left out.

    Colours come from ``red``, ``green``, ``blue`` or from a packed ``rgb``/``rgba``. Raises ``InputError`` when x, y
    or z is missing, or when 64-bit coordinates are too large for a lidar frame in float32.
    """
    known = {name.lower(): column for name, column in columns.items()}
    found = {key: next((known[a] for a in aliases if a in known), None) for key, aliases in ALIASES.items()}
    missing = [axis for axis in "xyz" if found[axis] is None]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; expected x, y, z, found {', '.join(columns) or 'none'}")
    axes = [narrow(found[axis], path) for axis in "xyz"]  # type: ignore[arg-type]
    intensity, ring, time, labels = (found[key] for key in ("intensity", "ring", "time", "labels"))
    return PointFile(
        np.stack(axes, axis=1),
        None if intensity is None else intensity.astype(np.float32),
        None if ring is None else rings(ring, path),
        None if time is None else since_first(time),
        None if labels is None else whole(labels, "label", path).astype(np.uint32),
        _colors(known),
    )


def to_columns(cloud: PointFile) -> dict[str, NDArray[Any]]:
    """Columns by their written names, in a fixed order; colours become ``red``, ``green``, ``blue``."""
    columns: dict[str, NDArray[Any]] = dict(zip("xyz", np.ascontiguousarray(cloud.points.T, np.float32), strict=True))
    for key in ("intensity", "ring", "time", "labels"):
        if (column := getattr(cloud, key)) is not None:
            columns[ALIASES[key][0]] = column
    if cloud.colors is not None:
        columns |= dict(zip(("red", "green", "blue"), cloud.colors.T, strict=True))
    return columns


def narrow(values: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """Coordinates as float32; refuses 64-bit ones so large that metres would be lost in the rounding."""
    if values.dtype.itemsize > 4:
        largest = np.max(np.abs(values), initial=0, where=np.isfinite(values))
        if largest > LARGEST:
            raise InputError(
                f"{path}: coordinates reach {largest:.3g} m, expected a lidar frame (below {LARGEST:.0f} m); subtract "
                "the sensor's position from map coordinates first"
            )
    return values.astype(np.float32)


def rings(values: NDArray[Any], path: Path) -> NDArray[np.int32]:
    """Ring numbers in any numeric type as int32, -1 where NaN; fractions are an ``InputError``."""
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, -1)
    return whole(values, "ring", path).astype(np.int32)


def whole(values: NDArray[Any], name: str, path: Path) -> NDArray[np.int64]:
    """Ids stored in any numeric type as integers; raises ``InputError`` for fractions, NaN and ids below -1."""
    # A comparison with NaN is False: it counts as wrong.
    wrong = np.flatnonzero(~((values == np.floor(values)) & (values >= -1) & (values < 2**32)))
    if len(wrong):
        raise InputError(
            f"{path}: row {wrong[0]}: {name} is {values[wrong[0]]}, expected a whole number; "
            "check the number and the order of the columns"
        )
    return values.astype(np.int64)


def since_first(values: NDArray[Any]) -> NDArray[np.float32]:
    """Times as float32; large 64-bit ones (seconds since 1970, say) count from the first: float32 would blur them."""
    if values.dtype.itemsize > 4 and len(values) and np.nanmax(np.abs(values)) > 1000:
        values = values - np.nanmin(values)
    return values.astype(np.float32)


def _colors(known: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
    packed = next((known[name] for name in ("rgb", "rgba") if name in known), None)
    if packed is not None:
        # PCL keeps 0x00RRGGBB in the bits of a float32.
        bits = packed.astype(np.float32).view(np.uint32) if packed.dtype.kind == "f" else packed.astype(np.uint32)
        return np.stack([bits >> 16, bits >> 8, bits], axis=1).astype(np.uint8)
    parts = [known.get(name) for name in ("red", "green", "blue")]
    if any(part is None for part in parts):
        return None
    columns: NDArray[Any] = np.stack([part for part in parts if part is not None], axis=1)
    if columns.dtype == np.uint16:  # LAS
        columns = columns >> 8
    elif columns.dtype.kind == "f":  # 0..1
        columns = np.round(np.clip(columns, 0, 1) * 255)
    return columns.astype(np.uint8)
