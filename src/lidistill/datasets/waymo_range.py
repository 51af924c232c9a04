"""Waymo's range images: from a row and a column of the picture that a lidar took to a point of the vehicle's frame.

A pixel of row i and column j in an image of H x W has the inclination of beam i, the highest first, and the azimuth
pi (1 - (2 j + 1) / W) minus the yaw at which the lidar is mounted, so that the middle column looks ahead. The roof
lidar turns for 0.1 s while the vehicle moves: ``lidar_pose`` has the vehicle's pose in the world for every pixel, with
which its point goes to the world and back into the vehicle at the time of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.frame import Matrix
from lidistill.sensing.rigid import invert, transform


@dataclass(frozen=True, eq=False)
class Beams:
    """How the roof lidar is mounted: ``mount`` (4, 4) to the vehicle; ``inclinations``, radians from the lowest up.

    Those are one a beam, or the lowest and highest edge of evenly spaced beams.
    """

    mount: Matrix
    inclinations: NDArray[np.float64]
    even: bool

    def rows(self, height: int, where: str) -> NDArray[np.float64]:
        """(height,) inclination of each row, the highest first."""
        if self.even:
            low, high = self.inclinations.tolist()
            rows: NDArray[np.float64] = high - (np.arange(height) + 0.5) / height * (high - low)
            return rows
        if len(self.inclinations) != height:
            raise InputError(
                f"{where}: {height} rows, but the calibration has {len(self.inclinations)} beams; copy both"
            )
        return self.inclinations[::-1]


def image_of(values: Any, shape: Any, channels: int, where: str) -> NDArray[Any]:
    """(H, W, channels or more) of a flat list and its shape; ``InputError`` when they do not agree."""
    sizes = tuple(shape.tolist()) if isinstance(shape, np.ndarray) else ()
    fits = len(sizes) == 3 and isinstance(values, np.ndarray) and values.size == np.prod(sizes) and min(sizes) > 0
    if not fits or sizes[2] < channels:
        count = values.size if isinstance(values, np.ndarray) else "no"
        raise InputError(
            f"{where}: {count} values of shape {sizes}, expected rows x columns x {channels}; copy the file again"
        )
    image: NDArray[Any] = values.reshape(sizes)
    return image


def points_of(
    image: NDArray[np.float32],
    beams: Beams,
    where: str,
    poses: NDArray[np.float32] | None = None,
    vehicle: Matrix | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points (N, 3) in the vehicle's frame and their pixels (N,), row by row; pixels without a return have range 0.

    ``image`` (H, W, 4): range in metres, intensity, elongation, in a zone without labels. ``poses`` (H, W, 6): roll,
    pitch, yaw, x, y, z of the vehicle in the world; ``vehicle`` (4, 4), its pose at the time of the frame, is then
    needed.
    """
    height, width = image.shape[:2]
    if poses is not None and poses.shape != (height, width, 6):
        raise InputError(f"{where}: poses of {poses.shape} pixels for a range image of {image.shape}; copy both again")
    pixels = np.flatnonzero(image[..., 0] > 0)
    row, column = np.divmod(pixels, width)
    distance = image[..., 0].ravel()[pixels].astype(np.float64)
    up = beams.rows(height, where)
    around = np.pi * (1 - (2 * np.arange(width) + 1) / width) - np.arctan2(beams.mount[1, 0], beams.mount[0, 0])
    flat = distance * np.cos(up)[row]
    local = np.stack([flat * np.cos(around)[column], flat * np.sin(around)[column], distance * np.sin(up)[row]], axis=1)
    points = transform(local, beams.mount)
    if poses is not None and vehicle is not None:
        points = transform(_moved(points, poses.reshape(-1, 6)[pixels]), invert(vehicle))
    return points.astype(np.float32), pixels


def _moved(points: NDArray[np.float64], poses: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each of ``points`` (N, 3) moved by its own pose (N, 6): turned by roll about x, pitch about y, yaw about z."""
    angles = np.ascontiguousarray(poses[:, :3].T)  # float32, as recorded: 10 micrometres at 75 m, half the time
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles), np.sin(angles)
    x, y, z = points.T
    y, z = cr * y - sr * z, sr * y + cr * z
    x, z = cp * x + sp * z, cp * z - sp * x
    x, y = cy * x - sy * y, sy * x + cy * y
    return np.stack([x, y, z], axis=1) + poses[:, 3:]
