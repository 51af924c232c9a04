"""Cameras: from points to pixels through a pinhole, radial-tangential or fisheye lens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.frame import CameraView, Distortion
from lidistill.sensing.rigid import transform

Array = NDArray[np.float64]


def project(points: NDArray[Any], view: CameraView) -> tuple[Array, Array]:
    """Where ``points`` (N, 3) in the lidar frame appear in ``view``: pixels (N, 2) = (u right, v down), depth (N,).

    Both float64. Pixels are nan for what the lens cannot see: behind the camera, or outside the cone in which the
    distortion is one-to-one (beyond it the polynomial folds back into the picture). ``depth`` in metres is the
    coordinate along the optical axis; for a fisheye lens, which may see beyond 90 degrees where that coordinate is
    negative, it is the distance from the camera. Raises ``InputError`` for a wrong number of coefficients.
    """
    local = transform(np.asarray(points, np.float64), view.from_lidar)
    lens = view.distortion
    if lens is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            plane, depth = local[:, :2] / np.where(local[:, 2:] > 0, local[:, 2:], np.nan), local[:, 2]
    elif lens.model == "fisheye":
        plane, depth = _fisheye(local, lens), np.linalg.norm(local, axis=1)
    else:
        plane, depth = _radtan(local, lens), local[:, 2]
    return plane @ view.intrinsics[:2, :2].T + view.intrinsics[:2, 2], depth


def in_image(
    pixels: Array, depth: Array, height: int, width: int, min_depth: float = 1.0, margin: float = 1.0
) -> NDArray[np.bool_]:
    """Which points (N,) fall into the picture: depth > ``min_depth``, 0 < u < width - ``margin``, v likewise.

    The defaults are the rule of ScaLR for nuScenes and SemanticKITTI; for PandaSet it takes 0 for both.
    """
    u, v = pixels[:, 0], pixels[:, 1]
    # nan compares as false
    return (depth > min_depth) & (u > 0) & (u < width - margin) & (v > 0) & (v < height - margin)


def _radtan(local: Array, lens: Distortion) -> Array:
    """Brown-Conrady model with the rational denominator (k4, k5, k6) when there is one: (N, 2) on the image plane."""
    k = _coefficients(lens, (4, 5, 8))
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = local[:, :2] / np.where(local[:, 2:] > 0, local[:, 2:], np.nan)
    r2 = (plane**2).sum(axis=1)
    # huge powers of points at 90 degrees would overflow
    r2 = np.where(r2 < _radtan_limit(k) ** 2, r2, np.nan)
    numerator, denominator = _radial(k)
    p1, p2 = k[2:4]
    x, y = plane.T
    tangential = np.stack([2 * p1 * x * y + p2 * (r2 + 2 * x**2), p1 * (r2 + 2 * y**2) + 2 * p2 * x * y], axis=1)
    distorted: Array = plane * (numerator(r2) / denominator(r2))[:, None] + tangential
    return distorted


def _radial(k: tuple[float, ...]) -> tuple[Polynomial, Polynomial]:
    """Numerator and denominator of the radial factor in r squared."""
    k1, k2, _, _, k3, k4, k5, k6 = (*k, *[0.0] * (8 - len(k)))
    return Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, k4, k5, k6])


@lru_cache(maxsize=256)
def _radtan_limit(k: tuple[float, ...]) -> float:
    """Tangent of the angle from the axis up to which the distorted radius r n(r²) / d(r²) grows."""
    n, d = _radial(k)
    s = Polynomial([0.0, 1.0])
    slope = n * d + 2 * s * (n.deriv() * d - n * d.deriv())
    return float(np.sqrt(min(_first_root(slope), _first_root(d))))


def _fisheye(local: Array, lens: Distortion) -> Array:
    """Kannala-Brandt model: the distance from the image centre is a polynomial of the angle from the axis."""
    k = _coefficients(lens, (4,))
    across = np.hypot(local[:, 0], local[:, 1])
    angle = np.arctan2(across, local[:, 2])
    angle = np.where(angle < _fisheye_limit(k), angle, np.nan)
    a2 = angle**2
    radius = angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3]))))
    return local[:, :2] * (radius / np.maximum(across, np.finfo(np.float64).tiny))[:, None]


@lru_cache(maxsize=256)
def _fisheye_limit(k: tuple[float, ...]) -> float:
    """Angle from the axis, at most pi, up to which the distance from the image centre grows."""
    slope = Polynomial([1.0, 3 * k[0], 5 * k[1], 7 * k[2], 9 * k[3]])
    return float(min(np.sqrt(_first_root(slope)), np.pi))


def _first_root(polynomial: Polynomial) -> float:
    """Smallest positive real root, infinity when there is none."""
    roots = polynomial.trim().roots()
    real = roots[np.abs(roots.imag) < 1e-9 * np.maximum(np.abs(roots), 1)].real
    return float(min(real[real > 0], default=np.inf))


def _coefficients(lens: Distortion, lengths: tuple[int, ...]) -> tuple[float, ...]:
    if len(lens.coefficients) not in lengths:
        raise InputError(
            f"{lens.model} distortion takes {' or '.join(map(str, lengths))} coefficients, "
            f"found {len(lens.coefficients)}; check the camera's calibration"
        )
    return lens.coefficients
