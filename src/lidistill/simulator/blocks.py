"""What stands behind the sidewalks: buildings, gardens, parks, and what closes the view."""

from __future__ import annotations

import numpy as np

from lidistill.simulator import buildings, furniture, plants
from lidistill.simulator.plan import Plan
from lidistill.simulator.street import CURB


def fill(plan: Plan) -> None:
    """Fill every block on both sides of the street."""
    for side in (-1, 1):
        for block in plan.street.blocks():
            s0, s1 = block[0], block[2]
            if plan.rng.random() < 0.27 and s1 - s0 > 25:
                _park(plan, s0, s1, side)
            else:
                _front_row(plan, block, side)
            _side_rows(plan, block, side)


def _depth(plan: Plan) -> float:
    return 15.0 if plan.grid else 9.0


def _front(plan: Plan) -> float:
    return plan.street.half + plan.street.sidewalk + 0.05


def _front_row(plan: Plan, block: tuple[float, float, float, float], side: int) -> None:
    street, rng = plan.street, plan.rng
    s0, skew0, s1, skew1 = block
    front = _front(plan)
    d = side * front
    at, end = s0 + skew0 * d + street.sidewalk + 0.3, s1 + skew1 * d - street.sidewalk - 0.3
    strip = rng.choice([0.0, 3.0, 6.0], p=(0.4, 0.3, 0.3)) if plan.grid else 0.0  # lawn before a whole row of blocks
    if strip:
        plan.green(side, at, end)
    while end - at > 6:
        length = min(rng.uniform(13, 26) if plan.grid else rng.uniform(6.5, 12), end - at)
        if end - at - length < 6:
            length = end - at
        setback = strip if plan.grid else rng.choice([0.0, 4.0], p=(0.65, 0.35))
        if rng.random() < 0.16:
            _garden(plan, at, at + length, side, front, fenced=not plan.grid or rng.random() < 0.5)
        else:
            if plan.grid and strip:
                _shrubs(plan, at, at + length, side, front, strip)
            elif setback:
                _garden(plan, at, at + length, side, front, fenced=rng.random() < 0.75, depth=setback)
            _building(plan, at + length / 2, side * (front + setback), length, _depth(plan), 0.0 if side > 0 else np.pi)
        at += length + (rng.choice([0.0, 0.0, 3.0]) if plan.grid else 0.0)


def _side_rows(plan: Plan, block: tuple[float, float, float, float], side: int) -> None:
    """Buildings along the side streets."""
    street, rng = plan.street, plan.rng
    s0, skew0, s1, skew1 = block
    for edge, skew, away in ((s0, skew0, 1), (s1, skew1, -1)):
        if edge in street.length:
            continue
        reach = _front(plan) + _depth(plan) + 7
        while reach < street.depth - 8:
            length = rng.uniform(9, 18)
            middle = side * (reach + length / 2)
            s = edge + skew * middle + away * (street.sidewalk + 0.2)
            _building(plan, s, middle, length, 10.0, np.pi / 2 - np.arctan(skew) + (np.pi if away > 0 else 0.0))
            reach += length + rng.uniform(0, 3)


def _building(plan: Plan, s: float, d: float, length: float, depth: float, turn: float) -> None:
    usual, other = (buildings.high_rise, buildings.house) if plan.grid else (buildings.house, buildings.high_rise)
    make = other if plan.rng.random() < 0.06 else usual
    heading = plan.street.heading(s) + turn
    plan.parts.append(make(plan.surfaces, plan.rng, plan.street.point(s, d, CURB), heading, length, depth))


