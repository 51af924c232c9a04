"""The JSON tables of a PandaSet sequence: poses, times, intrinsics, GPS. Small, parsed once in a process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets import calibration
from lidistill.errors import InputError
from lidistill.sensing.frame import Matrix
from lidistill.sensing.rigid import from_quaternion

KEPT = 1024
"""Files whose content a process keeps: a sequence has eight lists of poses."""


def read_pose(path: Path, number: int) -> Matrix:
    """Entry ``number`` of a ``poses.json``: (4, 4) from the sensor to the world; ``InputError`` when there is none."""
    poses = _poses(path)
    if number >= len(poses):
        raise InputError(f"{path}: {len(poses)} poses, expected one for frame {number:02d}; copy the file again")
    pose: Matrix = poses[number]
    return pose


def read_time(path: Path, number: int) -> float | None:
    """Entry ``number`` of a ``timestamps.json`` in seconds; None when there is no file or no such entry."""
    times = _times(path)
    return times[number] if number < len(times) else None


@lru_cache(maxsize=KEPT)
def read_intrinsics(path: Path) -> Matrix:
    """(3, 3) of an ``intrinsics.json``."""
    fx, fy, cx, cy = _numbers(_read(path), ("fx", "fy", "cx", "cy"), str(path))
    return calibration.intrinsics([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], str(path))


def read_latitude(path: Path) -> float:
    """Degrees north at the first entry of a ``gps.json``."""
    (first, *_) = _list(path) or [None]
    return _numbers(first, ("lat",), f"{path}: entry 0")[0]


@lru_cache(maxsize=KEPT)
def _poses(path: Path) -> NDArray[np.float64]:
    """(entries, 4, 4)."""
    entries = _list(path)
    return np.array([_pose(entry, f"{path}: entry {number}") for number, entry in enumerate(entries)])


def _pose(entry: Any, where: str) -> Matrix:
    parts = entry if isinstance(entry, Mapping) else {}
    heading = _numbers(parts.get("heading"), ("w", "x", "y", "z"), f"{where}: heading")
    position = _numbers(parts.get("position"), ("x", "y", "z"), f"{where}: position")
    try:
        return from_quaternion(heading, position)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


@lru_cache(maxsize=KEPT)
def _times(path: Path) -> tuple[float, ...]:
    times = _list(path) if path.exists() else []
    if not all(isinstance(time, (int, float)) for time in times):
        raise InputError(f"{path}: expected a list of seconds, found {str(times)[:40]}; copy the file again")
    return tuple(map(float, times))


def _numbers(values: Any, keys: Sequence[str], where: str) -> list[float]:
    """The finite numbers under ``keys`` of a JSON object."""
    numbers = [values.get(key) if isinstance(values, Mapping) else None for key in keys]
    if not all(isinstance(number, (int, float)) and np.isfinite(number) for number in numbers):
        raise InputError(f"{where}: expected numbers {', '.join(keys)}, found {str(values)[:80]}; copy the file again")
    return [float(number) for number in numbers]  # type: ignore[arg-type]


def _list(path: Path) -> list[Any]:
    entries = _read(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list, found {str(entries)[:40]}; copy the file again")
    return entries


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy the sequence again") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); the file is damaged, copy it again") from None
