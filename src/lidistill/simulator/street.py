"""The ground plan: one main street, its crossings, the blocks beside it, and the ground they stand on.

Street coordinates are ``(s, d)``: s metres along the street, d metres to its left. The world is ``x = s``,
``y = bend(s) + d``, ``z = hill(x, y) + height over ground``, so both directions are cheap and exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.simulator.mesh import BLOCK, ISLAND, ROAD, Builder, Mesh
from lidistill.simulator.shapes import grid

Array = NDArray[np.float64]

GRASS, PAVED, SOIL = range(3)
CURB = 0.14
"""Height of the sidewalk over the road, metres."""


@dataclass(frozen=True, eq=False)
class Street:
    """All sizes in metres; ``side`` is +1 left, -1 right of the driving direction.

    ``crossings`` (C, 2): s of its centre at d = 0, half width; ``skew`` is how all of them lean, ds/dd.
    ``waves`` (k, 3) and ``hills`` (k, 4) are sums of sines: amplitude, wave number(s), phase.
    """

    length: tuple[float, float]
    lanes: int
    lane: float
    median: float
    parking: float
    sidewalk: float
    verge: float
    depth: float
    corner: float
    marked: bool
    cobbled: bool
    crossings: Array
    skew: float
    waves: Array
    hills: Array
    plots: NDArray[np.uint8]
    """(2, n) kind of ground behind the sidewalk, per side and metre of s: GRASS, PAVED or SOIL."""

    @property
    def half(self) -> float:
        """From the middle of the street to the curb."""
        return self.median / 2 + self.lanes * self.lane + self.parking

    def bend(self, s: ArrayLike) -> Array:
        """Where the middle of the street runs: y at s."""
        s = np.asarray(s)
        total = np.zeros_like(s)
        for amplitude, number, phase in self.waves:
            total = total + amplitude * np.sin(number * s + phase)
        return total

    def heading(self, s: float) -> float:
        """Direction of the street at s, radians from +x."""
        slope = 0.0
        for amplitude, number, phase in self._waves:
            slope += amplitude * number * np.cos(number * s + phase)
        return float(np.arctan(slope))

    @cached_property
    def _waves(self) -> list[list[float]]:
        return self.waves.tolist()  # type: ignore[no-any-return]

    @cached_property
    def _hills(self) -> list[list[float]]:
        return self.hills.tolist()  # type: ignore[no-any-return]

    def hill(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Height of the road at (x, y)."""
        x, y = np.asarray(x), np.asarray(y)
        total = np.zeros(np.broadcast(x, y).shape, x.dtype)
        for amplitude, a, b, phase in self.hills:
            total = total + amplitude * np.sin(x.dtype.type(a) * x + x.dtype.type(b) * y + x.dtype.type(phase))
        return total

    def point(self, s: float, d: float, up: float = 0.0) -> Array:
        """(3,) world coordinates of one place: ``world`` without the cost of arrays."""
        y = 0.0
        for amplitude, number, phase in self._waves:
            y += amplitude * np.sin(number * s + phase)
        y += d
        z = 0.0
        for amplitude, a, b, phase in self._hills:
            z += amplitude * np.sin(a * s + b * y + phase)
        return np.array([s, y, z + up])

    def world(self, s: ArrayLike, d: ArrayLike, up: ArrayLike = 0.0) -> Array:
        """(..., 3) world coordinates of street coordinates."""
        s, d, up = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float), np.asarray(up, float))
        y = self.bend(s) + d
        return np.stack([s, y, self.hill(s, y) + up], axis=-1)

    def crossing_gap(
        self, s: NDArray[np.floating], d: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """Distance to the edge of the nearest side street (negative: on it), and which one."""
        if len(self.crossings) == 0:
            return np.full(s.shape, 1e3, s.dtype), np.zeros(s.shape, np.intp)
        centers, halves = self.crossings.astype(s.dtype).T
        straight = s - d * s.dtype.type(self.skew)
        index = np.searchsorted((centers[1:] + centers[:-1]) / 2, straight)
        return np.abs(straight - centers[index]) - halves[index], index

    def set_plot(self, side: int, s0: float, s1: float, kind: int) -> None:
        """Cover the ground behind the sidewalk from s0 to s1."""
        first = int(self.length[0])
        self.plots[int(side > 0), max(int(s0) - first, 0) : max(int(s1) - first + 1, 0)] = kind

    def plot(self, s: NDArray[np.floating], d: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Kind of ground behind the sidewalk at (s, d)."""
        column = np.clip(s.astype(np.int32) - int(self.length[0]), 0, self.plots.shape[1] - 1)
        return self.plots[(d > 0).astype(np.int32), column]

    def free(self, s: ArrayLike, d: float, margin: float) -> bool:
        """Whether (s, d), for every s, keeps ``margin`` from every side street."""
        places = np.atleast_1d(np.asarray(s, float))
        gap, _ = self.crossing_gap(places, np.full(len(places), d))
        return bool((gap > margin).all())

    def blocks(self) -> list[tuple[float, float, float, float]]:
        """Stretches between side streets as (s0, skew0, s1, skew1): edges at d = 0 and how they lean."""
        edges: list[tuple[float, float]] = [(self.length[0], 0.0)]
        for center, half in self.crossings:
            edges += [(center - half, self.skew), (center + half, self.skew)]
        edges.append((self.length[1], 0.0))
        return [(*edges[i], *edges[i + 1]) for i in range(0, len(edges), 2)]


def ground(street: Street) -> Mesh:
    """Road, raised blocks with their curbs and, where there is one, the island between the lanes."""
    body = Builder("road")
    margin = 30.0
    s = np.arange(street.length[0] - margin, street.length[1] + margin + 6, 6.0)
    d = np.concatenate([[-300], np.arange(-street.depth - 24, street.depth + 25, 6.0), [300]])
    s = np.concatenate([[s[0] - 300], s, [s[-1] + 300]])
    body.add(grid(street.world(s[None], d[:, None])), "asphalt", texture=ROAD)
    for block in street.blocks():
        for side in (-1, 1):
            _block(body, street, block, side)
    if street.median > 0:
        for s0, _, s1, _ in street.blocks():
            if s1 - s0 > 24:
                _island(body, street, s0 + 7, s1 - 7)
    return body.mesh()


def _block(body: Builder, street: Street, block: tuple[float, float, float, float], side: int) -> None:
    s0, skew0, s1, skew1 = block
    r = street.corner
    turn = np.linspace(0, np.pi / 2, 5)
    near = street.half + r * (1 - np.cos(turn))
    rows = np.concatenate([near, np.arange(near[-1] + 4, street.depth, 6.0), [street.depth]])
    inset = np.concatenate([r * (1 - np.sin(turn)), np.zeros(len(rows) - 5)])
    d = side * rows
    columns = np.linspace(0, 1, max(int((s1 - s0) / 5), 2) + 1)
    left, right = s0 + skew0 * d + inset, s1 + skew1 * d - inset
    top = street.world(
        left[:, None] + (right - left)[:, None] * columns, np.broadcast_to(d[:, None], (len(d), len(columns))), CURB
    )
    body.add(grid(top), "concrete", label="sidewalk", texture=BLOCK)
    rim = np.concatenate([top[::-1, 0], top[0], top[:, -1]])
    _curb(body, street, rim)


def _curb(body: Builder, street: Street, rim: Array) -> None:
    """A wall from the rim (n, 3) down into the road."""
    body.add(grid(np.stack([rim, rim - [0, 0, CURB + 0.1]])), "stone", (0.33, 0.32, 0.31), label="curb")


def _island(body: Builder, street: Street, s0: float, s1: float) -> None:
    s = np.linspace(s0, s1, max(int((s1 - s0) / 5), 2) + 1)
    taper = np.ones(len(s))
    taper[[0, -1]] = 0.4
    half = (street.median / 2 - 0.15) * taper
    top = street.world(np.stack([s, s]), np.stack([-half, half]), CURB)
    body.add(grid(top), "concrete", label="traffic-island", texture=ISLAND)
    _curb(body, street, np.concatenate([top[0], top[1, ::-1], top[0, :1]]))


def lay_out(style: str, rng: np.random.Generator, length: tuple[float, float]) -> Street:
    """Draw a street of one style; ``length`` = (from, to) in s."""
    grid_style = style == "grid"
    waves = [] if grid_style else [
        (rng.uniform(2.5, 6.0), 2 * np.pi / rng.uniform(130, 190), rng.uniform(0, 2 * np.pi)),
        (rng.uniform(0.3, 1.0), 2 * np.pi / rng.uniform(60, 80), rng.uniform(0, 2 * np.pi)),
    ]  # fmt: skip
    turn = rng.uniform(0, 2 * np.pi, 2)
    number = 2 * np.pi / rng.uniform(110, 220, 2)
    hills = np.stack([rng.uniform(0.2, 0.6 if grid_style else 1.1, 2), number * np.cos(turn), number * np.sin(turn),
                      rng.uniform(0, 2 * np.pi, 2)], axis=1)  # fmt: skip
    spacing = (65, 95) if grid_style else (45, 75)
    crossings, at = [], rng.uniform(8, 38)
    while at > length[0] + 20:
        at -= rng.uniform(*spacing)
    while (at := at + rng.uniform(*spacing)) < length[1] - 15:
        crossings.append((at, rng.uniform(4.5, 7.0) if grid_style else rng.uniform(2.4, 3.4)))
    median = rng.uniform(1.6, 3.0) if grid_style and rng.random() < 0.55 else 0.0
    return Street(
        length=length,
        lanes=int(rng.integers(1, 3)) if grid_style else 1,
        lane=rng.uniform(3.2, 3.6) if grid_style else rng.uniform(2.8, 3.2),
        median=median,
        parking=rng.uniform(2.2, 2.6) if grid_style else rng.uniform(2.0, 2.2),
        sidewalk=rng.uniform(3.4, 5.2) if grid_style else rng.uniform(1.7, 2.6),
        verge=rng.choice([0.0, 1.6, 2.2], p=(0.25, 0.4, 0.35)) if grid_style else rng.choice([0.0, 0.9]),
        depth=58.0 if grid_style else 50.0,
        corner=4.0 if grid_style else 2.2,
        marked=grid_style or rng.random() < 0.6,
        cobbled=not grid_style and rng.random() < 0.5,
        crossings=np.array(crossings).reshape(-1, 2),
        skew=0.0 if grid_style else rng.uniform(-0.3, 0.3),
        waves=np.array(waves).reshape(-1, 3),
        hills=hills,
        plots=np.full((2, int(length[1] - length[0]) + 2), PAVED, np.uint8),
    )
