"""Rigid transforms: rotations and translations as (4, 4) matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.frame import Matrix

Float = TypeVar("Float", np.float32, np.float64)


def transform(points: NDArray[Float], matrix: NDArray[Any]) -> NDArray[Float]:
    """Move ``points`` (N, 3) by ``matrix`` (4, 4). Computed in float64, returned in the precision of ``points``."""
    wide = np.asarray(matrix, np.float64)
    # contiguous float64 operands: mixed ones take ten times as long
    moved = points.astype(np.float64) @ np.ascontiguousarray(wide[:3, :3].T) + wide[:3, 3]
    return moved.astype(points.dtype, copy=False)


def invert(matrix: NDArray[Any]) -> Matrix:
    """The transform (4, 4) float64 that undoes ``matrix``; exact also when its axes are rounded."""
    return np.linalg.inv(np.asarray(matrix, np.float64))


def from_quaternion(wxyz: Sequence[float], translation: Sequence[float] = (0.0, 0.0, 0.0)) -> Matrix:
    """Rotation by a quaternion (w, x, y, z) of any length, then ``translation`` in metres: (4, 4) float64.

    Raises ``InputError`` when the quaternion has no direction.
    """
    length = float(np.linalg.norm(wxyz))
    if not length > 0 or not np.isfinite(length):
        raise InputError(f"quaternion {tuple(wxyz)} is not a rotation; expected four finite numbers, not all zero")
    w, x, y, z = (float(value) / length for value in wxyz)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def to_quaternion(matrix: NDArray[Any]) -> tuple[float, float, float, float]:
    """The rotation of ``matrix`` (4, 4) as a unit quaternion (w, x, y, z) with w not negative."""
    from scipy.spatial.transform import Rotation  # half a second to import

    turn = Rotation.from_matrix(np.asarray(matrix, np.float64)[:3, :3])
    x, y, z, w = turn.as_quat(canonical=True).tolist()
    return w, x, y, z


def rotation_z(angle: float) -> Matrix:
    """(3, 3) float64 counter-clockwise turn about the z axis by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
