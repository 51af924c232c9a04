"""Vehicles that drive: in the lanes, with and against the ego vehicle, and riders near the curb."""

from __future__ import annotations

import numpy as np

from lidistill.simulator import people, vehicles
from lidistill.simulator.mesh import Mesh
from lidistill.simulator.plan import Actor, Plan


def drive(plan: Plan, ego_lane: float, ego_speed: float) -> None:
    """Fill the lanes around an ego vehicle that starts at s = 0 on d = ``ego_lane`` with ``ego_speed`` m/s."""
    rng, street = plan.rng, plan.street
    lanes = street.median / 2 + street.lane * (np.arange(street.lanes) + 0.5)
    duration = plan.drive / ego_speed
    for d in (*-lanes, *lanes):
        speed = ego_speed if d < 0 else -rng.uniform(0.7, 1.2) * ego_speed
        at = -60 + rng.uniform(0, 15)
        while at < 75 + (0 if d < 0 else 2 * plan.drive):
            if abs(d - ego_lane) > 0.1 or abs(at) > 12:
                plan.actors.append(Actor(*_vehicle(plan), at, float(d), float(speed)))
            at += rng.uniform(15, 38) if plan.grid else rng.uniform(18, 45)
    ego = Actor(vehicles.car(0), vehicles.car(0), 0.0, ego_lane, ego_speed)
    for side in (-1, 1):
        for make in (people.bicyclist, people.motorcyclist):
            for _ in range(int(rng.integers(1, 3) if make is people.bicyclist else rng.integers(0, 3))):
                rider = make().placed((0, 0, 0), 0.0, 1.0, people.clothes(rng))
                slow = make is people.bicyclist
                for _ in range(12):
                    speed = -side * (rng.uniform(3.0, 5.0) if slow else ego_speed)
                    s = rng.uniform(7, plan.drive + 38) if side < 0 else rng.uniform(4, 2 * plan.drive + 38)
                    d = side * (street.half - street.parking - (0.6 if slow else 1.1))
                    actor = Actor(rider, rider, float(s), float(d), float(speed))
                    if not any(_collide(actor, other, duration) for other in (ego, *plan.actors)):
                        plan.actors.append(actor)
                        break


def _vehicle(plan: Plan) -> tuple[Mesh, Mesh]:
    """A vehicle at the origin, in detail and for the distance."""
    rng = plan.rng
    shares = (0.79, 0.1, 0.06, 0.05) if plan.grid else (0.88, 0.1, 0.02, 0.0)
    kind = str(rng.choice(["car", "van", "truck", "bus"], p=shares))
    if kind == "car":
        shape = int(rng.integers(4))
        meshes = [vehicles.car(shape), vehicles.car(shape, fine=False)]
    elif kind == "truck":
        meshes = [vehicles.truck(int(rng.integers(3)))] * 2
    else:
        meshes = [vehicles.van() if kind == "van" else vehicles.bus()] * 2
    paint = plan.paint()
    return meshes[0].placed((0, 0, 0), 0.0, 1.0, paint), meshes[1].placed((0, 0, 0), 0.0, 1.0, paint)


def _collide(a: Actor, b: Actor, duration: float) -> bool:
    """Whether two actors come closer than a car's length and half its width within the drive."""
    if a.across or b.across:
        return False  # drivers wait for people on the crosswalk, out of our sight
    if abs(a.d - b.d) > 1.7:
        return False
    start, end = a.s - b.s, a.s - b.s + (a.speed - b.speed) * duration
    return bool(min(start, end) < 5.5 and max(start, end) > -5.5)
