"""The four rigs: a lidar each, and the cameras around it, mounted as on real vehicles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Forward


def _turn(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Rotation of a frame with x ahead, y left, z up; degrees; positive pitch looks down."""
    a, b, c = np.radians([yaw, pitch, roll])
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return np.asarray(z @ y @ x)


@dataclass(frozen=True)
class Mount:
    """Where a sensor sits on the vehicle: metres from the rear axle on the road (x ahead, y left), degrees."""

    position: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) sensor -> vehicle, the sensor's x axis ahead."""
        matrix = np.eye(4)
        matrix[:3, :3] = _turn(self.yaw, self.pitch, self.roll)
        matrix[:3, 3] = self.position
        return matrix


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; ``fov`` is its horizontal angle in degrees."""

    name: str
    height: int
    width: int
    fov: float
    mount: Mount

    def intrinsics(self) -> NDArray[np.float64]:
        """(3, 3), pixel centers on whole numbers."""
        focal = self.width / 2 / np.tan(np.radians(self.fov) / 2)
        return np.array([[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]])

    def to_vehicle(self) -> NDArray[np.float64]:
        """(4, 4) camera (x right, y down, z ahead) -> vehicle."""
        axes = np.eye(4)
        axes[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
        return self.mount.matrix() @ axes


@dataclass(frozen=True)
class Lidar:
    """``elevations`` in degrees, lowest first = ring 0; ``azimuths`` rays between -``sweep``/2 and ``sweep``/2 degrees.

    ``reach`` is the distance in metres at which half of the pulses return from a surface of 10 % reflectivity;
    ``noise`` the range deviation in metres; ``scale`` the intensity of a white surface near by, ``falloff`` the
    distance at which it has halved (the rest is compensated by the device), ``gamma`` its response, ``steps`` whether
    it is rounded to whole numbers.
    """

    name: str
    rate: float
    elevations: tuple[float, ...]
    azimuths: int
    sweep: float
    max_range: float
    reach: float
    noise: float
    scale: float
    falloff: float
    gamma: float
    steps: bool
    forward: Forward
    mount: Mount

    def to_vehicle(self) -> NDArray[np.float64]:
        """(4, 4) lidar frame -> vehicle."""
        axes = np.eye(4)
        angle = {"+x": 0.0, "+y": -90.0, "-x": 180.0, "-y": 90.0}[self.forward]
        axes[:3, :3] = _turn(angle, 0, 0)
        return self.mount.matrix() @ axes


@dataclass(frozen=True)
class Rig:
    """A vehicle's sensors."""

    lidar: Lidar
    cameras: tuple[Camera, ...]


def _linear(low: float, high: float, beams: int) -> tuple[float, ...]:
    return tuple(float(e) for e in np.linspace(low, high, beams))


def _uneven() -> tuple[float, ...]:
    """64 beams, one sixth of a degree apart around the horizon and up to several degrees at the rims."""
    rims = [-25, -19, -14.5, -13, -12, -11, -10, -9, -8, -7]
    middle = np.linspace(-6, 2, 49)
    upper = [3, 5, 8, 11, 15]
    return tuple(float(e) for e in [*rims, *middle, *upper])


SPINNING_32 = Rig(
    Lidar("city-spinning-32", 20, _linear(-30.0, 10.0, 32), 1084, 360, 100, 55, 0.02, 150, 80, 1.0, True, "+y",
          Mount((0.94, 0.0, 1.84), 0.4, 0.3, -0.2)),
    (
        Camera("front", 224, 448, 70, Mount((1.72, 0.02, 1.50), 0.3, 0.5, 0.2)),
        Camera("front_left", 224, 448, 70, Mount((1.58, 0.50, 1.51), 55.4, 0.3, 0.1)),
        Camera("front_right", 224, 448, 70, Mount((1.58, -0.49, 1.50), -56.0, 0.6, -0.3)),
        Camera("back", 224, 448, 110, Mount((0.02, 0.0, 1.57), 180.2, 0.4, 0.3)),
        Camera("back_left", 224, 448, 70, Mount((1.05, 0.48, 1.58), 108.7, 0.2, -0.2)),
        Camera("back_right", 224, 448, 70, Mount((1.06, -0.48, 1.56), -110.3, 0.5, 0.2)),
    ),
)  # fmt: skip
SPINNING_64 = Rig(
    Lidar("city-spinning-64", 10, _linear(-24.8, 2.0, 64), 1900, 360, 120, 60, 0.015, 1.0, 1e9, 0.8, False, "+x",
          Mount((0.76, 0.0, 1.73), -0.3, 0.2, 0.2)),
    (Camera("front", 192, 624, 81.5, Mount((1.03, 0.06, 1.65), -0.2, 0.3, 0.1)),),
)  # fmt: skip
UNEVEN_64 = Rig(
    Lidar("city-uneven-64", 10, _uneven(), 1800, 360, 200, 75, 0.02, 190, 45, 1.2, True, "+x",
          Mount((1.15, 0.0, 2.05), 0.2, -0.3, 0.1)),
    (
        Camera("front", 256, 448, 64, Mount((1.75, 0.0, 1.85), 0.1, 1.2, 0.0)),
        Camera("front_left", 256, 448, 64, Mount((1.60, 0.42, 1.86), 45.3, 1.0, 0.2)),
        Camera("front_right", 256, 448, 64, Mount((1.60, -0.42, 1.84), -45.1, 0.9, -0.1)),
        Camera("left", 256, 448, 64, Mount((1.10, 0.55, 1.86), 89.6, 1.1, 0.1)),
        Camera("right", 256, 448, 64, Mount((1.10, -0.55, 1.85), -90.2, 1.3, 0.2)),
        Camera("back", 256, 448, 64, Mount((0.45, 0.03, 1.88), 179.7, 1.0, -0.2)),
    ),
)  # fmt: skip
SOLID_STATE = Rig(
    Lidar("city-solid-state", 10, _linear(-10.0, 10.0, 150), 400, 60, 200, 140, 0.025, 255, 120, 0.6, True, "+x",
          Mount((1.85, 0.0, 1.55), 0.0, 1.5, 0.1)),
    (Camera("front", 256, 448, 66, Mount((1.35, 0.18, 1.45), 0.2, 0.8, -0.1)),),
)  # fmt: skip

RIGS = {
    "spinning-32": SPINNING_32,
    "spinning-64": SPINNING_64,
    "uneven-64": UNEVEN_64,
    "solid-state": SOLID_STATE,
}
"""Rigs by the name that ``lidistill simulate --sensor`` takes."""


def rig(name: str) -> Rig:
    """Look a rig up; raises ``InputError`` for an unknown name."""
    if name not in RIGS:
        raise InputError(f"there is no simulated sensor {name!r}{nearest(name, RIGS)}")
    return RIGS[name]
