"""``Frame``: one lidar scan and the cameras that saw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

IGNORE = 255
"""Train id of a point that has no class."""

Forward = Literal["+x", "-x", "+y", "-y"]
Points = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Sensor:
    """A lidar model: what a student or a picture must know of it. ``None`` means unknown.

    ``rate`` in Hz; ``fov`` = (lowest, highest) elevation in degrees; ``max_range`` in metres;
    ``intensity`` = (mean, standard deviation) of the raw values; ``forward`` is the axis of the lidar
    frame along which the vehicle drives (z is up in every frame).
    """

    name: str
    rate: float | None = None
    rings: int | None = None
    fov: tuple[float, float] | None = None
    max_range: float | None = None
    intensity: tuple[float, float] | None = None
    forward: Forward = "+x"


@dataclass(frozen=True)
class Distortion:
    """Lens model: ``radtan`` (k1, k2, p1, p2[, k3[, k4, k5, k6]]) or ``fisheye`` (Kannala-Brandt k1..k4)."""

    model: Literal["radtan", "fisheye"]
    coefficients: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class CameraView:
    """One picture and where it was taken from.

    ``height``, ``width`` in pixels; ``intrinsics`` (3, 3) float64; ``from_lidar`` (4, 4) float64 takes lidar
    coordinates to camera coordinates (x right, y down, z forward, metres). ``load`` decodes the picture;
    ``timestamp`` in seconds, on the clock of the frame's.
    """

    name: str
    height: int
    width: int
    intrinsics: Matrix
    from_lidar: Matrix
    load: Callable[[], NDArray[np.uint8]]
    distortion: Distortion | None = None
    timestamp: float | None = None

    def image(self) -> NDArray[np.uint8]:
        """Decode the picture: (height, width, 3) uint8 RGB. Raises ``InputError`` when the size differs."""
        image = self.load()
        if image.shape != (self.height, self.width, 3):
            raise InputError(
                f"camera {self.name!r}: the image has shape {image.shape}, the calibration says "
                f"({self.height}, {self.width}, 3); check the image size of this camera"
            )
        return image


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the lidar was at the time of a scan: ``to_world`` (4, 4) float64 takes its coordinates to those of a drive.

    ``drive`` is the name of the drive, with that of its data set; poses of one drive are in one world, metres.
    """

    drive: str
    to_world: Matrix


@dataclass(frozen=True, eq=False)
class Frame:
    """One scan. Immutable; arrays are shared, never written to; images decode only when asked.

    ``points`` (N, 3) float32, metres, in the data set's own lidar frame, z up; ``intensity`` (N,) float32 as
    recorded; ``ring`` (N,) and ``time`` (N,) optional; ``labels`` (N,) uint8 train ids, ``IGNORE`` = no class;
    ``token`` unique and stable; ``timestamp`` in seconds; ``pose`` where it is known.
    """

    points: Points
    intensity: NDArray[np.float32]
    sensor: Sensor
    token: str
    timestamp: float | None = None
    ring: NDArray[np.int32] | None = None
    time: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None
    views: tuple[CameraView, ...] = ()
    pose: Pose | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise InputError(f"{self.token}: points must be (N, 3), found {self.points.shape}")
        for name in ("intensity", "ring", "time", "labels"):
            column = getattr(self, name)
            if column is not None and column.shape != (len(self.points),):
                raise InputError(f"{self.token}: {len(self.points)} points but {name} has shape {column.shape}")

    def __len__(self) -> int:
        return len(self.points)

    def select(self, rows: NDArray[Any]) -> Frame:
        """Keep the points at ``rows`` (indices, in that order, or a (N,) bool mask)."""
        return replace(
            self,
            points=self.points[rows],
            intensity=self.intensity[rows],
            ring=None if self.ring is None else self.ring[rows],
            time=None if self.time is None else self.time[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

    def view(self, name: str) -> CameraView:
        """Return the camera called ``name``; raises ``InputError`` naming those there are."""
        for view in self.views:
            if view.name == name:
                return view
        raise InputError(f"{self.token}: no camera {name!r}; there are {[v.name for v in self.views]}")
