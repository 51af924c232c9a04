"""Procedural looks: what class, material and colour a hit has. Camera and lidar ask the same function, so they agree.

Windows, road markings, verges and parking bays are drawn here and not as geometry: nothing lies coplanar on anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.simulator import buildings, mesh
from lidistill.simulator.materials import MATERIAL, raw_id
from lidistill.simulator.street import GRASS, SOIL, Street

F32 = NDArray[np.float32]
Column = Callable[[str], NDArray[Any]]
"""A column of all triangles of a city by its name in ``Mesh``."""


@dataclass(frozen=True, eq=False)
class SurfaceTable:
    """``buildings.Surfaces`` as arrays: origin (S, 3), axis (S, 2), shape (S, 12), colors (S, 4, 3), all float32."""

    origin: F32
    axis: F32
    shape: F32
    colors: F32


@dataclass(frozen=True, eq=False)
class Classes:
    """What the lidar asks, per hit: raw class (N,) uint8, material (N,) uint8."""

    label: NDArray[np.uint8]
    material: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Look(Classes):
    """What the camera asks in addition: linear colour (N, 3) float32, own light (N,) float32."""

    color: F32
    glow: F32


def take(table: F32, rows: NDArray[np.integer]) -> F32:
    """``table[rows]``, four times as fast for tables with short rows."""
    return np.take(table, rows, axis=0)


@cache
def noise_table() -> F32:
    """A tile of smooth noise (512, 512) float32 with mean 0 and deviation 1, four octaves."""
    rng = np.random.default_rng(7)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512), indexing="ij")) * 512
    spectrum = np.fft.fft2(rng.normal(size=(512, 512))) / np.maximum(frequency, 2.0) ** 1.1
    total = np.real(np.fft.ifft2(spectrum))
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def noise(u: F32, v: F32, scale: float) -> F32:
    """Noise at (u, v) metres with ``scale`` samples per metre."""
    row, column = (u * np.float32(scale)).astype(np.int32) & 511, (v * np.float32(scale)).astype(np.int32) & 511
    return np.asarray(noise_table()[row, column])


def _hash(a: NDArray[np.integer], b: NDArray[np.integer], c: NDArray[np.integer] | int = 0) -> F32:
    """A repeatable random number in [0, 1) per integer triple."""
    x = a.astype(np.uint32) * np.uint32(374761393) + b.astype(np.uint32) * np.uint32(668265263)
    x = x + np.asarray(c).astype(np.uint32) * np.uint32(2246822519)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(1274126177)
    return np.asarray((x ^ (x >> np.uint32(16))) & np.uint32(0xFFFF), np.float32) / np.float32(65536)


def classes(column: Column, street: Street, table: SurfaceTable, face: NDArray[np.integer], points: F32) -> Classes:
    """Classes and materials of N hits: ``face`` (N,) triangles, ``points`` (N, 3) float32 where they hit."""
    out = Classes(column("label")[face], column("material")[face])
    _texture(out, column, street, table, face, points)
    return out


def look(column: Column, street: Street, table: SurfaceTable, face: NDArray[np.integer], points: F32) -> Look:
    """What N hits look like: ``face`` (N,) triangles, ``points`` (N, 3) float32 where they hit."""
    glow = np.zeros(len(face), np.float32)
    out = Look(column("label")[face], column("material")[face], take(column("color"), face), glow)
    _texture(out, column, street, table, face, points)
    return out


def _texture(
    out: Classes, column: Column, street: Street, table: SurfaceTable, face: NDArray[np.integer], points: F32
) -> None:
    """Every texture sets classes and materials and, in a ``Look``, paints."""
    texture, surface = column("texture")[face], column("surface")
    present = np.flatnonzero(np.bincount(texture, minlength=8))
    for kind in present:
        rows = np.flatnonzero(texture == kind)
        hit = take(points, rows)
        if kind == mesh.ROAD:
            _road(out, rows, street, hit)
        elif kind == mesh.BLOCK:
            _block(out, rows, street, hit)
        elif kind == mesh.FACADE:
            _facade(out, rows, table, surface[face[rows]], hit)
        elif isinstance(out, Look):
            if kind == mesh.ISLAND:
                out.color[rows] = _paving(hit, 0.4, (0.36, 0.34, 0.32))
            elif kind == mesh.SIGN:
                _sign(out, rows, table, surface[face[rows]], hit)
            elif kind == mesh.BRICK:
                _brick(out, rows, table, surface[face[rows]], hit)
            elif kind == mesh.TILES:
                _tiles(out, rows, table, surface[face[rows]], hit)


def _set(out: Classes, rows: NDArray[np.intp], label: str, material: str) -> None:
    out.label[rows] = raw_id(label)
    out.material[rows] = MATERIAL[material]


def _street_coordinates(street: Street, hit: F32) -> tuple[F32, F32]:
    s = hit[:, 0]
    return s, hit[:, 1] - street.bend(s).astype(np.float32)


def _paving(hit: F32, size: float, color: tuple[float, float, float]) -> F32:
    u, v = hit[:, 0] / np.float32(size), hit[:, 1] / np.float32(size)
    iu, iv = np.floor(u), np.floor(v)
    joint = (u - iu < 0.05) | (v - iv < 0.05)
    tone = 0.88 + 0.18 * _hash(iu.astype(np.int32), iv.astype(np.int32)) + 0.05 * noise(hit[:, 0], hit[:, 1], 6)
    tone = np.where(joint, tone * np.float32(0.72), tone)
    return np.asarray(tone[:, None] * np.array(color, np.float32))


def _lawn(hit: F32) -> F32:
    fine, wide = noise(hit[:, 0], hit[:, 1], 23), noise(hit[:, 0], hit[:, 1], 1.7)
    tone = (1 + 0.20 * fine + 0.16 * wide)[:, None]
    dry = np.clip(0.25 * wide, 0, 0.5)[:, None]
    green, straw = np.array((0.13, 0.20, 0.05), np.float32), np.array((0.26, 0.22, 0.09), np.float32)
    return np.asarray(tone * (green * (1 - dry) + straw * dry), np.float32)


def _road(out: Classes, rows: NDArray[np.intp], street: Street, hit: F32) -> None:
    s, d = _street_coordinates(street, hit)
    gap, nearest = street.crossing_gap(s, d)
    width = np.abs(d)
    across = width - np.float32(street.half)
    wear = noise(hit[:, 0], hit[:, 1], 14)
    main = (across < 0) & (gap > 0)
    bay = main & (across > -street.parking) & (gap > 8) & (street.parking > 0)
    bay_line = bay & ((np.mod(s, 6.2) < 0.12) | (across < -street.parking + 0.14))
    _set(out, rows[bay], "parking", "concrete")
    _set(out, rows[bay_line], "parking", "marking")
    scuff = wear < 1.1  # worn paint shows the road through
    zebra = (main & (gap > 1.2) & (gap < 4.2)) | ((gap < 0) & (across > 1.2) & (across < 4.2))
    stripes = np.where(gap > 0, np.mod(d, 1.1) < 0.55, np.mod(s, 1.1) < 0.55)
    _set(out, rows[zebra], "crosswalk", "asphalt")
    painted = zebra & stripes & scuff
    out.material[rows[painted]] = MATERIAL["marking"]
    line = np.zeros(len(rows), bool)
    if street.marked:
        lanes = street.median / 2 + street.lane * np.arange(0 if street.median == 0 else 1, street.lanes + 1)
        for k, offset in enumerate(lanes):
            near = np.abs(width - np.float32(offset)) < 0.075
            solid = k == len(lanes) - 1 or (k == 0 and street.lanes > 1)
            line |= near & ((gap < 16) | solid | (np.mod(s, 6) < 3))
        line &= (gap > 5.0) & main
        bar = np.flatnonzero(
            (gap > 5.0) & (gap < 5.45) & main & (across < -street.parking) & (width > street.median / 2)
        )
        ahead, _ = street.crossing_gap(s[bar] - np.sign(d[bar]) * np.float32(0.5), d[bar])
        line[bar[ahead < gap[bar]]] = True  # only before the crossing: drivers keep right
        side = np.flatnonzero((gap < 0) & (across > 5.5) & (np.mod(d, 6) < 3))
        line[side[np.abs(gap[side] + street.crossings[nearest[side], 1].astype(np.float32)) < 0.07]] = True
        line &= scuff
        _set(out, rows[line], "road-marking", "marking")
    if isinstance(out, Look):
        color = _cobbles(hit, wear) if street.cobbled else _asphalt(hit, wear)
        color[bay] = _paving(hit[bay], 0.3, (0.24, 0.22, 0.20))
        color[bay_line] = (0.62, 0.61, 0.58)
        color[painted] = (0.68, 0.68, 0.66)
        color[line] = (0.66, 0.66, 0.63)
        out.color[rows] = color


def _asphalt(hit: F32, wear: F32) -> F32:
    patch = noise(hit[:, 0] * 0.25, hit[:, 1], 1.1) > 1.3
    tone = 0.115 + 0.018 * wear + 0.010 * noise(hit[:, 0], hit[:, 1], 0.9)
    tone[patch] *= np.float32(0.7)
    return np.asarray(np.clip(tone, 0.03, 0.5)[:, None] * np.array((1.0, 0.98, 0.97), np.float32))


def _cobbles(hit: F32, wear: F32) -> F32:
    u, v = hit[:, 0] * 7, hit[:, 1] * 9
    iv = np.floor(v)
    u += np.float32(0.5) * (iv % 2)
    iu = np.floor(u)
    stone = 0.16 + 0.09 * _hash(iu.astype(np.int32), iv.astype(np.int32)) + 0.012 * wear
    stone = np.where((u - iu < 0.14) | (v - iv < 0.14), np.float32(0.09), stone)
    return np.asarray(stone[:, None] * np.array((1.0, 0.95, 0.88), np.float32))


def _block(out: Classes, rows: NDArray[np.intp], street: Street, hit: F32) -> None:
    s, d = _street_coordinates(street, hit)
    gap, _ = street.crossing_gap(s, d)
    a, b, r = np.abs(d) - np.float32(street.half), gap, np.float32(street.corner)
    edge = np.where((a < r) & (b < r), r - np.hypot(r - a, r - b), np.minimum(a, b))
    kind = street.plot(s, d)
    walk = edge < street.sidewalk
    stone = edge < 0.2
    verge = (a > 0.2) & (a < 0.2 + street.verge) & (b > 9) & (np.mod(s, 24) > 3)
    lawn = (~walk & (kind == GRASS)) | verge
    soil = ~walk & (kind == SOIL)
    _set(out, rows[stone], "curb", "stone")
    _set(out, rows[lawn], "grass", "grass")
    _set(out, rows[soil], "soil", "soil")
    if isinstance(out, Look):
        color = _paving(hit, 0.5, (0.40, 0.385, 0.365))
        color[stone] = (0.33, 0.32, 0.31)
        color[lawn] = _lawn(hit[lawn])
        grain = noise(hit[soil, 0], hit[soil, 1], 11)
        color[soil] = (0.17 + 0.035 * grain)[:, None] * np.array((1.25, 0.95, 0.7), np.float32)
        out.color[rows] = color


def _wall_coordinates(table: SurfaceTable, surface: NDArray[np.integer], hit: F32) -> tuple[F32, F32]:
    offset = hit - take(table.origin, surface)
    axis = take(table.axis, surface)
    return offset[:, 0] * axis[:, 0] + offset[:, 1] * axis[:, 1], offset[:, 2]


def _facade(out: Classes, rows: NDArray[np.intp], table: SurfaceTable, surface: NDArray[np.integer], hit: F32) -> None:
    u, v = _wall_coordinates(table, surface, hit)
    (length, height, style, floor, base, pitch, share, sill, lintel, shop, shutters, chance) = take(
        table.shape, surface
    ).T
    columns = np.maximum(np.round(length / pitch), 1)
    cell = length / columns
    column = np.floor(u / cell)
    fu = np.abs(u / cell - column - 0.5)  # distance from the middle of the bay, in bays
    ground = v < base
    level = np.where(ground, np.float32(-1), np.floor((v - base) / floor))
    fv = np.where(ground, v / base, (v - base) / floor - level)
    step = np.where(ground, base, floor)
    fits = level < np.floor((height - 0.4 - base) / floor)
    ribbon, curtain = style == buildings.RIBBON, style == buildings.CURTAIN
    low = np.where(ground & (shop > 0), np.float32(0.1), np.where(curtain, np.float32(0.05), sill))
    high = np.where(ground & (shop > 0), np.float32(0.76), np.where(curtain, np.float32(0.97), lintel))
    half = np.where(ribbon | curtain, np.float32(0.5), share / 2)
    half = np.where(ground & (shop > 0), np.float32(0.44), half)
    open_ = (style != buildings.BLIND) & fits
    to_side, to_low, to_high = (half - fu) * cell, (fv - low) * step, (high - fv) * step
    inside = np.minimum(to_side, np.minimum(to_low, to_high))
    window = open_ & (inside > 0)
    single = ~ribbon & ~curtain
    bars = (fu * cell < 0.03) & ~(ground & (shop > 0)) & single
    sash = window & ((inside < 0.06) | bars | (~single & ((0.5 - fu) * cell < 0.05)))
    door = (style != buildings.BLIND) & ground & (column == np.floor(chance * columns)) & (fu * cell < 0.62) & (v < 2.3)
    glass = window & ~sash & ~door
    _set(out, rows[glass], "window", "glass")
    if not isinstance(out, Look):
        return

    palette = take(table.colors, surface)
    dirt = 1 + 0.05 * noise(u, v, 9) + 0.05 * noise(u, v * 0.3, 1.5) - 0.18 * np.exp(-np.maximum(v, 0) * 1.5)
    bricks = np.flatnonzero((chance > 0.62) & ~curtain)
    row = np.floor(v[bricks] * 9)
    x = u[bricks] * 4 + np.float32(0.5) * np.mod(row, 2)
    mortar = (v[bricks] * 9 - row < 0.16) | (np.mod(x, 1) < 0.06)
    tone = 0.8 + 0.35 * _hash(row.astype(np.int32), np.floor(x).astype(np.int32))
    dirt[bricks] *= np.where(mortar, np.float32(1.25), tone)
    color = palette[:, 0] * dirt[:, None]
    plinth = (v < 0.7) | (ground & (shop > 0) & (chance < 0.5))
    color[plinth] = palette[plinth, 2] * dirt[plinth, None]
    course = open_ & ~ground & (fv < 0.05) & (chance < 0.55) | (v > height - 0.4)
    trim = course | sash | (open_ & (to_low < 0) & (to_low > -0.12) & (to_side > -0.1) & single)
    color[trim] = palette[trim, 1]
    blind = (
        open_
        & (shutters > 0)
        & (to_side < 0)
        & (fu < half * 1.9)
        & (to_low > 0)
        & (to_high > 0)
        & single
        & ~(ground & (shop > 0))
    )
    slats = 0.75 + 0.35 * (np.mod(v[blind] * 12, 1) > 0.4)
    color[blind] = palette[blind, 3] * slats[:, None].astype(np.float32)
    fascia = open_ & ground & (shop > 0) & (fv > 0.79) & (fv < 0.94)
    color[fascia] = palette[fascia, 3] * (0.85 + 0.3 * (np.mod(u[fascia] * 1.7, 1) > 0.5))[:, None].astype(np.float32)
    color[door] = palette[door, 3] * np.where(fu[door] * cell[door] < 0.02, np.float32(0.4), np.float32(0.9))[:, None]

    pane = _hash(column[glass].astype(np.int32), level[glass].astype(np.int32), surface[glass])
    depth = np.where(to_high[glass] < 0.18, np.float32(0.45), np.float32(1))
    curtained = (pane > 0.55) & (fv[glass] > low[glass] + (high[glass] - low[glass]) * (1.1 - pane))
    dark = (0.03 + 0.06 * np.mod(pane * 7, 1))[:, None] * np.array((0.85, 0.95, 1.1), np.float32)
    cloth = (0.28 + 0.2 * np.mod(pane * 13, 1))[:, None] * np.array((1.0, 0.95, 0.85), np.float32)
    color[glass] = np.where(curtained[:, None], cloth, dark) * depth[:, None]
    out.color[rows] = color
    lit = np.mod(pane * 29, 1) < np.where(ground[glass], np.float32(0.8), np.float32(0.35))
    out.glow[rows[glass]] = np.where(lit, 0.5 + pane, np.float32(0))


def _sign(out: Look, rows: NDArray[np.intp], table: SurfaceTable, surface: NDArray[np.integer], hit: F32) -> None:
    u, v = _wall_coordinates(table, surface, hit)
    shape = table.shape[surface, 0]
    radius = np.hypot(u, v)
    red, white, blue = (np.array(c, np.float32) for c in ((0.6, 0.03, 0.03), (0.8, 0.8, 0.78), (0.03, 0.12, 0.5)))
    triangle = np.maximum(v - 0.275, np.abs(u) * 0.87 - 0.5 * (v + 0.55))  # distance inside the rim, < 0 inside
    bar = (np.abs(v) < 0.12) & (np.abs(u) < 0.3)
    digits = (np.abs(v) < 0.14) & (np.abs(np.abs(u) - 0.11) < 0.07)
    arrow = (np.abs(v) < 0.06) & (np.abs(u) < 0.5) | (np.abs(v) + np.abs(u - 0.45) < 0.2)
    letter = (np.abs(u + 0.09) < 0.045) & (np.abs(v) < 0.2) | (np.abs(np.hypot(u - 0.0, v - 0.09) - 0.09) < 0.04)
    color = np.where(bar[:, None], white, red)
    color = np.where((shape == 1)[:, None], np.where((triangle < -0.09)[:, None], white, red), color)
    disc = np.where((radius > 0.28)[:, None], red, np.where(digits[:, None], np.float32(0.03), white))
    color = np.where((shape == 2)[:, None], disc, color)
    color = np.where((shape == 3)[:, None], np.where(arrow[:, None], white, blue), color)
    color = np.where((shape == 4)[:, None], np.where(letter[:, None], white, blue), color)
    back = table.shape[surface, 1] > 0
    out.color[rows] = np.where(back[:, None], np.float32(0.35), color)


def _brick(out: Look, rows: NDArray[np.intp], table: SurfaceTable, surface: NDArray[np.integer], hit: F32) -> None:
    u, v = _wall_coordinates(table, surface, hit)
    row = np.floor(v * 5)
    x = u * 2.5 + 0.5 * np.mod(row, 2)
    joint = (v * 5 - row < 0.1) | (x - np.floor(x) < 0.05)
    tone = 0.75 + 0.4 * _hash(row.astype(np.int32), np.floor(x).astype(np.int32)) + 0.06 * noise(u, v, 9)
    tone = np.where(joint, np.float32(0.55), tone)
    out.color[rows] = table.colors[surface, 0] * tone[:, None].astype(np.float32)


def _tiles(out: Look, rows: NDArray[np.intp], table: SurfaceTable, surface: NDArray[np.integer], hit: F32) -> None:
    u, v = _wall_coordinates(table, surface, hit)
    row = np.floor(v * 5)
    x = u * 4 + 0.5 * np.mod(row, 2)
    tone = 0.75 + 0.35 * _hash(row.astype(np.int32), np.floor(x).astype(np.int32)) + 0.08 * noise(u, v, 5)
    tone = (
        tone
        * np.where(v * 5 - row < 0.2, np.float32(0.6), np.float32(1))
        * np.where(x - np.floor(x) < 0.12, np.float32(0.8), np.float32(1))
    )
    out.color[rows] = table.colors[surface, 0] * tone[:, None].astype(np.float32)
