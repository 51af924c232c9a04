"""Houses, high-rises, garden walls: boxes with textured facades. One row of the surface table per wall."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.simulator.mesh import BRICK, FACADE, TILES, Builder, Mesh
from lidistill.simulator.shapes import box, polygon, quad

PUNCHED, RIBBON, CURTAIN, BLIND = range(4)
"""Facade styles: single windows, bands of glass, all glass, no windows."""


@dataclass(eq=False)
class Surfaces:
    """Rows of textured walls: ``origin`` (3,), ``axis`` (2,) horizontal unit, ``shape`` (12,), ``colors`` (4, 3).

    shape = length, height, style, floor height, ground floor height, window pitch, window width share, sill share,
    lintel share, shop (0/1), shutters (0/1), random number. colors = wall, trim, base, accent.
    """

    origin: list[NDArray[np.float64]] = field(default_factory=list)
    axis: list[NDArray[np.float64]] = field(default_factory=list)
    shape: list[NDArray[np.float64]] = field(default_factory=list)
    colors: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, origin: ArrayLike, axis: ArrayLike, shape: ArrayLike, colors: ArrayLike) -> int:
        """Append a row and return its number."""
        for column, value in zip(
            (self.origin, self.axis, self.shape, self.colors), (origin, axis, shape, colors), strict=True
        ):
            column.append(np.asarray(value, float))
        return len(self.origin) - 1


PLASTER = np.array([(0.55, 0.42, 0.26), (0.62, 0.55, 0.42), (0.50, 0.28, 0.20), (0.60, 0.58, 0.54), (0.42, 0.46, 0.40),
                    (0.58, 0.48, 0.30), (0.45, 0.34, 0.28), (0.36, 0.42, 0.48)])  # fmt: skip
TOWER = np.array([(0.42, 0.40, 0.37), (0.30, 0.30, 0.31), (0.36, 0.22, 0.16), (0.52, 0.49, 0.44), (0.22, 0.24, 0.27),
                  (0.46, 0.36, 0.28)])  # fmt: skip
TILE = np.array([(0.36, 0.13, 0.07), (0.28, 0.11, 0.07), (0.15, 0.14, 0.15), (0.30, 0.18, 0.11)])
SHUTTER = np.array([(0.05, 0.16, 0.08), (0.25, 0.06, 0.04), (0.08, 0.14, 0.25), (0.25, 0.18, 0.1)])


def _outline(length: float, depth: float) -> NDArray[np.float64]:
    return np.array([[-length / 2, 0], [length / 2, 0], [length / 2, depth], [-length / 2, depth]])


def _walls(
    body: Builder,
    surfaces: Surfaces,
    corners: NDArray[np.float64],
    base: float,
    height: float,
    shape: ArrayLike,
    colors: ArrayLike,
    blind: tuple[int, ...] = (),
) -> None:
    """Four walls over a rectangle (4, 2) in the world; walls listed in ``blind`` have no windows."""
    rows, rim = [], np.empty((4, 4, 3))
    for k in range(4):
        a, b = corners[k], corners[(k + 1) % 4]
        length = float(np.linalg.norm(b - a))
        row = np.hstack([length, height, shape])
        if k in blind:
            row[2] = BLIND
        rows.append(surfaces.add([*a, base], (b - a) / length, row, colors))
        rim[k, [0, 3], :2], rim[k, 1:3, :2] = a, b
    rim[:, :2, 2], rim[:, 2:, 2] = base - 1.2, base + height
    for number, wall in zip(rows, rim, strict=True):
        body.add(quad(*wall), "plaster", texture=FACADE, surface=number)


def _place(outline: NDArray[np.float64], at: ArrayLike, heading: float) -> NDArray[np.float64]:
    c, s = np.cos(heading), np.sin(heading)
    return np.asarray(outline @ np.array([[c, s], [-s, c]]) + np.asarray(at, float)[:2])


def high_rise(
    surfaces: Surfaces, rng: np.random.Generator, at: ArrayLike, heading: float, length: float, depth: float
) -> Mesh:
    """A block of flats or offices; its front runs through ``at`` (3,) along ``heading``, its body lies to the left."""
    x, y, z = np.asarray(at, float)
    floor = rng.uniform(3.0, 3.6)
    height = floor * int(rng.integers(4, 13)) + 1.5
    style = int(rng.choice([PUNCHED, PUNCHED, RIBBON, CURTAIN]))
    shape = (style, floor, rng.uniform(3.8, 4.6), rng.uniform(2.2, 4.0), rng.uniform(0.45, 0.7),
             rng.uniform(0.22, 0.32), rng.uniform(0.80, 0.9), float(rng.random() < 0.75), 0.0,
             rng.random())  # fmt: skip
    wall = TOWER[rng.integers(len(TOWER))] * rng.uniform(0.85, 1.2)
    colors = np.array([wall, wall * rng.uniform(0.55, 1.3), wall * 0.6, rng.uniform(0.05, 0.6, 3)])
    body = Builder("building")
    corners = _place(_outline(length, depth), (x, y), heading)
    _walls(body, surfaces, corners, z, height, shape, colors)
    top = z + height
    body.add(polygon(np.column_stack([corners, np.full(4, top - 0.4)])), "concrete", (0.25, 0.25, 0.25), label="roof")
    for k in range(int(rng.integers(1, 4))):
        spot = _place(np.array([[rng.uniform(-0.3, 0.3) * length, rng.uniform(0.3, 0.7) * depth]]), (x, y), heading)[0]
        body.add(box((3 + k, 3, 2.4), (*spot, top + 0.8)), "metal", (0.4, 0.4, 0.4), label="roof")
    if style == PUNCHED and rng.random() < 0.6:
        _balconies(body, rng, (x, y, z), heading, length, shape, height, colors[1])
    if shape[7] and rng.random() < 0.7:  # awning over the shops
        span = rng.uniform(0.4, 0.9) * length
        lip = _place(np.array([[-span / 2, 0], [span / 2, 0], [span / 2, -1.3], [-span / 2, -1.3]]), (x, y), heading)
        body.add(quad(*[(*p, z + h) for p, h in zip(lip, (3.4, 3.4, 3.0, 3.0), strict=True)]), "cloth", colors[3])
    return body.mesh()


def _balconies(
    body: Builder, rng: np.random.Generator, at: ArrayLike, heading: float, length: float, shape: ArrayLike,
    height: float, color: NDArray[np.float64],
) -> None:  # fmt: skip
    x, y, z = np.asarray(at, float)
    _, floor, ground_floor, pitch = np.asarray(shape, float)[:4]
    columns = max(round(length / pitch), 1)
    cell = length / columns
    unit = Builder("building")
    unit.add(box((cell * 0.85, 1.1, 0.15), (0, -0.55, 0)), "concrete", (0.5, 0.5, 0.5))
    side, edge = cell * 0.425, -1.1
    rails = [((-side, edge), (side, edge)), ((-side, edge), (-side, 0.0)), ((side, edge), (side, 0.0))]
    for (x0, y0), (x1, y1) in rails:
        unit.add(quad((x0, y0, 0), (x1, y1, 0), (x1, y1, 1.0), (x0, y0, 1.0)), "metal", color)
    every = int(rng.integers(2, 4))
    heights = [z + ground_floor + i * floor + 0.1 for i in range(min(int((height - ground_floor) / floor), 8))]
    spots = []
    for k in range(every // 2, columns, every):
        spot = _place(np.array([[(k + 0.5) * cell - length / 2, 0]]), (x, y), heading)[0]
        spots += [(*spot, up) for up in heights]
    if spots:
        body.include(unit.mesh().placed((0, 0, 0), heading).repeated(spots))


def house(
    surfaces: Surfaces, rng: np.random.Generator, at: ArrayLike, heading: float, length: float, depth: float
) -> Mesh:
    """An old house with a pitched roof, chimney and, at times, dormers; placed like ``high_rise``."""
    x, y, z = np.asarray(at, float)
    floor = rng.uniform(2.7, 3.2)
    levels = int(rng.integers(2, 4))
    base = rng.uniform(2.9, 3.5)
    height = base + floor * (levels - 1) + rng.uniform(0.2, 0.8)
    wall = PLASTER[rng.integers(len(PLASTER))] * rng.uniform(0.8, 1.2)
    accent = SHUTTER[rng.integers(len(SHUTTER))]
    shape = (PUNCHED, floor, base, rng.uniform(2.0, 2.9), rng.uniform(0.36, 0.48), 0.28, rng.uniform(0.76, 0.86),
             float(rng.random() < 0.25), float(rng.random() < 0.6), rng.random())  # fmt: skip
    colors = np.array([wall, np.minimum(wall * 1.5 + 0.1, 0.85), wall * 0.55, accent])
    body = Builder("building")
    corners = _place(_outline(length, depth), (x, y), heading)
    _walls(body, surfaces, corners, z, height, shape, colors, blind=() if rng.random() < 0.3 else (1, 3))
    rise = depth * rng.uniform(0.30, 0.48)
    eave = 0.35
    over = np.array([[-length / 2 - 0.1, -eave], [length / 2 + 0.1, -eave], [length / 2 + 0.1, depth + eave],
                     [-length / 2 - 0.1, depth + eave]])  # fmt: skip
    ridge_local = np.array([[-length / 2 - 0.1, depth / 2], [length / 2 + 0.1, depth / 2]])
    low, ridge = _place(over, (x, y), heading), _place(ridge_local, (x, y), heading)
    e, t = z + height - 0.15, z + height + rise
    tile = TILE[rng.integers(len(TILE))] * rng.uniform(0.8, 1.2)
    number = surfaces.add(
        [*low[0], e], (low[1] - low[0]) / np.linalg.norm(low[1] - low[0]), np.zeros(12), np.array([tile] * 4)
    )
    for a, b, c, d in ((low[0], low[1], ridge[1], ridge[0]), (low[2], low[3], ridge[0], ridge[1])):
        body.add(quad((*a, e), (*b, e), (*c, t), (*d, t)), "tile", tile, label="roof", texture=TILES, surface=number)
    for a, b, c in ((corners[1], corners[2], ridge[1]), (corners[3], corners[0], ridge[0])):
        body.add(polygon([(*a, z + height), (*b, z + height), (*c, t - 0.1)]), "plaster", wall)
    spot = _place(np.array([[rng.uniform(-0.35, 0.35) * length, depth * 0.6]]), (x, y), heading)[0]
    body.add(box((0.7, 0.9, 2.0), (*spot, t - 0.1)), "brick", (0.3, 0.14, 0.1), label="roof")
    if rng.random() < 0.5:  # dormers
        n = max(int(length / 4.5), 1)
        across = [((k + 0.5) / n - 0.5) * length for k in range(n)]
        spots = [_place(np.array([[side, depth * 0.22]]), (x, y), heading)[0] for side in across]
        spots = [(*spot, z + height + rise * 0.30) for spot in spots]
        body.include(_dormer(depth, wall, tile).placed((0, 0, 0), heading).repeated(spots))
    return body.mesh()


def _dormer(depth: float, wall: NDArray[np.float64], tile: NDArray[np.float64]) -> Mesh:
    body = Builder("roof")
    body.add(box((1.3, depth * 0.3, 1.5), (0, 0, 0)), "plaster", wall * 0.9)
    body.add(box((0.9, 0.04, 0.9), (0, -depth * 0.15 - 0.01, 0.05)), "glass", (0.06, 0.07, 0.09), label="window")
    body.add(box((1.7, depth * 0.34, 0.5), (0, 0, 0.95), (0.2, 1.0)), "tile", tile)
    return body.mesh()


def wall(surfaces: Surfaces, rng: np.random.Generator, start: ArrayLike, end: ArrayLike, height: float) -> Mesh:
    """A garden wall of brick or stone between two points (3,) on the ground."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    along = (b - a)[:2] / np.linalg.norm((b - a)[:2])
    across = np.array([-along[1], along[0]]) * 0.16
    color = np.array([(0.36, 0.17, 0.11), (0.42, 0.38, 0.32), (0.5, 0.48, 0.44)])[rng.integers(3)] * rng.uniform(
        0.8, 1.2
    )
    low, high = min(a[2], b[2]), max(a[2], b[2]) + height
    number = surfaces.add([*a[:2], low], along, np.zeros(12), np.array([color] * 4))
    rings = []
    for z, grow in ((low - 0.5, 1.0), (high, 1.0)):
        rings.append(
            [(*(p + side * grow * across), z) for p, side in ((a[:2], -1), (b[:2], -1), (b[:2], 1), (a[:2], 1))]
        )
    body = Builder("wall")
    for k in range(4):
        corners = (rings[0][k], rings[0][(k + 1) % 4], rings[1][(k + 1) % 4], rings[1][k])
        body.add(quad(*corners), "brick", color, texture=BRICK, surface=number)
    cap = [(*(np.array(p[:2]) + (np.array(p[:2]) - (a + b)[:2] / 2) * 0.01), high) for p in rings[1]]
    body.add(polygon([(x, y, z + 0.02) for x, y, z in cap]), "stone", color * 1.2)
    return body.mesh()
