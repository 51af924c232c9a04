"""One sweep: rays from a moving sensor, range noise, lost pulses and intensities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lidistill.simulator.materials import MATERIAL, material_column
from lidistill.simulator.sensors import Lidar
from lidistill.simulator.textures import F32, take
from lidistill.simulator.weather import Weather
from lidistill.simulator.world import Moment

NEAREST = 1.6
"""Returns from the own vehicle are cut off below this distance, metres."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """N returns in the lidar frame at the reference time: ``points`` (N, 3), ``intensity`` (N,) float32, ``ring`` (N,),

    ``labels`` (N,) uint8 raw classes, ``time`` (N,) seconds from the reference time.
    """

    points: F32
    intensity: F32
    ring: NDArray[np.int32]
    labels: NDArray[np.uint8]
    time: F32


@cache
def _pattern(lidar: Lidar) -> tuple[F32, F32, NDArray[np.int32]]:
    """Ray directions (R, 3) in a frame with x ahead, their time as a share of the sweep in [-0.5, 0.5), their ring."""
    step = lidar.sweep / lidar.azimuths
    azimuth = np.radians(lidar.sweep / 2 - step * (np.arange(lidar.azimuths) + 0.5))  # clockwise, ahead in the middle
    elevation = np.radians(lidar.elevations)
    a, e = np.meshgrid(azimuth, elevation, indexing="ij")
    rays = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=-1).reshape(-1, 3)
    share = np.repeat(np.arange(lidar.azimuths) / lidar.azimuths - 0.5, len(elevation))
    ring = np.tile(np.arange(len(elevation), dtype=np.int32), lidar.azimuths)
    return rays.astype(np.float32), share.astype(np.float32), ring


def sweep(
    moment: Moment,
    weather: Weather,
    lidar: Lidar,
    vehicle: NDArray[np.float64],
    velocity: NDArray[np.float64],
    turn_rate: float,
    rng: np.random.Generator,
) -> Sweep:
    """Scan from a vehicle at ``vehicle`` (4, 4) -> world, moving at ``velocity`` (3,) m/s and ``turn_rate`` rad/s.

    The sensor moves on while it turns. Points are brought back to the reference time, when it looks ahead; other
    actors stand still for the length of the sweep.
    """
    rays, share, ring = _pattern(lidar)
    time = share / np.float32(lidar.rate)
    to_world = vehicle @ lidar.mount.matrix()
    jitter = rng.normal(0, 0.25 * np.radians(lidar.sweep / lidar.azimuths))
    angle = time * np.float32(turn_rate) + np.float32(jitter)
    directions = _turned(rays @ to_world[:3, :3].T.astype(np.float32), angle)
    origin = (to_world[:3, 3] + time[:, None] * velocity).astype(np.float32)
    hits = moment.cast(origin, directions)
    rows = np.flatnonzero((hits.face >= 0) & (hits.distance > NEAREST) & (hits.distance < lidar.max_range))
    face, distance, ray = hits.face[rows], hits.distance[rows], take(directions, rows)
    place = take(origin, rows) + ray * distance[:, None]
    seen = moment.classes(face, place)
    cosine = np.abs(np.einsum("ij,ij->i", take(moment.normals, face), ray))
    strength = _strength(seen.material, cosine, weather)
    haze = np.exp(np.float32(-2 * weather.haze) * distance)
    kept = _returns(lidar, seen.material, strength * haze, distance, rng)
    rows, distance, ray, place = rows[kept], distance[kept], take(ray, kept), take(place, kept)
    place = place + ray * rng.normal(0, lidar.noise, (len(rows), 1)).astype(np.float32)
    back = np.linalg.inv(vehicle @ lidar.to_vehicle())
    points = (place @ back[:3, :3].T + back[:3, 3]).astype(np.float32)
    intensity = _intensity(lidar, seen.material[kept], strength[kept], distance, rng)
    return Sweep(points, intensity, ring[rows], seen.label[kept], time[rows])


def _turned(vectors: F32, angle: F32) -> F32:
    c, s = np.cos(angle), np.sin(angle)
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([c * x - s * y, s * x + c * y, vectors[:, 2]], axis=1)


def _strength(material: NDArray[np.uint8], cosine: F32, weather: Weather) -> F32:
    """Share of the light sent back: rough surfaces keep some at grazing angles, water on the road takes half of it."""
    reflectivity = material_column("reflectivity")
    reflectivity[MATERIAL["asphalt"]] *= 1 - 0.5 * weather.wet
    retro = material_column("retro") > 0
    spread = np.where(retro[material], np.float32(1.0), np.maximum(cosine, np.float32(0.12)))
    return reflectivity[material] * spread


def _returns(
    lidar: Lidar, material: NDArray[np.uint8], strength: F32, distance: F32, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Rows whose pulse is detected: half of them where strength / distance^2 equals that of 10 % at ``reach``."""
    margin = strength / np.maximum(distance, 1) ** 2 * np.float32(lidar.reach**2 / 0.1)
    chance = margin**2 / (1 + margin**2) * (1 - material_column("loss")[material]) * np.float32(0.992)
    return np.flatnonzero(rng.random(len(chance), dtype=np.float32) < chance)


def _intensity(
    lidar: Lidar, material: NDArray[np.uint8], strength: F32, distance: F32, rng: np.random.Generator
) -> F32:
    retro = material_column("retro") > 0
    value = np.where(retro[material], np.float32(2.0) * strength, strength) ** np.float32(lidar.gamma)
    value = value * np.float32(lidar.scale) / (1 + (distance / np.float32(lidar.falloff)) ** 2)
    value = value * rng.lognormal(0, 0.18, len(value)).astype(np.float32)
    value = np.clip(value, 0, 1.0 if lidar.scale <= 1 else 255.0)
    return np.round(value).astype(np.float32) if lidar.steps else np.round(value, 2).astype(np.float32)
