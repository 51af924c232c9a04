"""Pictures: rays through pixel centers, sun, shadows, sky light, reflections, haze, tone curve and sensor noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.simulator.materials import MATERIAL, material_column
from lidistill.simulator.textures import F32, noise_table
from lidistill.simulator.weather import Weather
from lidistill.simulator.world import Moment



def _film(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """A film-like response: a toe for contrast, a shoulder so that the sky does not burn out."""
    return value * (2.51 * value + 0.03) / (value * (2.43 * value + 0.59) + 0.14)


_STEPS, _TOP = 16384, 4.0
_CURVE = (255 * np.clip(_film(np.linspace(0, _TOP, _STEPS)), 0, 1) ** (1 / 2.2)).astype(np.uint8)


def pixel_rays(intrinsics: NDArray[np.float64], height: int, width: int) -> F32:
    """Unit vectors (height * width, 3) through the pixels, camera frame; pixel (u, v) is centered on (u, v)."""
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    rays = np.stack([u.ravel(), v.ravel(), np.ones(height * width)], 1) @ np.linalg.inv(intrinsics).T
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


def draw(
    moment: Moment,
    weather: Weather,
    intrinsics: NDArray[np.float64],
    size: tuple[int, int],
    to_world: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture (H, W, 3) uint8 and the raw class of every pixel (H, W) uint8, 0 = sky; ``to_world`` = camera -> world."""
    height, width = size
    rotation, origin = to_world[:3, :3].astype(np.float32), to_world[:3, 3].astype(np.float32)
    directions = pixel_rays(intrinsics, height, width) @ rotation.T
    hits = moment.cast(origin, directions)
    solid = np.flatnonzero(hits.face >= 0)
    light = np.empty((len(directions), 3), np.float32)
    label = np.zeros(len(directions), np.uint8)
    sky = np.flatnonzero(hits.face < 0)
    light[sky] = weather.sky(directions[sky])
    seen, distance = directions[solid], hits.distance[solid]
    light[solid], label[solid] = _shade(moment, weather, hits.face[solid], origin + seen * distance[:, None], seen)
    clear = np.exp(-np.float32(weather.haze) * distance)[:, None]
    light[solid] = light[solid] * clear + weather.horizon * (1 - clear)
    return _develop(light.reshape(height, width, 3), weather, rng), label.reshape(height, width)


def _shade(
    moment: Moment, weather: Weather, face: NDArray[np.int64], points: F32, seen: F32
) -> tuple[F32, NDArray[np.uint8]]:
    look = moment.look(face, points)
    normal = moment.normals[face]
    facing = np.einsum("ij,ij->i", normal, seen)
    normal = np.where((facing > 0)[:, None], -normal, normal)
    up = normal[:, 2]
    start = points + normal * np.float32(0.02)
    ambient = weather.zenith * np.float32(0.6) + weather.horizon * np.float32(0.32)
    bounce = ambient * np.float32(0.35) + weather.sunlight * np.float32(0.12)
    half = (0.5 + 0.5 * up)[:, None]
    light = ambient * half + bounce * (1 - half)
    if weather.sunlight.max() > 0.2:
        lit = np.maximum(normal @ weather.sun, 0)
        rows = np.flatnonzero(lit > 0)
        toward = np.ascontiguousarray(np.broadcast_to(weather.sun, (len(rows), 3)))
        lit[rows[moment.blocked(start[rows], toward)]] = 0
        light += lit[:, None] * weather.sunlight
    else:  # no sun: what has a roof over it gets less sky
        rows = np.flatnonzero(up > -0.2)
        toward = np.ascontiguousarray(np.broadcast_to(np.array([0.12, 0.08, 0.99], np.float32), (len(rows), 3)))
        light[rows[moment.blocked(start[rows], toward)]] *= np.float32(0.62)
    color = look.color * light
    gloss = material_column("gloss")
    gloss[MATERIAL["asphalt"]] += 0.5 * weather.wet
    shine = gloss[look.material]
    rows = np.flatnonzero(shine > 0.1)
    cosine = np.abs(facing[rows])
    mirror = seen[rows] + 2 * cosine[:, None] * normal[rows]
    share = shine[rows] * (np.float32(0.14) + np.float32(0.86) * (1 - cosine) ** 4)
    open_sky = np.clip(mirror[:, 2] * 4 - 0.4, 0.15, 1)[:, None]
    color[rows] += share[:, None] * (weather.sky(mirror) * open_sky - color[rows])
    if weather.dark > 0:
        lamp = (look.material == MATERIAL["lamp"]) * np.float32(1.2) + look.glow
        color += lamp[:, None] * np.array((0.34, 0.26, 0.15), np.float32) * np.float32(weather.dark)
    return color, look.label


def _develop(light: F32, weather: Weather, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, a soft shoulder, grain, gamma."""
    height, width, _ = light.shape
    value = light * np.float32(weather.exposure)
    shift = rng.integers(0, 512, 2)
    rows, columns = (np.arange(height) * 7 + shift[0]) & 511, (np.arange(width) * 11 + shift[1]) & 511
    grain = noise_table()[rows[:, None], columns][..., None] * np.float32(0.008)
    value = value * (1 + grain) + grain * np.float32(0.1)
    return _CURVE[np.clip(value * np.float32((_STEPS - 1) / _TOP), 0, _STEPS - 1).astype(np.int16)]