def _edge(plan: Plan, s0: float, s1: float, side: int, front: float) -> None:
    """A wall, hedge or fence along the sidewalk."""
    rng, street = plan.rng, plan.street
    choice = str(rng.choice(["wall", "hedge", "hedge", "wood", "rail", "mesh"]))
    if choice == "wall":
        ends = street.world([s0, s1], [side * (front + 0.3)] * 2, CURB)
        plan.parts.append(buildings.wall(plan.surfaces, rng, ends[0], ends[1], rng.uniform(0.9, 2.0)))
        return
    hedge = choice == "hedge"
    color = plants.leaf_color(rng, False)[0] if hedge else rng.uniform(0.05, 0.5) * np.array([1, 0.85, 0.7])
    variant, height = int(rng.integers(plants.VARIANTS)), rng.uniform(0.6, 1.2) if hedge else 1.0
    for s in np.arange(s0 + 1, s1 - 0.9, 2.0):
        piece = plants.hedge(variant, plan.near(s)) if hedge else furniture.fence(choice)
        plan.put(piece, s, side * (front + 0.45), CURB, 0.0, (1, 1, height), color[None])


def _garden(plan: Plan, s0: float, s1: float, side: int, front: float, fenced: bool, depth: float = 12.0) -> None:
    """An unbuilt plot or front garden."""
    rng = plan.rng
    plan.green(side, s0, s1, soil=rng.random() < 0.15)
    if fenced:
        _edge(plan, s0, s1, side, front)
    for _ in range(int(np.ceil((s1 - s0) * min(depth, 8) / 22))):
        s, d = rng.uniform(s0 + 1, s1 - 1), side * (front + rng.uniform(1.2, max(depth - 0.8, 1.6)))
        if depth > 6 and rng.random() < 0.6:
            plan.tree(s, d)
        else:
            plan.bush(s, d)


def _shrubs(plan: Plan, s0: float, s1: float, side: int, front: float, depth: float) -> None:
    """Bushes and small trees on the lawn before a block of flats."""
    rng = plan.rng
    for _ in range(int((s1 - s0) / 5)):
        plan.bush(rng.uniform(s0, s1), side * (front + rng.uniform(0.9, depth - 0.7)))
    if depth > 5 and rng.random() < 0.7:
        plan.tree(rng.uniform(s0 + 2, s1 - 2), side * (front + 2.5), size=0.8)


def _park(plan: Plan, s0: float, s1: float, side: int) -> None:
    """Lawn, trees, bushes and benches instead of buildings."""
    rng, front = plan.rng, _front(plan)
    plan.green(side, s0, s1)
    depth = _depth(plan) + 6
    if rng.random() < 0.4:
        _edge(plan, s0 + 6, s1 - 6, side, front)
    for _ in range(int((s1 - s0) * depth / 55)):
        plan.tree(rng.uniform(s0 + 5, s1 - 5), side * (front + rng.uniform(2.0, depth)))
    for _ in range(int((s1 - s0) * depth / 70)):
        plan.bush(rng.uniform(s0 + 5, s1 - 5), side * (front + rng.uniform(1.2, depth)))
    for _ in range(int((s1 - s0) / 20)):
        s = rng.uniform(s0 + 6, s1 - 6)
        plan.put(furniture.bench(), s, side * (front + 0.9), CURB, np.pi if side > 0 else 0.0)
    plan.person(rng.uniform(s0 + 6, s1 - 6), side * (front + 3.5), CURB, rng.uniform(0, 6.28))


def backdrop(plan: Plan) -> None:
    """Buildings and trees that close the view at the ends of all streets."""
    street, rng = plan.street, plan.rng
    for side in (-1, 1):
        at = street.length[0]
        while at < street.length[1]:
            length = rng.uniform(14, 26)
            _building(plan, at + length / 2, side * (street.depth + 14), length, 12, 0.0 if side > 0 else np.pi)
            at += length + rng.uniform(0, 4)
    for end, turn in ((street.length[0] - 12, np.pi / 2), (street.length[1] + 12, -np.pi / 2)):
        for d in np.arange(-street.depth, street.depth, 22.0):
            _building(plan, end, d, 20, 12, turn)
        for d in np.arange(-18, 19, 5.0):
            plan.tree(end + (5 if end < 0 else -5), d + rng.uniform(-1, 1), 0.0)
