"""Calibration matrices as given by people: checked before anything is projected with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lidistill.errors import InputError
from lidistill.sensing.frame import Matrix

ORTHONORMAL = 1e-3
"""Largest entry of R R^T - I that rounded printed matrices may have."""


def intrinsics(values: Sequence[Sequence[float]], where: str) -> Matrix:
    """(3, 3) float64 [[fx, s, cx], [0, fy, cy], [0, 0, 1]]; ``InputError`` (naming ``where``) for anything else."""
    matrix = _matrix(values, (3, 3), f"{where}: intrinsics")
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise InputError(
            f"{where}: intrinsics have focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g}, expected pixels above 0"
        )
    if not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1], atol=1e-6):
        raise InputError(f"{where}: intrinsics must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]], found {matrix.tolist()}")
    return matrix


def rigid(values: Sequence[Sequence[float]], where: str) -> Matrix:
    """(4, 4) float64 rotation and translation; ``InputError`` (naming ``where``) when it is singular or not rigid."""
    matrix = _matrix(values, (4, 4), where)
    rotation = matrix[:3, :3]
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-9):
        hint = "; it looks transposed" if np.allclose(matrix[:3, 3], 0) else ""
        raise InputError(f"{where}: the last row must be [0, 0, 0, 1], found {matrix[3].tolist()}{hint}")
    determinant = float(np.linalg.det(rotation))
    if abs(determinant) < 1e-9:
        raise InputError(f"{where}: the rotation is singular (determinant 0), expected a rotation matrix")
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > ORTHONORMAL:
        raise InputError(
            f"{where}: not a rigid transform, its axes are {error:.2g} off unit length and right angles (at most "
            f"{ORTHONORMAL}); expected a rotation and metres, without scale"
        )
    if determinant < 0:
        raise InputError(f"{where}: the rotation mirrors (determinant -1); flip the sign of one axis")
    return matrix


def _matrix(values: Any, shape: tuple[int, int], where: str) -> Matrix:
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where} must be {shape[0]} rows of {shape[1]} numbers, found rows that differ") from None
    if matrix.shape != shape:
        raise InputError(f"{where} must be {shape[0]} rows of {shape[1]} numbers, found shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise InputError(f"{where} holds NaN or infinite values, expected numbers")
    return matrix
