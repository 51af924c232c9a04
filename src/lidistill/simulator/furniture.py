"""Lamps, signs, traffic lights, cones, barriers, fences, bins, benches and bus stops; z = 0 is the ground."""

from __future__ import annotations

from functools import cache

import numpy as np

from lidistill.simulator.mesh import SIGN, Builder, Mesh
from lidistill.simulator.shapes import ball, box, tube

GREY = (0.30, 0.31, 0.32)
SIGNS = ("stop", "yield", "limit", "direction", "parking")
"""Kinds of road sign; the position is the ``shape`` of ``sign``."""


@cache
def lamp(style: str) -> Mesh:
    """A street lamp: a mast with an arm (grid) or an old lantern (old-town)."""
    body = Builder("pole")
    if style == "grid":
        body.add(tube((0, 0, 0), (0, 0, 8.0), 0.11, 8, 0.07), "metal", GREY)
        body.add(tube((0, 0, 7.9), (0, 2.2, 8.4), 0.05, 6), "metal", GREY)
        body.add(box((0.3, 0.8, 0.14), (0, 2.4, 8.38)), "metal", (0.5, 0.5, 0.5))
        body.add(tube((0, 0, 0), (0, 0, 0.9), 0.17, 8), "metal", GREY)
    else:
        iron = (0.04, 0.06, 0.05)
        body.add(tube((0, 0, 0), (0, 0, 3.6), 0.08, 8, 0.05), "metal", iron)
        body.add(tube((0, 0, 0), (0, 0, 0.8), 0.15, 8, 0.1), "metal", iron)
        body.add(box((0.34, 0.34, 0.5), (0, 0, 3.85), (1.3, 1.3)), "lamp", (0.75, 0.7, 0.55))
        body.add(box((0.5, 0.5, 0.2), (0, 0, 4.2), (0.2, 0.2)), "metal", iron)
    return body.mesh()


@cache
def sign(shape: int) -> Mesh:
    """A road sign on its post, facing -x; its face is textured as ``SIGNS[shape]``."""
    body = Builder("pole")
    body.add(tube((0.05, 0, 0), (0.05, 0, 2.9), 0.04, 6), "metal", GREY)
    start, end = (-0.02, 0.0, 2.6), (0.02, 0.0, 2.6)
    plate = {
        "stop": lambda: tube(start, end, 0.42, 8),
        "yield": lambda: tube(start, end, 0.55, 3),
        "limit": lambda: tube(start, end, 0.38, 16),
        "direction": lambda: box((0.04, 1.7, 0.6), (0, 0, 2.6)),
        "parking": lambda: box((0.04, 0.65, 0.65), (0, 0, 2.6)),
    }[SIGNS[shape]]()
    body.add(plate, "reflector", label="traffic-sign", texture=SIGN, surface=shape)
    return body.mesh()


@cache
def traffic_light(arm: bool) -> Mesh:
    """Lamps on a post, facing -x; with ``arm`` a second set hangs 4 m to the left over the lane."""
    body = Builder("pole")
    body.add(tube((0, 0, 0), (0, 0, 5.6 if arm else 3.4), 0.09, 8), "metal", (0.2, 0.21, 0.2))
    heads = [(0.0, 0.22, 2.7)]
    if arm:
        body.add(tube((0, 0, 5.5), (0, 4.4, 5.7), 0.06, 6), "metal", (0.2, 0.21, 0.2))
        heads.append((0.0, 4.0, 5.5))
    for x, y, z in heads:
        body.add(box((0.25, 0.34, 0.95), (x, y, z)), "matte", (0.03, 0.04, 0.03), label="traffic-light")
        for k, color in enumerate(((0.9, 0.05, 0.03), (0.25, 0.18, 0.02), (0.02, 0.22, 0.08))):
            lens = tube((x - 0.15, y, z + 0.3 - 0.3 * k), (x - 0.12, y, z + 0.3 - 0.3 * k), 0.11, 8)
            body.add(lens, "lamp", color, label="traffic-light")
    return body.mesh()


@cache
def cone() -> Mesh:
    """A traffic cone, 0.75 m."""
    body = Builder("traffic-cone")
    orange = (0.85, 0.20, 0.02)
    body.add(box((0.42, 0.42, 0.05), (0, 0, 0.025)), "rubber", (0.1, 0.05, 0.03))
    for z0, z1, r0, r1, color, material in (
        (0.05, 0.25, 0.17, 0.13, orange, "matte"),
        (0.25, 0.40, 0.13, 0.10, (0.85, 0.85, 0.82), "reflector"),
        (0.40, 0.55, 0.10, 0.07, orange, "matte"),
        (0.55, 0.65, 0.07, 0.05, (0.85, 0.85, 0.82), "reflector"),
        (0.65, 0.75, 0.05, 0.03, orange, "matte"),
    ):
        body.add(tube((0, 0, z0), (0, 0, z1), r0, 10, r1), material, color)
    return body.mesh()


