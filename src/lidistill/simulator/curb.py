"""What stands at the curb and on the sidewalks: landmarks, parked vehicles, furniture, people, crossings."""

from __future__ import annotations

import numpy as np

from lidistill.simulator import furniture, people, vehicles
from lidistill.simulator.plan import Plan
from lidistill.simulator.street import CURB


def landmarks(plan: Plan) -> None:
    """Rare classes that nearly every stretch of street should show."""
    big = 1.0 if plan.grid else 0.85
    if place := plan.spot(23):
        _site(plan, *place)
    for put, length, chance in (
        (_bus_stop, 13.0, 0.9 * big),
        (_trailer, 11.5, 0.95 * big),
        (_truck, 10.5, 0.95 * big),
        (bicycles, 4.5, 1.0),
        (motorcycles, 4.5, 1.0),
    ):
        if plan.rng.random() < chance and (place := plan.spot(length)):
            put(plan, *place)


def _site(plan: Plan, side: int, middle: float) -> None:
    """A construction site that takes the parking lane: machine, barriers, cones, workers."""
    rng, street = plan.rng, plan.street
    edge = side * (street.half - street.parking - 0.2)
    kind = int(rng.integers(3))
    colors = np.array([(0.7, 0.1, 0.05), (0.75, 0.75, 0.72)])
    for k, s in enumerate(np.arange(middle - 7, middle + 7.1, 2.05)):
        plan.put(furniture.barrier(kind), s, edge, 0.0, rng.normal(0, 0.02), 1.0, colors[k % 2][None])
    for s in (middle - 8.2, middle + 8.2):
        plan.put(furniture.barrier(2), s, side * plan.bay, 0.0, np.pi / 2)
        for k in range(5):
            along = s + np.sign(s - middle) * (0.9 + 0.5 * k)
            across = edge + side * 0.45 * k
            plan.put(furniture.cone(), along, across, 0.0, rng.uniform(0, 6), rng.uniform(1.0, 1.25))
    machine = vehicles.excavator() if rng.random() < 0.55 else vehicles.loader()
    turn = rng.choice([0, np.pi]) + rng.normal(0, 0.06)
    plan.put(machine, middle + rng.uniform(-1.5, 1.5), side * (plan.bay + 0.25), 0.0, turn, 0.9)
    for _ in range(3):
        d = side * (street.half + rng.uniform(0.5, 1.6))
        plan.person(middle + rng.uniform(-6, 6), d, CURB, rng.uniform(0, 6.28), "worker")
    for s in (middle - 4, middle + 4.5):
        plan.put(furniture.cone(), s, side * (street.half + 0.4), CURB)


def _bus_stop(plan: Plan, side: int, middle: float) -> None:
    rng, street = plan.rng, plan.street
    liveries = [[0.6, 0.05, 0.05], [0.75, 0.72, 0.65], [0.05, 0.2, 0.45], [0.65, 0.45, 0.03]]
    colors = np.stack([liveries[rng.integers(4)], rng.uniform(0.05, 0.6, 3)])
    plan.put(vehicles.bus(), middle, side * (plan.bay - 0.15), 0.0, 0.0 if side < 0 else np.pi, 1.0, colors)
    if street.sidewalk > 2.4:
        plan.put(furniture.bus_stop(), middle + 3, side * (street.half + 2.0), CURB, 0.0 if side < 0 else np.pi)
    for _ in range(int(rng.integers(1, 4))):
        plan.person(middle + rng.uniform(-3, 5), side * (street.half + 1.0), CURB, rng.uniform(0, 6.28))


def _trailer(plan: Plan, side: int, middle: float) -> None:
    shape = int(plan.rng.choice([0, 1, 2], p=(0.5, 0.2, 0.3) if plan.grid else (0.2, 0.3, 0.5)))
    paint = plan.rng.uniform(0.1, 0.7, (1, 3))
    plan.put(vehicles.trailer(shape), middle, side * plan.bay, 0.0, 0.0 if side < 0 else np.pi, 1.0, paint)


def _truck(plan: Plan, side: int, middle: float) -> None:
    size, shape = 1.0 if plan.grid else 0.85, int(plan.rng.integers(3))
    turn = 0.0 if side < 0 else np.pi
    plan.put(vehicles.truck(shape), middle, side * plan.bay, 0.0, turn, size, plan.paint()[::-1])


def bicycles(plan: Plan, side: int, middle: float) -> None:
    """A row of parked bicycles."""
    rng = plan.rng
    for k in range(int(rng.integers(4, 8))):
        turn = np.pi / 2 + rng.normal(0, 0.12)
        s = middle - 2 + 0.6 * k
        plan.put(people.bicycle(), s, side * (plan.bay + 0.1), 0.0, turn, 1.0, people.clothes(rng))


def motorcycles(plan: Plan, side: int, middle: float) -> None:
    """A row of parked motorcycles."""
    rng = plan.rng
    for k in range(int(rng.integers(3, 5))):
        turn = np.pi / 2 + rng.normal(0, 0.1) + (np.pi if side > 0 else 0)
        plan.put(people.motorcycle(), middle - 1.1 + 1.05 * k, side * plan.bay, 0.0, turn, 1.0, people.clothes(rng))


