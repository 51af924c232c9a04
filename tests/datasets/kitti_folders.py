"""Tiny scans, labels, pictures and calibration files in the forms of the KITTI family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 60
K = np.array([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]])
SHIFT = np.array([1.5, -0.3, 0.005])
"""Fourth column of the projection: K^-1 SHIFT moves camera 0 to this camera."""
RECTIFY = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
"""A rotation that no reader may forget."""
ROTATION = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
"""From the axes of the lidar (x ahead, z up) to those of the camera (z ahead, y down)."""
TRANSLATION = np.array([0.1, 0.2, -0.3])


def scan(path: Path, points: int = 20, seed: int = 0) -> np.ndarray:
    """Write rows of x y z intensity in front of the lidar; returns them."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.uniform((5, -4, -2), (40, 4, 2), (points, 3)), rng.uniform(0, 1, points)])
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.astype("<f4").tofile(path)
    return rows.astype(np.float32)


def labels(path: Path, raw: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw.astype("<u4").tofile(path)


def image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(path)


def text(values: np.ndarray) -> str:
    return " ".join(f"{value:.12e}" for value in np.ravel(values))


def projection(shift: np.ndarray = SHIFT) -> np.ndarray:
    return np.column_stack([K, shift])


def pose() -> np.ndarray:
    return np.column_stack([ROTATION, TRANSLATION])


def expected_pixels(points: np.ndarray, shift: np.ndarray = SHIFT) -> np.ndarray:
    """By the formula of the documentation: P R_rect (R p + T)."""
    rectified = (points @ ROTATION.T + TRANSLATION) @ RECTIFY.T
    homogeneous = rectified @ K.T + shift
    return homogeneous[:, :2] / homogeneous[:, 2:]


def write_text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path
