"""The drawing board of a city: places things in street coordinates and remembers which curb is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.simulator import buildings, furniture, people, plants, vehicles
from lidistill.simulator.mesh import SIGN, Mesh
from lidistill.simulator.street import CURB, GRASS, SOIL, Street

IN_SIGHT, IN_DETAIL = 75.0, 28.0
"""How far along the street moving actors are drawn, and drawn in full detail, metres."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Something that moves along the street; ``speed`` in m/s along s, negative = oncoming.

    ``mesh`` and, for the distance, ``plain`` lie around their own origin. ``across`` actors walk along d instead (over
    a crosswalk).
    """

    mesh: Mesh
    plain: Mesh
    s: float
    d: float
    speed: float
    up: float = 0.0
    across: bool = False

    def place(self, t: float) -> tuple[float, float]:
        """(s, d) at ``t`` seconds."""
        step = self.speed * t
        return (self.s, self.d + step) if self.across else (self.s + step, self.d)

    def at(self, street: Street, t: float, viewer: float) -> Mesh | None:
        """The actor at ``t`` seconds in the world, as seen from s = ``viewer``; None out of sight."""
        s, d = self.place(t)
        if abs(s - viewer) > IN_SIGHT:
            return None
        heading = street.heading(s) + (np.pi / 2 if self.across else 0.0) + (np.pi if self.speed < 0 else 0.0)
        mesh = self.mesh if abs(s - viewer) < IN_DETAIL else self.plain
        return mesh.placed(street.point(s, d, self.up), heading)


class Plan:
    """Everything put so far; ``drive`` is how far the ego vehicle travels from s = 0, metres."""

    def __init__(self, style: str, street: Street, rng: np.random.Generator, drive: float) -> None:
        self.style, self.street, self.rng, self.drive = style, street, rng, drive
        self.grid = style == "grid"
        self.autumn = rng.random() < 0.2
        self.surfaces = buildings.Surfaces()
        self.parts: list[Mesh] = []
        self.actors: list[Actor] = []
        self.taken: dict[int, list[tuple[float, float]]] = {-1: [], 1: []}

    def near(self, s: float) -> bool:
        """Whether the sensors come close enough to see detail."""
        return -22 < s < self.drive + 34

    def put(
        self,
        mesh: Mesh,
        s: float,
        d: float,
        up: float = 0.0,
        turn: float = 0.0,
        scale: ArrayLike = 1.0,
        palette: ArrayLike | None = None,
    ) -> None:
        """Place a template at (s, d), ``up`` over the road, turned by ``turn`` from the street's direction."""
        heading = self.street.heading(s) + turn
        self.parts.append(mesh.placed(self.street.point(s, d, up), heading, scale, palette))

    def paint(self) -> NDArray[np.float64]:
        """Colours (2, 3) of a vehicle: paint and body."""
        table = np.asarray(vehicles.CAR_PAINTS)
        first = table[self.rng.integers(len(table))] * self.rng.uniform(0.85, 1.15)
        return np.stack([first, self.rng.uniform(0.1, 0.7, 3)])

    def reserve(self, side: int, s0: float, s1: float, margin: float = 9.0) -> bool:
        """Take the curb from s0 to s1 unless it is taken or meets a side street."""
        d = side * self.street.half
        if not self.street.free(np.arange(s0, s1 + 2, 2.0), d, margin) or any(
            a < s1 and s0 < b for a, b in self.taken[side]
        ):
            return False
        self.taken[side].append((s0, s1))
        return True

    def spot(self, length: float) -> tuple[int, float] | None:
        """A free stretch of curb that the ego vehicle passes near: (side, middle)."""
        for _ in range(40):
            side = int(self.rng.choice([-1, 1]))
            start = 14 if self.rng.random() < 0.6 else -18  # mostly ahead, for sensors that only look there
            middle = self.rng.uniform(start, self.drive + 38)
            if self.reserve(side, middle - length / 2, middle + length / 2, 6.0):
                return side, middle
        return None

    @property
    def bay(self) -> float:
        """Middle of the parking lane, distance from the middle of the street."""
        return self.street.half - self.street.parking / 2

    def green(self, side: int, s0: float, s1: float, soil: bool = False) -> None:
        """Lay lawn (or soil) behind the sidewalk from s0 to s1."""
        self.street.set_plot(side, s0, s1, SOIL if soil else GRASS)

    def tree(self, s: float, d: float, up: float = CURB, size: float = 1.0) -> None:
        """A tree of any kind."""
        rng = self.rng
        kind = (plants.broadleaf, plants.broadleaf, plants.broadleaf, plants.conifer, plants.poplar)[rng.integers(5)]
        scale = size * rng.uniform(0.8, 1.2) * np.array([1, 1, rng.uniform(0.9, 1.1)])
        color = plants.leaf_color(rng, self.autumn and kind is not plants.conifer)
        mesh = kind(int(rng.integers(plants.VARIANTS)), self.near(s))
        self.put(mesh, s, d, up, rng.uniform(0, 6.28), scale, color)

    def bush(self, s: float, d: float) -> None:
        """A round bush."""
        rng = self.rng
        color = plants.leaf_color(rng, self.autumn)
        mesh = plants.bush(int(rng.integers(plants.VARIANTS)), self.near(s))
        self.put(mesh, s, d, CURB, rng.uniform(0, 6.28), rng.uniform(0.8, 1.6), color)

    def figure(self, kind: str | None, stride: int) -> tuple[Mesh, Mesh]:
        """Somebody at the origin, in detail and for the distance; ``kind`` None draws adult or child."""
        rng = self.rng
        kind = kind or ("child" if rng.random() < 0.15 else "adult")
        size = rng.uniform(0.6, 0.8) if kind == "child" else rng.uniform(0.92, 1.08)
        colors = people.clothes(rng, kind == "worker")
        fine, plain = (people.pedestrian(kind, stride, f).placed((0, 0, 0), 0.0, size, colors) for f in (True, False))
        return fine, plain

    def person(self, s: float, d: float, up: float, turn: float, kind: str | None = None) -> None:
        """Somebody who stands."""
        self.put(self.figure(kind, 0)[0 if self.near(s) else 1], s, d, up, turn)

    def walker(self, s: float, d: float, speed: float, up: float = CURB, across: bool = False) -> None:
        """Somebody who walks."""
        self.actors.append(Actor(*self.figure(None, int(self.rng.integers(1, 3))), s, d, speed, up, across))

    def sign(self, shape: int, s: float, d: float, turn: float) -> None:
        """A road sign that faces drivers who come along +s, before ``turn``."""
        position = self.street.point(s, d, CURB)
        heading = self.street.heading(s) + turn
        mesh = furniture.sign(shape).placed(position, heading)
        row = np.zeros(12)
        row[0] = shape
        axis = (np.sin(heading), -np.cos(heading))
        number = self.surfaces.add(position + np.array([0, 0, 2.6]), axis, row, np.zeros((4, 3)))
        self.parts.append(replace(mesh, surface=np.where(mesh.texture == SIGN, np.int32(number), mesh.surface)))
