"""A piece of city: the street of ``street`` with buildings, plants, furniture, parked vehicles and moving actors on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.errors import InputError, nearest
from lidistill.simulator import buildings, furniture, people, plants, vehicles
from lidistill.simulator.mesh import SIGN, Mesh, join
from lidistill.simulator.street import CURB, Street, ground, lay_out
from lidistill.simulator.textures import SurfaceTable

STYLES = ("grid", "old-town")
SIGHT = 95.0
"""How far the city is built before the first and beyond the last position of the ego vehicle, metres."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Something that moves along the street: ``mesh`` around its own origin; ``speed`` in m/s along s, negative = oncoming.

    ``across`` actors walk along d instead (over a crosswalk).
    """

    mesh: Mesh
    s: float
    d: float
    speed: float
    up: float = 0.0
    across: bool = False

    def at(self, street: Street, t: float) -> Mesh:
        """The actor at ``t`` seconds."""
        step = self.speed * t
        s, d = (self.s, self.d + step) if self.across else (self.s + step, self.d)
        heading = float(street.heading(s)) + (np.pi / 2 if self.across else 0.0) + (np.pi if self.speed < 0 else 0.0)
        return self.mesh.placed(street.world(s, d, self.up), heading)


@dataclass(frozen=True, eq=False)
class City:
    """``static`` never moves; ``actors`` do; ``ego`` = (d of its lane, speed in m/s), at s = 0 when t = 0."""

    style: str
    street: Street
    static: Mesh
    surfaces: SurfaceTable
    actors: tuple[Actor, ...]
    ego: tuple[float, float]


def build(style: str, rng: np.random.Generator, duration: float) -> City:
    """Draw a city along a drive of ``duration`` seconds. Raises ``InputError`` for an unknown style."""
    if style not in STYLES:
        raise InputError(f"there is no city style {style!r}{nearest(style, STYLES)}")
    speed = rng.uniform(6.5, 9.0) if style == "grid" else rng.uniform(4.0, 6.0)
    street = lay_out(style, rng, (-SIGHT, SIGHT + speed * duration))
    planner = _Planner(style, street, rng, speed * duration)
    planner.plan()
    lane = -(street.median / 2 + street.lane * (rng.integers(street.lanes) + 0.5))
    planner.traffic(lane, speed)
    planner.parts.append(ground(street))
    rows = planner.surfaces
    table = SurfaceTable(*(np.array(c, np.float32) for c in (rows.origin, rows.axis, rows.shape, rows.colors)))
    return City(style, street, join(planner.parts), table, tuple(planner.actors), (float(lane), float(speed)))


class _Planner:
    """Places things in street coordinates and remembers which stretches of curb are taken."""

    def __init__(self, style: str, street: Street, rng: np.random.Generator, drive: float) -> None:
        self.style, self.street, self.rng, self.drive = style, street, rng, drive
        self.grid = style == "grid"
        self.autumn = rng.random() < 0.25
        self.surfaces = buildings.Surfaces()
        self.parts: list[Mesh] = []
        self.actors: list[Actor] = []
        self.taken: dict[int, list[tuple[float, float]]] = {-1: [], 1: []}

    def plan(self) -> None:
        for side in (-1, 1):
            for block in self.street.blocks():
                self._buildings(block, side)
        self._backdrop()
        self._landmarks()
        for side in (-1, 1):
            self._curbside(side)
            self._sidewalk(side)
        self._crossings()

    # -- helpers ------------------------------------------------------------------------------------------------

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
        heading = float(self.street.heading(s)) + turn
        self.parts.append(mesh.placed(self.street.world(s, d, up), heading, scale, palette))

    def paint(self) -> NDArray[np.float64]:
        table = np.asarray(vehicles.CAR_PAINTS)
        return np.stack(
            [table[self.rng.integers(len(table))] * self.rng.uniform(0.85, 1.15), self.rng.uniform(0.1, 0.7, 3)]
        )

    def reserve(self, side: int, s0: float, s1: float, margin: float = 9.0) -> bool:
        """Take the curb from s0 to s1 unless it is taken or meets a side street."""
        d = side * self.street.half
        clear = all(self.street.free(s, d, margin) for s in np.arange(s0, s1 + 2, 2.0))
        if not clear or any(a < s1 and s0 < b for a, b in self.taken[side]):
            return False
        self.taken[side].append((s0, s1))
        return True

    def spot(self, length: float, side: int | None = None) -> tuple[int, float] | None:
        """A free stretch of curb that the ego vehicle passes near: (side, middle)."""
        for _ in range(24):
            chosen = int(self.rng.choice([-1, 1])) if side is None else side
            middle = self.rng.uniform(-8, max(self.drive, 1) + 24)
            if self.reserve(chosen, middle - length / 2, middle + length / 2, 6.0):
                return chosen, middle
        return None

    @property
    def bay(self) -> float:
        """Middle of the parking lane, distance from the middle of the street."""
        return self.street.half - self.street.parking / 2

    def tree(self, s: float, d: float, up: float = CURB) -> None:
        rng = self.rng
        kind = (plants.broadleaf, plants.broadleaf, plants.broadleaf, plants.conifer, plants.poplar)[rng.integers(5)]
        size = rng.uniform(0.75, 1.15) * np.array([1, 1, rng.uniform(0.9, 1.15)])
        color = plants.leaf_color(rng, self.autumn and kind is not plants.conifer)
        self.put(kind(int(rng.integers(plants.VARIANTS))), s, d, up, rng.uniform(0, 6.28), size, color)

    def bush(self, s: float, d: float) -> None:
        rng = self.rng
        color = plants.leaf_color(rng, self.autumn)
        self.put(
            plants.bush(int(rng.integers(plants.VARIANTS))),
            s,
            d,
            CURB,
            rng.uniform(0, 6.28),
            rng.uniform(0.7, 1.4),
            color,
        )

    def person(self, s: float, d: float, up: float, turn: float, kind: str | None = None) -> None:
        """Somebody who stands."""
        rng = self.rng
        kind = kind or ("child" if rng.random() < 0.15 else "adult")
        size = rng.uniform(0.6, 0.8) if kind == "child" else rng.uniform(0.92, 1.08)
        self.put(people.pedestrian(kind, 0), s, d, up, turn, size, people.clothes(rng, kind == "worker"))

    def walker(self, s: float, d: float, speed: float, up: float = CURB, across: bool = False) -> None:
        """Somebody who walks."""
        rng = self.rng
        kind = "child" if rng.random() < 0.15 else "adult"
        size = rng.uniform(0.6, 0.8) if kind == "child" else rng.uniform(0.92, 1.08)
        figure = people.pedestrian(kind, int(rng.integers(1, 3))).placed((0, 0, 0), 0.0, size, people.clothes(rng))
        self.actors.append(Actor(figure, s, d, speed, up, across))

    def sign(self, shape: int, s: float, d: float, turn: float) -> None:
        position = self.street.world(s, d, CURB)
        heading = float(self.street.heading(s)) + turn
        mesh = furniture.sign(shape).placed(position, heading)
        row = np.zeros(12)
        row[0] = shape
        number = self.surfaces.add(position + [0, 0, 2.6], (np.sin(heading), -np.cos(heading)), row, np.zeros((4, 3)))
        self.parts.append(replace(mesh, surface=np.where(mesh.texture == SIGN, np.int32(number), mesh.surface)))

    # -- what stands behind the sidewalk ------------------------------------------------------------------------

    def _buildings(self, block: tuple[float, float, float, float], side: int) -> None:
        street, rng = self.street, self.rng
        s0, skew0, s1, skew1 = block
        front = street.half + street.sidewalk + 0.05
        d = side * front
        at, end = s0 + skew0 * d + street.sidewalk + 0.3, s1 + skew1 * d - street.sidewalk - 0.3
        depth = 15.0 if self.grid else 9.0
        while end - at > 6:
            length = min(rng.uniform(13, 26) if self.grid else rng.uniform(6.5, 12), end - at)
            if end - at - length < 6:
                length = end - at
            empty = rng.random() < (0.14 if self.grid else 0.16)
            if empty:
                self._garden(at, at + length, side, front, open_=self.grid)
            else:
                setback = rng.choice([0.0, 0.0, 1.5]) if self.grid else rng.choice([0.0, 0.0, 0.0, 3.5])
                if setback > 3:
                    self._garden(at, at + length, side, front, open_=False, depth=setback - 0.6)
                self._building(at + length / 2, side * (front + setback), length, depth, 0.0 if side > 0 else np.pi)
            at += length + (rng.choice([0.0, 0.0, 3.0]) if self.grid else 0.0)
        for edge, skew, away in ((s0, skew0, 1), (s1, skew1, -1)):  # along the side streets
            if abs(edge - street.length[0]) < 1 or abs(edge - street.length[1]) < 1:
                continue
            reach = front + depth + 1
            while reach < street.depth - 8:
                length = rng.uniform(9, 18)
                middle = side * (reach + length / 2)
                s = edge + skew * middle + away * (street.sidewalk + 0.2)
                turn = np.pi / 2 - np.arctan(skew)
                self._building(s, middle, length, 10.0, turn + (np.pi if away > 0 else 0.0))
                reach += length + rng.uniform(0, 3)

    def _building(self, s: float, d: float, length: float, depth: float, turn: float) -> None:
        make = buildings.high_rise if self.grid else buildings.house
        if not self.grid and self.rng.random() < 0.06 or self.grid and self.rng.random() < 0.06:
            make = buildings.house if self.grid else buildings.high_rise
        heading = float(self.street.heading(s)) + turn
        self.parts.append(make(self.surfaces, self.rng, self.street.world(s, d, CURB), heading, length, depth))

    def _garden(self, s0: float, s1: float, side: int, front: float, open_: bool, depth: float = 12.0) -> None:
        """An empty plot, closed towards the street by a wall, fence or hedge unless ``open_``."""
        rng, street = self.rng, self.street
        if not open_ or rng.random() < 0.5:
            choice = rng.choice(["wall", "hedge", "wood", "rail", "mesh"])
            if choice == "wall":
                ends = street.world([s0, s1], [side * (front + 0.3)] * 2, CURB)
                self.parts.append(buildings.wall(self.surfaces, rng, ends[0], ends[1], rng.uniform(1.0, 2.2)))
            else:
                color = (
                    plants.leaf_color(rng, False)[0]
                    if choice == "hedge"
                    else rng.uniform(0.05, 0.5) * np.array([1, 0.85, 0.7])
                )
                variant = int(rng.integers(plants.VARIANTS))
                piece = plants.hedge(variant) if choice == "hedge" else furniture.fence(str(choice))
                for s in np.arange(s0 + 1, s1 - 0.9, 2.0):
                    self.put(piece, s, side * (front + 0.4), CURB, 0.0, 1.0, color[None])
        for _ in range(int((s1 - s0) * depth / 30)):
            s, d = rng.uniform(s0 + 1, s1 - 1), side * (front + rng.uniform(1.2, max(depth, 1.6)))
            if depth > 6 and rng.random() < 0.5:
                self.tree(s, d)
            else:
                self.bush(s, d)

    def _backdrop(self) -> None:
        """Buildings and trees that close the view at the ends of all streets."""
        street, rng = self.street, self.rng
        for side in (-1, 1):
            at = street.length[0]
            while at < street.length[1]:
                length = rng.uniform(14, 26)
                self._building(at + length / 2, side * (street.depth + 14), length, 12, 0.0 if side > 0 else np.pi)
                at += length + rng.uniform(0, 4)
        for end, turn in ((street.length[0] - 12, np.pi / 2), (street.length[1] + 12, -np.pi / 2)):
            for d in np.arange(-street.depth, street.depth, 22.0):
                self._building(end, d, 20, 12, turn)
            for d in np.arange(-18, 19, 5.0):
                self.tree(end + (5 if end < 0 else -5), d + rng.uniform(-1, 1), 0.0)

    # -- the curb -----------------------------------------------------------------------------------------------

    def _landmarks(self) -> None:
        """Rare classes that every stretch of street should show, most of the time."""
        big = 1.0 if self.grid else 0.75
        if place := self.spot(17):
            self._site(*place)
        if self.rng.random() < big and (place := self.spot(13, -1)):
            self._bus_stop(place[1])
        for chance, length, put in ((0.95, 11.5, self._trailer), (0.95 * big, 10.5, self._truck)):
            if self.rng.random() < chance and (place := self.spot(length)):
                put(*place)
        for put in (self._bicycles, self._motorcycles):
            if place := self.spot(4.5):
                put(*place)

    def _site(self, side: int, middle: float) -> None:
        """A construction site that takes the parking lane: machine, barriers, cones, workers, a heap of earth."""
        rng, street = self.rng, self.street
        edge = side * (street.half - street.parking - 0.3)
        kind = int(rng.integers(3))
        colors = np.array([(0.7, 0.1, 0.05), (0.75, 0.75, 0.72)])
        for k, s in enumerate(np.arange(middle - 7, middle + 7.1, 2.05)):
            self.put(furniture.barrier(kind), s, edge, 0.0, rng.normal(0, 0.02), 1.0, colors[k % 2][None])
        for s in (middle - 8.2, middle + 8.2):
            self.put(furniture.barrier(2), s, side * self.bay, 0.0, np.pi / 2)
            for k in range(5):
                along = s + np.sign(s - middle) * (0.9 + 0.5 * k)
                self.put(
                    furniture.cone(), along, edge + side * 0.45 * k, 0.0, rng.uniform(0, 6), rng.uniform(1.0, 1.25)
                )
        machine = vehicles.excavator() if rng.random() < 0.55 else vehicles.loader()
        self.put(
            machine,
            middle + rng.uniform(-1.5, 1.5),
            side * (self.bay + 0.25),
            0.0,
            rng.choice([0, np.pi]) + rng.normal(0, 0.06),
            0.9,
        )
        for _ in range(3):
            self.person(
                middle + rng.uniform(-6, 6),
                side * (street.half + rng.uniform(0.5, 1.6)),
                CURB,
                rng.uniform(0, 6.28),
                "worker",
            )
        for s in (middle - 4, middle + 4.5):
            self.put(furniture.cone(), s, side * (street.half + 0.4), CURB)

    def _bus_stop(self, middle: float) -> None:
        d = self.bay if self.street.parking > 2.1 else self.bay - 0.2
        colors = np.stack(
            [
                self.rng.choice([[0.6, 0.05, 0.05], [0.75, 0.72, 0.65], [0.05, 0.2, 0.45], [0.65, 0.45, 0.03]]),
                self.rng.uniform(0.05, 0.6, 3),
            ]
        )
        self.put(vehicles.bus(), middle, -(d - 0.1), 0.0, 0.0, 1.0, colors)
        if self.street.sidewalk > 2.4:
            self.put(furniture.bus_stop(), middle + 3, -(self.street.half + 2.0), CURB)
        for _ in range(int(self.rng.integers(1, 4))):
            self.person(middle + self.rng.uniform(-3, 5), -(self.street.half + 1.0), CURB, self.rng.uniform(0, 6.28))

    def _trailer(self, side: int, middle: float) -> None:
        shape = int(self.rng.choice([0, 1, 2], p=(0.6, 0.15, 0.25) if self.grid else (0.25, 0.35, 0.4)))
        self.put(
            vehicles.trailer(shape),
            middle,
            side * self.bay,
            0.0,
            0.0 if side < 0 else np.pi,
            1.0,
            self.rng.uniform(0.1, 0.7, (1, 3)),
        )

    def _truck(self, side: int, middle: float) -> None:
        size = 1.0 if self.grid else 0.85
        self.put(
            vehicles.truck(int(self.rng.integers(3))),
            middle,
            side * self.bay,
            0.0,
            0.0 if side < 0 else np.pi,
            size,
            self.paint()[::-1],
        )

    def _bicycles(self, side: int, middle: float) -> None:
        rng = self.rng
        for k in range(int(rng.integers(5, 9))):
            turn = np.pi / 2 + rng.normal(0, 0.12)
            self.put(
                people.bicycle(), middle - 2 + 0.55 * k, side * (self.bay + 0.1), 0.0, turn, 1.0, people.clothes(rng)
            )

    def _motorcycles(self, side: int, middle: float) -> None:
        rng = self.rng
        for k in range(int(rng.integers(3, 5))):
            turn = np.pi / 2 + rng.normal(0, 0.1) + (np.pi if side > 0 else 0)
            self.put(people.motorcycle(), middle - 1.6 + 1.05 * k, side * self.bay, 0.0, turn, 1.0, people.clothes(rng))

    def _curbside(self, side: int) -> None:
        """Parked vehicles wherever the curb is free."""
        rng, street = self.rng, self.street
        occupied = rng.uniform(0.35, 0.8) if self.grid else rng.uniform(0.25, 0.6)
        turn = 0.0 if side < 0 else np.pi
        for s in np.arange(street.length[0] + 4, street.length[1] - 4, 6.2):
            if rng.random() > occupied or not self.reserve(side, s - 2.9, s + 2.9):
                continue
            kind = rng.choice(["car", "van", "motorcycles", "bicycles", "trailer"], p=(0.80, 0.09, 0.035, 0.05, 0.025))
            d = side * (self.bay + rng.normal(0, 0.08))
            if kind == "car":
                self.put(vehicles.car(int(rng.integers(4))), s, d, 0.0, turn + rng.normal(0, 0.02), 1.0, self.paint())
            elif kind == "van":
                self.put(vehicles.van(), s, d, 0.0, turn, 0.95, self.paint())
            elif kind == "trailer":
                self.put(vehicles.trailer(1), s, d, 0.0, turn, 1.0, rng.uniform(0.1, 0.7, (1, 3)))
            elif kind == "bicycles":
                self._bicycles(side, s)
            else:
                self._motorcycles(side, s)

    def _sidewalk(self, side: int) -> None:
        """Lamps, trees, furniture, people."""
        rng, street = self.rng, self.street
        start, end = street.length
        curb = side * (street.half + 0.55)
        inner = side * (street.half + street.sidewalk - 0.45)
        lamp_gap, tree_gap = (27.0, rng.uniform(8, 12)) if self.grid else (21.0, rng.uniform(17, 28))
        for s in np.arange(start + rng.uniform(0, 10), end, lamp_gap):
            if street.free(s, curb, 4.0):
                self.put(
                    furniture.lamp(self.style if self.grid else "old-town"), s, curb, CURB, 0.0 if side < 0 else np.pi
                )
        row = side * (street.half + (0.95 if self.grid else 0.8))
        for s in np.arange(start + rng.uniform(0, 8), end, tree_gap):
            if street.free(s, row, 5.0) and rng.random() < 0.85:
                self.tree(s, row)
        for s in np.arange(start, end, 7.0):
            at = s + rng.uniform(-3, 3)
            if not street.free(at, curb, 4.0):
                continue
            pick = rng.random()
            if pick < 0.12:
                self.put(furniture.bin_(), at, curb, CURB, 0.0, 1.0, rng.uniform(0.05, 0.4, (1, 3)))
            elif pick < 0.19:
                self.put(furniture.cabinet(), at, inner, CURB, 0.0 if side > 0 else np.pi)
            elif pick < 0.24:
                self.put(furniture.hydrant(), at, curb, CURB)
            elif pick < 0.31 and street.sidewalk > 2.4:
                self.put(furniture.bench(), at, inner, CURB, 0.0 if side < 0 else np.pi)
            elif pick < 0.43:
                self.sign(int(rng.integers(2, 5)), at, curb, 0.0 if side < 0 else np.pi)
            elif pick < 0.52 and street.sidewalk > 2.2:
                self.put(people.bicycle(), at, inner, CURB, rng.choice([0, np.pi]), 1.0, people.clothes(rng))
        gap = 9.0 if self.grid else 6.0
        for s in np.arange(start + 20, end - 20, gap):
            d = side * (street.half + rng.uniform(1.0, max(street.sidewalk - 0.7, 1.1)))
            at = s + rng.uniform(-4, 4)
            if not street.free(at, d, 0.5) or rng.random() < 0.25:
                continue
            group = int(rng.choice([1, 1, 2, 3]))
            speed = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.5))
            for k in range(group):
                where = at + 0.25 * k, d + 0.5 * (k - (group - 1) / 2)
                if rng.random() < 0.7:
                    self.walker(*where, speed)
                else:
                    self.person(*where, CURB, rng.uniform(0, 6.28))

    def _crossings(self) -> None:
        rng, street = self.rng, self.street
        for center, half in street.crossings:
            for side in (-1, 1):
                for toward in (-1, 1):
                    d = side * (street.half + 0.6)
                    s = center + street.skew * d + toward * (half + 4.6)
                    if self.grid:
                        turn = 0.0 if side < 0 else np.pi
                        self.put(furniture.traffic_light(bool(side * toward > 0)), s, d, CURB, turn)
                    elif side * toward > 0:
                        self.sign(int(rng.integers(0, 2)), s, d, 0.0 if side < 0 else np.pi)
            for toward in (-1, 1):
                s = center + toward * (half + 2.7)
                for _ in range(int(rng.integers(0, 3))):
                    speed = float(rng.choice([-1, 1]) * rng.uniform(0.8, 1.4))
                    d = rng.uniform(2.5, street.half) * -np.sign(speed)
                    self.walker(s + rng.uniform(-1.2, 1.2) + street.skew * d, d, speed, 0.0, across=True)
            for side in (-1, 1):  # a vehicle waits in the side street
                if rng.random() < 0.6:
                    d = side * (street.half + rng.uniform(8, 14))
                    s = center + street.skew * d + side * half * 0.5
                    self.put(vehicles.car(int(rng.integers(4))), s, d, 0.0, -side * np.pi / 2, 1.0, self.paint())

    # -- traffic ------------------------------------------------------------------------------------------------

    def _vehicle(self) -> Mesh:
        rng = self.rng
        kind = rng.choice(
            ["car", "van", "truck", "bus"], p=(0.78, 0.1, 0.08, 0.04) if self.grid else (0.88, 0.1, 0.02, 0.0)
        )
        make = {"car": lambda: vehicles.car(int(rng.integers(4))), "van": vehicles.van,
                "truck": lambda: vehicles.truck(int(rng.integers(3))), "bus": vehicles.bus}[str(kind)]  # fmt: skip
        return make().placed((0, 0, 0), 0.0, 1.0, self.paint())

    def traffic(self, ego_lane: float, ego_speed: float) -> None:
        """Vehicles that drive: with the ego vehicle, in the other lanes, and riders near the curb."""
        rng, street = self.rng, self.street
        lanes = street.median / 2 + street.lane * (np.arange(street.lanes) + 0.5)
        for d in (*-lanes, *lanes):
            own = abs(d - ego_lane) < 0.1
            speed = ego_speed if d < 0 else -rng.uniform(0.7, 1.2) * ego_speed
            at = street.length[0] + rng.uniform(0, 20)
            while at < street.length[1] + (0 if d < 0 else self.drive):
                if not own or abs(at) > 13:
                    self.actors.append(Actor(self._vehicle(), at, float(d), float(speed)))
                at += rng.uniform(17, 45) if self.grid else rng.uniform(30, 70)
        for side in (-1, 1):
            margin = street.half - street.parking
            for figure in (people.bicyclist, people.motorcyclist):
                for _ in range(int(rng.integers(1, 3))):
                    slow = figure is people.bicyclist
                    speed = -side * (rng.uniform(3.0, 5.0) if slow else ego_speed)
                    s = rng.uniform(6, self.drive + 26) if side < 0 else rng.uniform(4, 2 * self.drive + 26)
                    d = side * (margin - (0.45 if slow else 0.9))
                    rider = figure().placed((0, 0, 0), 0.0, 1.0, people.clothes(rng))
                    self.actors.append(Actor(rider, float(s), float(d), float(speed)))
