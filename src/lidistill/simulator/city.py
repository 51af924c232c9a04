"""A piece of city: a street with buildings, plants, furniture, parked vehicles, and actors that move along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidistill.errors import InputError, nearest
from lidistill.simulator import blocks, curb, traffic
from lidistill.simulator.mesh import Mesh, join
from lidistill.simulator.plan import Actor, Plan
from lidistill.simulator.street import Street, ground, lay_out
from lidistill.simulator.textures import SurfaceTable

STYLES = ("grid", "old-town")
SIGHT = 95.0
"""How far the city is built before the first and beyond the last position of the ego vehicle, metres."""


@dataclass(frozen=True, eq=False)
class City:
    """``static`` never moves; ``actors`` do; ``ego`` = (d of its lane, speed in m/s), at s = 0 when t = 0."""

    style: str
    street: Street
    static: Mesh
    surfaces: SurfaceTable
    actors: tuple[Actor, ...]
    ego: tuple[float, float]


def check_style(style: str) -> None:
    """Raise ``InputError`` for an unknown style."""
    if style not in STYLES:
        raise InputError(f"there is no city style {style!r}{nearest(style, STYLES)}")


def build(style: str, rng: np.random.Generator, duration: float) -> City:
    """Draw a city along a drive of ``duration`` seconds. Raises ``InputError`` for an unknown style."""
    check_style(style)
    speed = rng.uniform(6.5, 9.0) if style == "grid" else rng.uniform(4.0, 6.0)
    drive = speed * max(duration, 0.5)
    street = lay_out(style, rng, (-SIGHT, SIGHT + drive))
    lane = -(street.median / 2 + street.lane * (rng.integers(street.lanes) + 0.5))
    plan = Plan(style, street, rng, drive)
    blocks.fill(plan)
    blocks.backdrop(plan)
    curb.landmarks(plan)
    curb.parked(plan)
    curb.sidewalks(plan)
    curb.crossings(plan)
    traffic.drive(plan, float(lane), speed)
    plan.parts.append(ground(street))
    rows = plan.surfaces
    table = SurfaceTable(*(np.array(c, np.float32) for c in (rows.origin, rows.axis, rows.shape, rows.colors)))
    return City(style, street, join(plan.parts), table, tuple(plan.actors), (float(lane), float(speed)))
