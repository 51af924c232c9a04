"""Pictures: rays through pixel centers, sun, shadows, sky light, reflections, haze, film curve and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lidistill.simulator.materials import MATERIAL, material_column
from lidistill.simulator.sensors import Camera
from lidistill.simulator.textures import F32, noise_table, take
from lidistill.simulator.weather import Weather
from lidistill.simulator.world import Moment

SMOOTHED = 0.08
"""At most this share of the pixels, those on the strongest edges, is drawn from two rays."""

_OFFSET = (0.45, 0.4)


def _film(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """A film-like response: a toe for contrast, a shoulder so that the sky does not burn out."""
    return value * (2.51 * value + 0.03) / (value * (2.43 * value + 0.59) + 0.14)


_STEPS, _TOP = 16384, 4.0
_CURVE = (255 * np.clip(_film(np.linspace(0, _TOP, _STEPS)), 0, 1) ** (1 / 2.2)).astype(np.uint8)


@lru_cache(maxsize=64)
def pixel_rays(camera: Camera, right: float = 0.0, down: float = 0.0) -> F32:
    """Unit vectors (height * width, 3) in the camera frame through the pixels, moved by (right, down) pixels.

    Pixel (u, v) is centered on whole numbers.
    """
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
    pixels = np.stack([u.ravel() + right, v.ravel() + down, np.ones(u.size)], 1)
    rays = pixels @ np.linalg.inv(camera.intrinsics()).T
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), np.float32)


def draw(
    moment: Moment, weather: Weather, camera: Camera, to_world: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture (H, W, 3) uint8 and the raw class of every pixel (H, W) uint8, 0 = sky; ``to_world`` = camera -> world.

    The class is that of the ray through the pixel's center, also where edges are smoothed.
    """
    turn, origin = to_world[:3, :3].T.astype(np.float32), to_world[:3, 3].astype(np.float32)
    light, label = _light(moment, weather, origin, pixel_rays(camera) @ turn)
    rows = _edges(light.reshape(camera.height, camera.width, 3))
    second, _ = _light(moment, weather, origin, pixel_rays(camera, *_OFFSET)[rows] @ turn)
    light[rows] = (light[rows] + second) / 2
    image = _develop(light.reshape(camera.height, camera.width, 3), weather, rng)
    return image, label.reshape(camera.height, camera.width)


def _edges(light: F32) -> NDArray[np.intp]:
    """Pixels that differ most from a neighbour, as flat rows."""
    gray = np.minimum(light[..., 1], 1)
    contrast = np.zeros_like(gray)
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        step = np.abs(gray[a] - gray[b])
        contrast[a] = np.maximum(contrast[a], step)
        contrast[b] = np.maximum(contrast[b], step)
    flat = contrast.ravel()
    rank = int(len(flat) * (1 - SMOOTHED))
    return np.flatnonzero(flat > max(float(np.partition(flat, rank)[rank]), 0.02))


def _light(moment: Moment, weather: Weather, origin: F32, directions: F32) -> tuple[F32, NDArray[np.uint8]]:
    """What comes in along each ray: linear light (N, 3) and raw class (N,), 0 = sky."""
    hits = moment.cast(origin, directions)
    light = np.empty((len(directions), 3), np.float32)
    label = np.zeros(len(directions), np.uint8)
    void, solid = np.flatnonzero(hits.face < 0), np.flatnonzero(hits.face >= 0)
    light[void] = weather.sky(take(directions, void))
    seen, distance = take(directions, solid), hits.distance[solid, None]
    color, label[solid] = _shade(moment, weather, hits.face[solid], origin + seen * distance, seen)
    clear = np.exp(distance * np.float32(-weather.haze))
    color -= weather.horizon
    color *= clear
    color += weather.horizon
    light[solid] = color
    return light, label


def _shade(
    moment: Moment, weather: Weather, face: NDArray[np.int64], points: F32, seen: F32
) -> tuple[F32, NDArray[np.uint8]]:
    look = moment.look(face, points)
    normal = take(moment.normals, face)
    facing = np.einsum("ij,ij->i", normal, seen)
    normal *= -np.sign(facing)[:, None]
    up = normal[:, 2]
    ambient = weather.zenith * np.float32(0.6) + weather.horizon * np.float32(0.32)
    bounce = ambient * np.float32(0.35) + weather.sunlight * np.float32(0.12)
    light = (0.5 + 0.5 * up)[:, None] * (ambient - bounce) + bounce
    if weather.sunlight.max() > 0.2:
        lit = normal @ weather.sun
        rows = np.flatnonzero(lit > 0)
        rows = rows[~_blocked(moment, points, normal, rows, weather.sun)]
        light += _only(lit, rows)[:, None] * weather.sunlight
    else:  # no sun: floors that have a roof over them get less sky
        rows = np.flatnonzero(up > 0.3)
        rows = rows[_blocked(moment, points, normal, rows, np.array([0.12, 0.08, 0.99], np.float32))]
        light[rows] *= np.float32(0.62)
    light *= look.color
    gloss = material_column("gloss")
    gloss[MATERIAL["asphalt"]] += 0.5 * weather.wet
    rows = np.flatnonzero((gloss > 0.1)[look.material])
    cosine = np.abs(facing[rows])
    mirror = take(seen, rows) + 2 * cosine[:, None] * take(normal, rows)
    share = gloss[look.material[rows]] * (np.float32(0.14) + np.float32(0.86) * (1 - cosine) ** 4)
    open_sky = np.clip(mirror[:, 2] * 4 - 0.4, 0.15, 1)[:, None]
    light[rows] += share[:, None] * (weather.sky(mirror) * open_sky - light[rows])
    if weather.dark > 0:
        lamp = (look.material == MATERIAL["lamp"]) * np.float32(1.2) + look.glow
        light += lamp[:, None] * np.array((0.34, 0.26, 0.15), np.float32) * np.float32(weather.dark)
    return light, look.label


def _only(values: F32, rows: NDArray[np.intp]) -> F32:
    """``values`` at ``rows``, zero elsewhere."""
    kept = np.zeros_like(values)
    kept[rows] = values[rows]
    return kept


def _blocked(moment: Moment, points: F32, normal: F32, rows: NDArray[np.intp], toward: F32) -> NDArray[np.bool_]:
    """Whether something stands between each of ``rows`` and the light."""
    start = take(points, rows) + take(normal, rows) * np.float32(0.02)
    return moment.blocked(start, np.ascontiguousarray(np.broadcast_to(toward, start.shape)))


def _develop(light: F32, weather: Weather, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, grain, film curve and gamma."""
    height, width, _ = light.shape
    shift = rng.integers(0, 512, 2)
    rows, columns = (np.arange(height) * 7 + shift[0]) & 511, (np.arange(width) * 11 + shift[1]) & 511
    grain = noise_table()[rows[:, None], columns][..., None] * np.float32(0.008)
    value = light * np.float32(weather.exposure)
    value *= 1 + grain
    value += grain * np.float32(0.1)
    value *= np.float32((_STEPS - 1) / _TOP)
    return np.asarray(_CURVE[np.clip(value, 0, _STEPS - 1).astype(np.int16)])
