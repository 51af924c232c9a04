"""Pedestrians, cyclists, motorcyclists and their vehicles; x forward, feet on z = 0.

Palette slots: 0 = upper clothes, 1 = trousers, 2 = hair or helmet, 3 = skin, 4 = paint of the two-wheeler.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lidistill.simulator.mesh import Builder, Mesh, join
from lidistill.simulator.shapes import ball, box, extrude, hoop, tube, wheel

DARK = (0.03, 0.03, 0.035)


def _limb(
    body: Builder, joints: list[tuple[float, float, float]], radii: tuple[float, ...], slot: int, sides: int = 5
) -> None:
    for index in range(len(joints) - 1):
        body.add(tube(joints[index], joints[index + 1], radii[index], sides, radii[index + 1]), "cloth", slot=slot)


@cache
def pedestrian(kind: str, stride: int, fine: bool = True) -> Mesh:
    """``kind`` adult, child or worker, 1.75 m tall before scaling; ``stride`` 0 stands, 1 and 2 walk."""
    body = Builder(kind)
    sides, level = (5, 1) if fine else (3, 0)
    reach = (0.04, 0.28, -0.28)[stride]
    for side in (-1, 1):
        forward = reach * side
        hip = (0.0, side * 0.09, 0.92)
        knee = (forward * 0.6 + 0.03, side * 0.10, 0.48)
        foot = (forward, side * 0.10, 0.06)
        _limb(body, [hip, knee, foot], (0.095, 0.07, 0.05), 1, sides)
        body.add(box((0.26, 0.1, 0.09), (forward + 0.05, side * 0.10, 0.045)), "rubber", (0.05, 0.04, 0.04))
        hand = (-forward * 0.9 + 0.05, side * 0.27, 0.85)
        _limb(body, [(0, side * 0.21, 1.42), (-forward * 0.4, side * 0.26, 1.12), hand], (0.065, 0.05, 0.04), 0, sides)
        body.add(ball(0.05, hand, 0), "skin", slot=3)
    body.add(ball((0.14, 0.20, 0.16), (0, 0, 0.95), 0), "cloth", slot=1)
    body.add(ball((0.145, 0.225, 0.33), (0, 0, 1.22), level), "cloth", slot=0)
    body.add(tube((0, 0, 1.4), (0, 0, 1.55), 0.06, 5), "skin", slot=3)
    body.add(ball((0.10, 0.085, 0.125), (0.02, 0, 1.63), level), "skin", slot=3)
    body.add(ball((0.105, 0.095, 0.11), (-0.015, 0, 1.67), level), "cloth", slot=2)
    if kind == "worker":
        for z in (1.08, 1.25):
            body.add(tube((0, 0, z), (0, 0, z + 0.05), 0.215, 8), "reflector", (0.8, 0.8, 0.75))
    elif stride == 1:
        body.add(box((0.16, 0.28, 0.4), (-0.2, 0, 1.25)), "cloth", (0.12, 0.1, 0.1))
    return body.mesh()


@cache
def bicycle() -> Mesh:
    """A city bicycle standing upright."""
    body = Builder("bicycle")
    rear, front, crank = (-0.52, 0.0, 0.34), (0.53, 0.0, 0.34), (-0.06, 0.0, 0.30)
    saddle, head = (-0.22, 0.0, 0.88), (0.36, 0.0, 0.86)
    for hub in (rear, front):
        body.add(hoop(hub, 0.33, 0.05), "rubber", DARK)
        for angle in np.arange(3) * np.pi / 3:
            d = 0.32 * np.array([np.cos(angle), 0, np.sin(angle)])
            body.add(tube(np.array(hub) - d, np.array(hub) + d, 0.008, 3), "metal", (0.5, 0.5, 0.5))
    for start, end in ((rear, crank), (crank, saddle), (saddle, rear), (crank, head), (saddle, head), (head, front)):
        body.add(tube(start, end, 0.022, 5), "paint", slot=4)
    body.add(tube(head, (0.30, 0, 1.05), 0.018, 5), "metal", (0.4, 0.4, 0.4))
    body.add(tube((0.30, -0.3, 1.06), (0.30, 0.3, 1.06), 0.018, 5), "metal", (0.2, 0.2, 0.2))
    body.add(box((0.26, 0.15, 0.06), (-0.24, 0, 0.93)), "matte", DARK)
    body.add(box((0.35, 0.12, 0.02), (-0.55, 0, 0.72)), "metal", (0.2, 0.2, 0.2))
    body.add(box((0.02, 0.06, 0.06), (-0.74, 0, 0.7)), "reflector", (0.6, 0.03, 0.03))
    for side in (-1, 1):
        body.add(tube(crank, (-0.06 + side * 0.15, side * 0.1, 0.24), 0.015, 4), "metal", (0.3, 0.3, 0.3))
    return body.mesh()


@cache
def motorcycle() -> Mesh:
    """A motorcycle standing upright."""
    body = Builder("motorcycle")
    for x in (-0.72, 0.72):
        body.add(hoop((x, 0, 0.31), 0.27, 0.13), "rubber", DARK)
        body.add(wheel((x, 0, 0.31), 0.2, 0.06, 8), "metal", (0.3, 0.3, 0.3))
    body.add(extrude([(-0.35, 0.3), (-0.4, 0.6), (0.3, 0.65), (0.35, 0.3)], 0.34, 0.04), "metal", (0.15, 0.15, 0.16))
    body.add(ball((0.34, 0.17, 0.15), (0.16, 0, 0.85)), "paint", slot=4)
    body.add(box((0.75, 0.26, 0.12), (-0.45, 0, 0.82), (1, 0.8)), "matte", DARK)
    body.add(extrude([(-0.95, 0.7), (-0.95, 0.8), (-0.3, 0.75), (-0.3, 0.6)], 0.22, 0.03), "paint", slot=4)
    for side in (-1, 1):
        body.add(tube((0.72, side * 0.1, 0.31), (0.42, side * 0.1, 1.0), 0.03, 5), "metal", (0.5, 0.5, 0.5))
        body.add(tube((-0.72, side * 0.16, 0.34), (-0.1, side * 0.16, 0.3), 0.05, 6), "metal", (0.5, 0.5, 0.5))
        body.add(tube((0.42, side * 0.28, 1.02), (0.58, side * 0.3, 1.2), 0.012, 4), "metal", DARK)
        body.add(box((0.02, 0.14, 0.09), (0.57, side * 0.34, 1.22)), "matte", DARK)
    body.add(tube((0.42, -0.36, 1.02), (0.42, 0.36, 1.02), 0.02, 5), "metal", DARK)
    body.add(extrude([(0.5, 0.75), (0.42, 1.05), (0.55, 1.1), (0.68, 0.85)], 0.3, 0.04), "paint", slot=4)
    body.add(ball((0.06, 0.1, 0.1), (0.66, 0, 0.88)), "lamp", (0.9, 0.9, 0.85))
    body.add(box((0.03, 0.2, 0.14), (-0.98, 0, 0.66)), "reflector", (0.7, 0.5, 0.4))
    return body.mesh()


def _rider(label: str, lean: float, seat: float) -> Mesh:
    body = Builder(label)
    hip, neck = np.array([-0.22, 0, seat + 0.1]), np.array([-0.22 + lean, 0, seat + 0.62])
    for side in (-1, 1):
        bend = 0.08 * side
        foot = (0.0 + bend, side * 0.13, 0.24 + max(bend, 0))
        knee = (0.2, side * 0.14, seat - 0.28 + bend)
        _limb(body, [(hip[0], side * 0.1, hip[2]), knee, foot], (0.095, 0.07, 0.05), 1)
        body.add(box((0.26, 0.1, 0.09), (foot[0] + 0.06, foot[1], foot[2] - 0.02)), "rubber", DARK)
        elbow = (0.08 + lean * 0.3, side * 0.3, seat + 0.3)
        _limb(body, [(neck[0], side * 0.19, neck[2] - 0.08), elbow, (0.33, side * 0.28, 1.04)], (0.06, 0.05, 0.04), 0)
    middle = (hip + neck) / 2
    body.add(ball((0.15, 0.2, 0.15), hip, 0), "cloth", slot=1)
    body.add(tube(hip, neck, 0.17, 8, 0.19), "cloth", slot=0)
    body.add(ball((0.17, 0.21, 0.2), middle + (neck - hip) * 0.25, 0), "cloth", slot=0)
    head = neck + np.array([0.06, 0, 0.16])
    body.add(ball((0.10, 0.085, 0.12), head), "skin", slot=3)
    body.add(ball((0.135, 0.12, 0.13), head + np.array([-0.02, 0, 0.05])), "paint", slot=2)
    return body.mesh()


@cache
def bicyclist() -> Mesh:
    """A bicycle and who rides it."""
    return join([bicycle(), _rider("bicyclist", 0.25, 0.92)])


@cache
def motorcyclist() -> Mesh:
    """A motorcycle and who rides it."""
    return join([motorcycle(), _rider("motorcyclist", 0.22, 0.82)])


def clothes(rng: np.random.Generator, worker: bool = False) -> np.ndarray:
    """A palette (5, 3) for one person and two-wheeler."""
    wardrobe = np.array(
        [(0.6, 0.06, 0.06), (0.05, 0.1, 0.35), (0.03, 0.03, 0.04), (0.7, 0.7, 0.68), (0.1, 0.3, 0.12), (0.7, 0.5, 0.1),
         (0.3, 0.3, 0.32), (0.35, 0.15, 0.3), (0.1, 0.35, 0.45), (0.5, 0.36, 0.24)]
    )  # fmt: skip
    trousers = np.array(
        [(0.03, 0.05, 0.12), (0.02, 0.02, 0.02), (0.2, 0.2, 0.2), (0.3, 0.24, 0.15), (0.08, 0.12, 0.25)]
    )
    hair = np.array([(0.02, 0.015, 0.01), (0.12, 0.06, 0.03), (0.4, 0.28, 0.12), (0.4, 0.4, 0.4)])
    skin = np.array([(0.6, 0.38, 0.28), (0.45, 0.26, 0.17), (0.2, 0.11, 0.07), (0.65, 0.45, 0.35)])
    paints = np.array([(0.5, 0.03, 0.03), (0.03, 0.03, 0.03), (0.05, 0.1, 0.4), (0.6, 0.6, 0.6), (0.05, 0.3, 0.15)])
    rows = [t[rng.integers(len(t))] for t in (wardrobe, trousers, hair, skin, paints)]
    if worker:
        rows[0], rows[2] = np.array([0.9, 0.35, 0.02]), np.array([0.9, 0.75, 0.1])
    return np.array(rows)
