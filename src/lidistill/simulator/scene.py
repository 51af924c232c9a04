"""A drive through a piece of city with one rig: what it records at each key frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.frame import CameraView
from lidistill.simulator import camera as cameras
from lidistill.simulator import city, lidar, sensors, weather
from lidistill.simulator.textures import F32
from lidistill.simulator.world import Moment, World

INTERVAL = 0.5
"""Seconds between key frames."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A city, its weather and a rig that drives through it. ``key`` seeds whatever is drawn per frame."""

    rig: sensors.Rig
    world: World
    weather: weather.Weather
    key: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SimulatedFrame:
    """One scan and its pictures, all at one reference time.

    ``points`` (N, 3) float32 in the lidar frame, ``intensity`` (N,) float32, ``ring`` (N,) int32, ``time`` (N,) float32
    seconds from the reference time, ``raw_labels`` (N,) uint8 (ids of ``city-16``); per camera ``images`` (H, W, 3)
    uint8 and ``image_labels`` (H, W) uint8 raw ids, 0 = sky. ``views`` carry the calibration.
    """

    points: F32
    intensity: F32
    ring: NDArray[np.int32]
    time: F32
    raw_labels: NDArray[np.uint8]
    images: dict[str, NDArray[np.uint8]]
    image_labels: dict[str, NDArray[np.uint8]]
    views: tuple[CameraView, ...]
    moment: Moment
    to_world: NDArray[np.float64]

    def cast(self, origins: NDArray[np.floating], directions: NDArray[np.floating]) -> tuple[F32, NDArray[np.int64]]:
        """First surface along rays given in the lidar frame: distance (N,) (inf = sky) and triangle (N,) (-1 = sky).

        ``origins`` (N, 3) or (3,) and ``directions`` (N, 3) of unit length.
        """
        turn, shift = self.to_world[:3, :3], self.to_world[:3, 3]
        hits = self.moment.cast(np.asarray(origins) @ turn.T + shift, np.asarray(directions) @ turn.T)
        return hits.distance, hits.face


def scene(sensor: str, style: str = "grid", index: int = 0, seed: int = 0, frames: int = 4) -> Scene:
    """Build scene ``index`` of a seed: the same city and weather for every sensor.

    Raises ``InputError`` for an unknown sensor or style, or when embreex is not installed.
    """
    rig = sensors.rig(sensor)
    rng = np.random.default_rng([seed, crc32(style.encode()), index])
    built = city.build(style, rng, INTERVAL * (frames - 1))
    return Scene(rig, World(built), weather.draw(rng), (seed, crc32(style.encode()), index, crc32(sensor.encode())))


def simulate_frame(scene: Scene, index: int, images: bool = True) -> SimulatedFrame:
    """Record key frame ``index`` (at ``index * INTERVAL`` seconds); without ``images`` the pictures are not drawn."""
    if index < 0:
        raise InputError(f"key frames count from 0, found {index}")
    rng = np.random.default_rng([*scene.key, index])
    t = index * INTERVAL
    world, rig = scene.world, scene.rig
    moment = world.at(t)
    vehicle = _vehicle(scene, index, rng)
    velocity, turn_rate = _motion(world, t)
    scan = lidar.sweep(moment, scene.weather, rig.lidar, vehicle, velocity, turn_rate, rng)
    to_world = vehicle @ rig.lidar.to_vehicle()
    pictures, labels = {}, {}
    for camera in rig.cameras if images else ():
        pictures[camera.name], labels[camera.name] = render(scene, camera, vehicle, moment, rng)
    views = tuple(
        CameraView(c.name, c.height, c.width, c.intrinsics(), from_lidar(rig, c), partial(_picture, pictures, c.name))
        for c in rig.cameras
    )
    return SimulatedFrame(
        scan.points, scan.intensity, scan.ring, scan.time, scan.labels, pictures, labels, views, moment, to_world
    )


def lidar_pose(scene: Scene, index: int) -> NDArray[np.float64]:
    """(4, 4) lidar -> world at the reference time of key frame ``index``, without recording it."""
    return _vehicle(scene, index, np.random.default_rng([*scene.key, index])) @ scene.rig.lidar.to_vehicle()


def render(
    scene: Scene,
    camera: sensors.Camera,
    vehicle: NDArray[np.float64],
    moment: Moment | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw what ``camera`` sees from a vehicle at ``vehicle`` (4, 4) -> world: image (H, W, 3), raw classes (H, W).

    ``moment`` defaults to the start of the drive; ``scene.world.ego_pose(t)`` gives poses along it.
    """
    moment = moment or scene.world.at(0.0)
    rng = rng or np.random.default_rng(scene.key)
    return cameras.draw(moment, scene.weather, camera, vehicle @ camera.to_vehicle(), rng)


def from_lidar(rig: sensors.Rig, camera: sensors.Camera) -> NDArray[np.float64]:
    """(4, 4) lidar frame -> camera frame."""
    return np.linalg.inv(camera.to_vehicle()) @ rig.lidar.to_vehicle()


def _picture(pictures: dict[str, NDArray[np.uint8]], name: str) -> NDArray[np.uint8]:
    if name not in pictures:
        raise InputError(f"camera {name!r}: this frame was simulated without images; call simulate_frame(images=True)")
    return pictures[name]


def _vehicle(scene: Scene, index: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(4, 4) vehicle -> world; the first that a key frame draws from its ``rng``."""
    return _swayed(scene.world.ego_pose(index * INTERVAL), rng)


def _swayed(pose: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The vehicle pitches and rolls a little on its springs."""
    pitch, roll = np.radians(rng.normal(0, (0.35, 0.25)))
    tilt = np.eye(4)
    tilt[:3, :3] = [[1, 0, pitch], [0, 1, -roll], [-pitch, roll, 1]]
    tilt[:3, :3] = np.linalg.qr(tilt[:3, :3])[0] * np.sign(np.diag(np.linalg.qr(tilt[:3, :3])[1]))
    return pose @ tilt


def _motion(world: World, t: float) -> tuple[NDArray[np.float64], float]:
    """Velocity (3,) in m/s and turn rate in rad/s of the ego vehicle."""
    before, after = world.ego_pose(t - 0.05), world.ego_pose(t + 0.05)
    change = before[:3, :3].T @ after[:3, :3]
    return (after[:3, 3] - before[:3, 3]) / 0.1, float(np.arctan2(change[1, 0], change[0, 0])) / 0.1