@cache
def barrier(kind: int) -> Mesh:
    """Two metres of barrier along x: concrete (0), water-filled plastic (1) or a red-white board on feet (2)."""
    body = Builder("barrier")
    if kind == 0:
        body.add(box((2.0, 0.6, 0.25), (0, 0, 0.125), (1, 0.75)), "concrete", (0.42, 0.41, 0.39))
        body.add(box((2.0, 0.42, 0.6), (0, 0, 0.55), (1, 0.5)), "concrete", (0.45, 0.44, 0.42))
    elif kind == 1:
        body.add(box((1.95, 0.5, 0.9), (0, 0, 0.45), (0.96, 0.4)), "matte", slot=0)
        body.add(box((1.9, 0.12, 0.12), (0, 0, 0.92)), "matte", (0.8, 0.8, 0.8), slot=0)
    else:
        for k in range(8):
            color = (0.7, 0.04, 0.03) if k % 2 else (0.8, 0.8, 0.78)
            for z in (0.95, 0.45):
                body.add(box((0.25, 0.04, 0.22), (-0.875 + 0.25 * k, 0, z)), "reflector" if k % 2 else "matte", color)
        for x in (-0.9, 0.9):
            body.add(box((0.05, 0.05, 1.1), (x, 0, 0.55)), "metal", GREY)
            body.add(box((0.3, 0.7, 0.08), (x, 0, 0.04)), "rubber", (0.06, 0.06, 0.06))
    return body.mesh()


@cache
def fence(kind: str) -> Mesh:
    """Two metres of fence along x: ``wood``, ``rail`` or ``mesh``."""
    body = Builder("fence")
    if kind == "wood":
        for x in np.arange(-0.92, 1.0, 0.16):
            body.add(box((0.11, 0.025, 1.15), (x, 0, 0.62)), "wood", slot=0)
        for z in (0.3, 0.95):
            body.add(box((2.0, 0.05, 0.08), (0, 0.03, z)), "wood", (0.8, 0.8, 0.8), slot=0)
    elif kind == "rail":
        for x in np.arange(-0.9, 1.0, 0.2):
            body.add(box((0.025, 0.025, 1.1), (x, 0, 0.6)), "metal", slot=0)
        for z in (0.15, 1.1):
            body.add(box((2.0, 0.04, 0.05), (0, 0, z)), "metal", slot=0)
    else:
        for z in np.arange(0.1, 1.9, 0.22):
            body.add(box((2.0, 0.012, 0.02), (0, 0, z)), "metal", slot=0)
        for x in np.arange(-0.8, 1.0, 0.25):
            body.add(box((0.02, 0.012, 1.8), (x, 0, 0.95)), "metal", slot=0)
    body.add(box((0.08, 0.08, 1.25 if kind != "mesh" else 1.95), (-1.0, 0, 0.6 if kind != "mesh" else 0.97)), "metal",
             slot=0)  # fmt: skip
    return body.mesh()


@cache
def bench() -> Mesh:
    """A park bench, its back towards -y."""
    body = Builder("street-furniture")
    wood = (0.28, 0.16, 0.08)
    for y in (-0.15, 0.0, 0.15):
        body.add(box((1.7, 0.12, 0.04), (0, y, 0.45)), "wood", wood)
    for z in (0.62, 0.8):
        body.add(box((1.7, 0.04, 0.12), (0, -0.25, z)), "wood", wood)
    for x in (-0.7, 0.7):
        body.add(box((0.06, 0.45, 0.45), (x, 0, 0.22)), "metal", (0.08, 0.08, 0.08))
        body.add(box((0.06, 0.05, 0.9), (x, -0.24, 0.45)), "metal", (0.08, 0.08, 0.08))
    return body.mesh()


@cache
def bin_() -> Mesh:
    """A litter bin."""
    body = Builder("street-furniture")
    body.add(tube((0, 0, 0.08), (0, 0, 0.85), 0.24, 10, 0.28), "metal", slot=0)
    body.add(tube((0, 0, 0.9), (0, 0, 1.02), 0.3, 10, 0.2), "metal", (0.1, 0.1, 0.1))
    body.add(tube((0, 0, 0), (0, 0, 1.0), 0.05, 5), "metal", (0.1, 0.1, 0.1))
    return body.mesh()


@cache
def cabinet() -> Mesh:
    """A grey junction box."""
    body = Builder("street-furniture")
    body.add(box((1.0, 0.4, 1.2), (0, 0, 0.6)), "metal", (0.35, 0.37, 0.36))
    body.add(box((1.04, 0.44, 0.06), (0, 0, 1.22)), "metal", (0.25, 0.27, 0.26))
    body.add(box((0.02, 0.41, 1.1), (0, 0, 0.6)), "matte", (0.1, 0.1, 0.1))
    return body.mesh()


@cache
def hydrant() -> Mesh:
    """A hydrant."""
    body = Builder("street-furniture")
    red = (0.6, 0.05, 0.03)
    body.add(tube((0, 0, 0), (0, 0, 0.65), 0.12, 8), "paint", red)
    body.add(ball((0.14, 0.14, 0.12), (0, 0, 0.68)), "paint", red)
    body.add(tube((0, -0.22, 0.45), (0, 0.22, 0.45), 0.07, 6), "paint", red)
    return body.mesh()


@cache
def bus_stop() -> Mesh:
    """A shelter open towards +y."""
    body = Builder("street-furniture")
    for x in (-1.9, 1.9):
        for y in (-0.65, 0.5):
            body.add(box((0.08, 0.08, 2.5), (x, y, 1.25)), "metal", GREY)
    body.add(box((4.2, 1.6, 0.1), (0, 0, 2.52)), "metal", (0.2, 0.21, 0.22))
    body.add(box((3.7, 0.03, 1.9), (0, -0.65, 1.2)), "glass", (0.25, 0.3, 0.3))
    body.add(box((0.1, 1.1, 1.8), (1.9, -0.1, 1.2)), "matte", (0.65, 0.3, 0.15))
    body.add(box((2.2, 0.35, 0.06), (0, -0.4, 0.48)), "wood", (0.3, 0.18, 0.1))
    return body.mesh()
