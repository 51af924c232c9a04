"""Cars, vans, trucks, buses, trailers and construction vehicles; x forward, wheels on z = 0, palette slot 0 = paint."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from lidistill.simulator.mesh import Builder, Mesh
from lidistill.simulator.shapes import box, extrude, panels, quad, tube, wheel

GLASS = (0.05, 0.06, 0.08)
DARK = (0.03, 0.03, 0.035)
WHITE_LAMP = (0.9, 0.9, 0.85)
RED_LAMP = (0.55, 0.03, 0.03)


def _wheels(
    body: Builder, axles: list[float], width: float, radius: float, tyre: float = 0.22, fine: bool = True
) -> None:
    for x in axles:
        for side in (-1, 1):
            y = side * (width / 2 - tyre / 2 + 0.02)
            body.add(wheel((x, y, radius), radius, tyre, 10 if fine else 6), "rubber", DARK)
            if not fine:
                continue
            body.add(
                wheel((x, y + side * (tyre / 2 + 0.005), radius), radius * 0.6, 0.02, 7), "metal", (0.4, 0.4, 0.42)
            )


def _lamps(body: Builder, front: float, rear: float, width: float, z_front: float, z_rear: float) -> None:
    for side in (-1, 1):
        y = side * (width / 2 - 0.25)
        body.add(box((0.08, 0.36, 0.14), (front, y, z_front)), "lamp", WHITE_LAMP)
        body.add(box((0.06, 0.26, 0.18), (rear, y, z_rear)), "reflector", RED_LAMP)
    for x in (front + 0.02, rear - 0.02):
        body.add(box((0.04, 0.5, 0.12), (x, 0, 0.45)), "reflector", (0.85, 0.85, 0.8))


def _cabin(body: Builder, low: tuple[float, float], high: tuple[float, float], z: tuple[float, float],
           widths: tuple[float, float], pillars: tuple[float, ...]) -> None:  # fmt: skip
    """Glass house: ``low``/``high`` = rear and front x at its foot and at the roof; ``pillars`` cut its sides."""
    (x0, x1), (u0, u1), (z0, z1) = low, high, z
    foot, roof = widths[0] / 2, widths[1] / 2
    for side in (-1, 1):
        corners = [(x0, side * foot, z0), (x1, side * foot, z0), (u1, side * roof, z1), (u0, side * roof, z1)]
        for index, piece in enumerate(panels(corners, pillars)):
            glass = index % 2 == 1
            body.add(piece, "glass" if glass else "paint", GLASS if glass else (1, 1, 1), slot=-1 if glass else 0)
    for low_x, high_x in ((x0, u0), (x1, u1)):
        corners = [(low_x, -foot, z0), (low_x, foot, z0), (high_x, roof, z1), (high_x, -roof, z1)]
        for index, piece in enumerate(panels(corners, (0.06, 0.94))):
            glass = index == 1
            body.add(piece, "glass" if glass else "paint", GLASS if glass else (1, 1, 1), slot=-1 if glass else 0)
    body.add(quad((u0, -roof, z1), (u1, -roof, z1), (u1, roof, z1), (u0, roof, z1)), "paint", slot=0)


@cache
def car(shape: int, fine: bool = True) -> Mesh:
    """Saloon, hatchback, estate or off-roader (``shape`` 0..3); not ``fine`` = seen from afar."""
    length, width, height = ((4.6, 1.8, 1.45), (4.0, 1.75, 1.48), (4.7, 1.82, 1.5), (4.5, 1.88, 1.72))[shape]
    waist, sill, h = height * 0.60, 0.24 if shape < 3 else 0.32, length / 2
    deck = (0.62, 0.1, 0.1, 0.1)[shape]  # how far the boot reaches out behind the rear window
    hood = 1.15 if shape != 1 else 0.9
    body = Builder("car")
    profile = [
        (-h + 0.10, sill), (-h, sill + 0.15), (-h + 0.04, waist - 0.08), (-h + 0.15, waist),
        (h - hood, waist + 0.02), (h - 0.25, waist - 0.16), (h - 0.03, waist - 0.30), (h, sill + 0.2), (h - 0.12, sill),
    ]  # fmt: skip
    body.add(extrude(profile, width, 0.09), "paint", slot=0)
    body.add(box((length - 0.3, width - 0.12, 0.14), (0, 0, sill + 0.01)), "matte", DARK)
    back = -h + deck
    lean = 0.6 if shape in (0, 1) else 0.35
    pillars = (0.05, 0.34, 0.38, 0.64, 0.68, 0.95) if shape >= 2 else (0.10, 0.48, 0.53, 0.93)
    _cabin(body, (back, h - hood + 0.1), (back + lean, h - hood - 0.75), (waist - 0.03, height),
           (width * 0.9, width * 0.72), pillars)  # fmt: skip
    _wheels(body, [-h + 0.85, h - 0.85], width, 0.32 if shape < 3 else 0.37, fine=fine)
    _lamps(body, h - 0.03, -h + 0.02, width, waist - 0.25, waist - 0.15)
    body.add(box((0.05, width * 0.5, 0.12), (h - 0.01, 0, sill + 0.22)), "matte", DARK)
    for side in (-1, 1) if fine else ():
        body.add(box((0.12, 0.2, 0.14), (h - hood - 0.15, side * (width / 2 + 0.06), waist + 0.06)), "paint", slot=0)
        for x in (-0.05, -h * 0.42):  # door gaps
            body.add(box((0.02, 0.02, waist - sill - 0.25), (x, side * width / 2, (waist + sill) / 2)), "matte", DARK)
    return body.mesh()


@cache
def van() -> Mesh:
    """A delivery van."""
    body = Builder("van")
    profile = [
        (-2.7, 0.35),
        (-2.72, 2.3),
        (-2.55, 2.42),
        (1.2, 2.4),
        (1.75, 1.45),
        (2.6, 1.1),
        (2.72, 0.6),
        (2.6, 0.35),
    ]
    body.add(extrude(profile, 1.98, 0.08), "paint", slot=0)
    body.add(box((5.2, 1.85, 0.2), (0, 0, 0.36)), "matte", DARK)
    for side in (-1, 1):
        y = side * 0.995
        body.add(quad((0.35, y, 1.4), (1.55, y, 1.4), (1.12, y, 2.15), (0.35, y, 2.15)), "glass", GLASS)
        body.add(box((0.12, 0.2, 0.3), (1.5, side * 1.08, 1.45)), "matte", DARK)
        body.add(box((0.02, 0.02, 1.7), (0.2, y, 1.4)), "matte", DARK)
        body.add(quad((-2.735, side * 0.1, 1.5), (-2.735, side * 0.8, 1.5), (-2.735, side * 0.8, 2.1),
                      (-2.735, side * 0.1, 2.1)), "glass", GLASS)  # fmt: skip
    body.add(quad((1.785, -0.85, 1.47), (1.785, 0.85, 1.47), (1.30, 0.8, 2.3), (1.30, -0.8, 2.3)), "glass", GLASS)
    _wheels(body, [-1.65, 1.75], 1.98, 0.35)
    _lamps(body, 2.68, -2.73, 1.98, 0.85, 1.1)
    return body.mesh()


def _truck_cab(body: Builder, x: float, width: float, height: float) -> None:
    """A flat-nosed cab whose front stands at ``x``."""
    body.add(box((2.0, width, height - 0.6), (x - 1.0, 0, 0.6 + (height - 0.6) / 2), (0.92, 0.96)), "paint", slot=0)
    z0, z1, half = 0.6 + (height - 0.6) * 0.45, height - 0.3, width / 2
    body.add(quad((x + 0.01, -half * 0.9, z0), (x + 0.01, half * 0.9, z0), (x - 0.05, half * 0.88, z1),
                  (x - 0.05, -half * 0.88, z1)), "glass", GLASS)  # fmt: skip
    for side in (-1, 1):
        y = side * (half + 0.01)
        body.add(quad((x - 1.2, y, z0), (x - 0.3, y, z0), (x - 0.35, y, z1), (x - 1.2, y, z1)), "glass", GLASS)
        body.add(box((0.1, 0.25, 0.5), (x - 0.1, side * (half + 0.18), z1 - 0.2)), "matte", DARK)
    body.add(box((0.08, width * 0.8, 0.35), (x + 0.02, 0, 0.95)), "matte", DARK)


@cache
def truck(shape: int) -> Mesh:
    """A box truck (0), a tipper (1) or a tank truck (2); palette slot 1 = its body."""
    body = Builder("truck")
    length, width = ((8.2, 2.5), (7.2, 2.5), (8.6, 2.5))[shape]
    front, rear = length / 2, -length / 2
    _truck_cab(body, front, width, 2.9)
    body.add(box((length - 0.3, 0.9, 0.35), (-0.1, 0, 0.8)), "metal", (0.12, 0.12, 0.13))
    middle, span = (front - 2.2 + rear) / 2, front - 2.2 - rear
    if shape == 0:
        body.add(box((span, width, 2.5), (middle, 0, 1.05 + 1.25)), "paint", slot=1)
        for x in np.linspace(rear + 0.3, front - 2.5, 7):
            for side in (-1, 1):
                body.add(box((0.05, 0.02, 2.4), (x, side * width / 2, 2.3)), "metal", (0.55, 0.55, 0.55))
        body.add(box((0.03, 0.06, 2.3), (rear - 0.01, 0, 2.3)), "metal", DARK)
    elif shape == 1:
        profile = [(rear + 0.3, 1.0), (rear, 2.0), (front - 2.1, 2.3), (front - 2.3, 1.0)]
        body.add(extrude(profile, width, 0.05), "paint", slot=1)
        for x in np.linspace(rear + 0.5, front - 2.7, 5):
            for side in (-1, 1):
                body.add(box((0.12, 0.08, 1.0), (x, side * width / 2, 1.55)), "paint", (0.7, 0.7, 0.7), slot=1)
    else:
        body.add(tube((rear + 0.1, 0, 1.95), (front - 2.3, 0, 1.95), 1.0, 14), "metal", slot=1)
        body.add(box((span * 0.7, 0.5, 0.1), (middle, 0, 2.98)), "metal", (0.3, 0.3, 0.3))
    _wheels(body, [rear + 1.2, rear + 2.3, front - 1.1], width, 0.5, 0.35)
    _lamps(body, front, rear, width, 0.75, 0.9)
    return body.mesh()


@cache
def bus() -> Mesh:
    """A city bus."""
    body = Builder("bus")
    length, width, height = 11.6, 2.55, 3.1
    h = length / 2
    profile = [(-h, 0.35), (-h, height - 0.15), (-h + 0.2, height), (h - 0.25, height), (h, 2.6), (h, 0.35)]
    body.add(extrude(profile, width, 0.08), "paint", slot=0)
    body.add(box((length - 0.2, width + 0.02, 0.35), (0, 0, 0.55)), "paint", slot=1)
    for side in (-1, 1):
        y = side * (width / 2 + 0.015)
        corners = [(-h + 0.4, y, 1.35), (h - 0.35, y, 1.35), (h - 0.35, y, 2.45), (-h + 0.4, y, 2.45)]
        cuts = np.sort(np.concatenate([np.arange(1, 8) / 8 - 0.006, np.arange(1, 8) / 8 + 0.006]))
        for index, piece in enumerate(panels(corners, tuple(cuts))):
            body.add(piece, "glass" if index % 2 == 0 else "matte", GLASS if index % 2 == 0 else DARK)
    for x in (h - 1.0, -0.2, -h + 2.4):  # doors on the kerb side
        y = -width / 2 - 0.025
        body.add(quad((x - 0.6, y, 0.4), (x + 0.6, y, 0.4), (x + 0.6, y, 2.5), (x - 0.6, y, 2.5)), "glass", (0.09,) * 3)
        body.add(box((0.05, 0.02, 2.1), (x, y, 1.45)), "metal", (0.5, 0.5, 0.5))
    body.add(quad((h + 0.015, -1.15, 1.1), (h + 0.015, 1.15, 1.1), (h + 0.015, 1.1, 2.55), (h + 0.015, -1.1, 2.55)),
             "glass", GLASS)  # fmt: skip
    body.add(box((0.08, 1.9, 0.32), (h - 0.1, 0, 2.83)), "lamp", (0.6, 0.35, 0.02))
    body.add(quad((-h - 0.015, -1.0, 1.6), (-h - 0.015, 1.0, 1.6), (-h - 0.015, 1.0, 2.5), (-h - 0.015, -1.0, 2.5)),
             "glass", GLASS)  # fmt: skip
    body.add(box((3.0, 1.6, 0.25), (-1.5, 0, height + 0.12)), "paint", (0.8, 0.8, 0.8), slot=0)
    _wheels(body, [-h + 3.0, h - 2.6], width, 0.48, 0.3)
    _lamps(body, h + 0.02, -h - 0.02, width, 0.8, 1.0)
    return body.mesh()


@cache
def trailer(shape: int) -> Mesh:
    """A long box trailer parked alone (0), a small covered trailer (1) or a flat one with a load (2)."""
    body = Builder("trailer")
    if shape == 0:
        body.add(box((9.5, 2.5, 2.7), (0, 0, 2.5)), "paint", slot=0)
        for x in np.linspace(-4.5, 4.5, 12):
            for side in (-1, 1):
                body.add(box((0.06, 0.03, 2.6), (x, side * 1.25, 2.5)), "metal", (0.6, 0.6, 0.6))
        body.add(box((9.3, 1.0, 0.25), (0, 0, 1.03)), "metal", (0.15, 0.15, 0.16))
        _wheels(body, [-3.6, -2.4, -1.2], 2.5, 0.5, 0.35)
        for side in (-1, 1):  # landing legs
            body.add(box((0.15, 0.15, 1.1), (2.8, side * 0.8, 0.55)), "metal", (0.3, 0.3, 0.3))
        x_rear, width = -4.76, 2.5
    elif shape == 1:
        body.add(box((2.6, 1.6, 0.4), (0, 0, 0.75)), "metal", (0.5, 0.5, 0.52))
        body.add(box((2.6, 1.6, 1.1), (0, 0, 1.5), (0.96, 0.92)), "cloth", slot=0)
        body.add(tube((1.3, 0, 0.55), (2.4, 0, 0.5), 0.06), "metal", DARK)
        _wheels(body, [0.0], 1.9, 0.33)
        x_rear, width = -1.31, 1.6
    else:
        body.add(box((4.5, 2.1, 0.25), (0, 0, 0.75)), "metal", (0.25, 0.25, 0.26))
        for side in (-1, 1):
            body.add(box((4.5, 0.05, 0.4), (0, side * 1.03, 1.05)), "paint", slot=0)
        for x in (-1.4, 0.0, 1.4):
            body.add(box((1.1, 1.6, 0.9), (x, 0, 1.35)), "wood", (0.45, 0.33, 0.2))
        body.add(tube((2.2, 0, 0.7), (3.4, 0, 0.55), 0.07), "metal", DARK)
        _wheels(body, [-0.5, 0.4], 2.2, 0.38)
        x_rear, width = -2.26, 2.1
    for side in (-1, 1):
        body.add(box((0.04, 0.25, 0.15), (x_rear, side * (width / 2 - 0.2), 0.85)), "reflector", RED_LAMP)
    return body.mesh()


YELLOW = (0.80, 0.48, 0.03)


@cache
def excavator() -> Mesh:
    """A tracked excavator with its arm raised."""
    body = Builder("construction-vehicle")
    track = [(-1.7, 0.1), (-1.95, 0.45), (-1.7, 0.8), (1.7, 0.8), (1.95, 0.45), (1.7, 0.1)]
    for side in (-1, 1):
        body.add(extrude(track, 0.55, 0.03, side * 1.05), "rubber", (0.06, 0.06, 0.06))
        for x in np.linspace(-1.4, 1.4, 5):
            body.add(wheel((x, side * 1.34, 0.42), 0.22, 0.04, 8), "metal", (0.15, 0.15, 0.15))
    body.add(box((3.4, 2.4, 1.0), (-0.3, 0, 1.45), (0.96, 0.96)), "paint", YELLOW)
    body.add(box((1.0, 2.3, 0.7), (-1.6, 0, 1.75)), "paint", (0.12, 0.12, 0.12))
    body.add(box((1.4, 1.0, 1.5), (0.6, 0.65, 2.6), (0.85, 0.9)), "glass", GLASS)
    body.add(box((1.35, 1.0, 0.1), (0.55, 0.65, 3.38)), "paint", YELLOW)
    for x in (-0.02, 1.22):
        for y in (0.18, 1.12):
            body.add(box((0.1, 0.1, 1.5), (x, y, 2.6)), "paint", YELLOW)
    bones = [(0.9, -0.35, 1.8), (2.8, -0.35, 4.3), (4.7, -0.35, 3.6), (4.9, -0.35, 1.4)]
    for start, end, radius in zip(bones, bones[1:], (0.27, 0.22, 0.18), strict=False):
        body.add(tube(start, end, radius, 4), "paint", YELLOW)
    body.add(tube((1.2, -0.35, 2.5), (2.4, -0.35, 4.2), 0.07), "metal", (0.6, 0.6, 0.6))
    bucket = [(4.5, 1.5), (5.2, 1.5), (5.1, 0.8), (4.5, 0.6), (4.2, 0.9)]
    body.add(extrude(bucket, 1.1, 0.02, -0.35), "metal", (0.2, 0.19, 0.18))
    return body.mesh()


@cache
def loader() -> Mesh:
    """A wheel loader, bucket low."""
    body = Builder("construction-vehicle")
    body.add(box((2.6, 1.7, 1.1), (-1.5, 0, 1.45), (0.9, 0.85)), "paint", YELLOW)
    body.add(box((1.3, 1.5, 0.8), (0.2, 0, 1.2)), "paint", YELLOW)
    body.add(box((1.3, 1.4, 1.4), (-0.2, 0, 2.4), (0.88, 0.88)), "glass", GLASS)
    body.add(box((1.4, 1.4, 0.12), (-0.2, 0, 3.15)), "paint", YELLOW)
    for x in (-0.8, 0.4):
        for side in (-1, 1):
            body.add(box((0.12, 0.12, 1.4), (x, side * 0.65, 2.4)), "paint", YELLOW)
            body.add(wheel((x * 2.2 - 0.2, side * 1.05, 0.72), 0.72, 0.5, 14), "rubber", DARK)
            body.add(wheel((x * 2.2 - 0.2, side * 1.31, 0.72), 0.36, 0.03, 10), "paint", YELLOW)
    for side in (-1, 1):
        body.add(tube((0.6, side * 0.55, 1.7), (2.4, side * 0.55, 0.7), 0.16, 4), "paint", YELLOW)
    body.add(extrude([(2.3, 0.15), (2.2, 1.1), (2.6, 1.2), (3.4, 0.2)], 2.5, 0.02), "metal", (0.25, 0.24, 0.22))
    return body.mesh()


CAR_PAINTS: ArrayLike = [
    (0.75, 0.75, 0.75), (0.45, 0.46, 0.48), (0.16, 0.17, 0.18), (0.03, 0.03, 0.035), (0.8, 0.8, 0.78),
    (0.02, 0.02, 0.02), (0.45, 0.03, 0.03), (0.03, 0.07, 0.28), (0.08, 0.18, 0.40),
    (0.05, 0.18, 0.10), (0.45, 0.30, 0.08), (0.28, 0.2, 0.14),
]  # fmt: skip
"""Mostly greys, as on the street."""