def parked(plan: Plan) -> None:
    """Vehicles wherever the curb is free."""
    rng, street = plan.rng, plan.street
    for side in (-1, 1):
        occupied = rng.uniform(0.55, 0.95) if plan.grid else rng.uniform(0.45, 0.85)
        turn = 0.0 if side < 0 else np.pi
        for s in np.arange(street.length[0] + 4, street.length[1] - 4, 5.7):
            if rng.random() > occupied or not plan.reserve(side, s - 2.8, s + 2.8, 7.5):
                continue
            kind = rng.choice(["car", "van", "motorcycles", "bicycles", "trailer"], p=(0.85, 0.07, 0.015, 0.03, 0.035))
            d = side * (plan.bay + rng.normal(0, 0.08))
            if kind == "car":
                mesh = vehicles.car(int(rng.integers(4)), plan.near(s))
                plan.put(mesh, s, d, 0.0, turn + rng.normal(0, 0.02), 1.0, plan.paint())
            elif kind == "van":
                plan.put(vehicles.van(), s, d, 0.0, turn, 0.95, plan.paint())
            elif kind == "trailer":
                plan.put(vehicles.trailer(1), s, d, 0.0, turn, 1.0, rng.uniform(0.1, 0.7, (1, 3)))
            elif kind == "bicycles":
                bicycles(plan, side, s)
            else:
                motorcycles(plan, side, s)


def sidewalks(plan: Plan) -> None:
    """Lamps, trees, furniture and people on both sidewalks."""
    for side in (-1, 1):
        _lamps_and_trees(plan, side)
        _furniture(plan, side)
        _walkers(plan, side)


def _lamps_and_trees(plan: Plan, side: int) -> None:
    rng, street = plan.rng, plan.street
    start, end = street.length
    curb, row = side * (street.half + 0.55), side * (street.half + (1.0 if plan.grid else 0.8))
    for s in np.arange(start + rng.uniform(0, 10), end, 27.0 if plan.grid else 21.0):
        if street.free(s, curb, 4.0):
            plan.put(furniture.lamp(plan.style), s, curb, CURB, 0.0 if side < 0 else np.pi)
    for s in np.arange(start + rng.uniform(0, 8), end, rng.uniform(7, 10) if plan.grid else rng.uniform(11, 18)):
        if street.free(s, row, 4.0) and rng.random() < 0.9:
            plan.tree(s, row, size=1.0 if plan.grid else 0.85)


def _furniture(plan: Plan, side: int) -> None:
    rng, street = plan.rng, plan.street
    curb, inner = side * (street.half + 0.5), side * (street.half + street.sidewalk - 0.45)
    inward = 0.0 if side < 0 else np.pi
    for s in np.arange(*street.length, 7.0):
        at = s + rng.uniform(-3, 3)
        if not street.free(at, curb, 4.0):
            continue
        pick = rng.random()
        if pick < 0.12:
            plan.put(furniture.bin_(), at, curb, CURB, 0.0, 1.0, rng.uniform(0.05, 0.4, (1, 3)))
        elif pick < 0.19:
            plan.put(furniture.cabinet(), at, inner, CURB, np.pi - inward)
        elif pick < 0.24:
            plan.put(furniture.hydrant(), at, curb, CURB)
        elif pick < 0.31 and street.sidewalk > 2.4:
            plan.put(furniture.bench(), at, inner, CURB, inward)
        elif pick < 0.43:
            plan.sign(int(rng.integers(2, 5)), at, curb, inward)
        elif pick < 0.50 and street.sidewalk > 2.2:
            plan.put(people.bicycle(), at, inner, CURB, rng.choice([0, np.pi]), 1.0, people.clothes(rng))


def _walkers(plan: Plan, side: int) -> None:
    rng, street = plan.rng, plan.street
    for s in np.arange(-45, plan.drive + 60, 11.0 if plan.grid else 8.0):
        d = side * (street.half + rng.uniform(1.0, max(street.sidewalk - 0.7, 1.1)))
        at = s + rng.uniform(-4, 4)
        if not street.free(at, d, 0.5) or rng.random() < 0.25:
            continue
        group = int(rng.choice([1, 1, 2, 3]))
        speed = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.5))
        for k in range(group):
            where = at + 0.25 * k, d + 0.5 * (k - (group - 1) / 2)
            if plan.near(at) and rng.random() < 0.7:
                plan.walker(*where, speed)
            else:
                plan.person(*where, CURB, rng.uniform(0, 6.28))


def crossings(plan: Plan) -> None:
    """Traffic lights or signs at the corners, people on the crosswalks, vehicles that wait."""
    rng, street = plan.rng, plan.street
    for center, half in street.crossings:
        for side in (-1, 1):
            for toward in (-1, 1):
                d = side * (street.half + 0.6)
                s = center + street.skew * d + toward * (half + 4.6)
                if plan.grid:
                    light = furniture.traffic_light(side * toward > 0)
                    plan.put(light, s, d, CURB, 0.0 if side < 0 else np.pi)
                elif side * toward > 0:
                    plan.sign(int(rng.integers(0, 2)), s, d, 0.0 if side < 0 else np.pi)
            if rng.random() < 0.6:
                d = side * (street.half + rng.uniform(8, 14))
                s = center + street.skew * d + side * half * 0.5
                plan.put(vehicles.car(int(rng.integers(4))), s, d, 0.0, -side * np.pi / 2, 1.0, plan.paint())
        for toward in (-1, 1) if plan.near(center) else ():
            for _ in range(int(rng.integers(0, 3))):
                speed = float(rng.choice([-1, 1]) * rng.uniform(0.8, 1.4))
                d = rng.uniform(2.5, street.half) * -np.sign(speed)
                s = center + toward * (half + 2.7) + rng.uniform(-1.2, 1.2) + street.skew * d
                plan.walker(s, d, speed, 0.0, across=True)
