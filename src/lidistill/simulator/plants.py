"""Trees, bushes and hedges as clouds of leaves around lumpy cores; z = 0 is the ground, palette slot 0 = leaves."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lidistill.simulator.mesh import Builder, Mesh
from lidistill.simulator.shapes import Solid, ball, box, tube

VARIANTS = 4


def _leaves(rng: np.random.Generator, centers: NDArray[np.float64], size: float) -> Solid:
    """One loose triangle per center, turned at random: light and lidar pass between them."""
    n = len(centers)
    corners = rng.normal(size=(n, 3, 3))
    corners -= corners.mean(axis=1, keepdims=True)
    corners *= size / np.linalg.norm(corners, axis=2, keepdims=True)
    return (centers[:, None] + corners).reshape(-1, 3), np.arange(3 * n).reshape(n, 3)


def _shell(
    rng: np.random.Generator, n: int, center: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return center + direction * radii * rng.uniform(0.82, 1.12, (n, 1))


def _shades(rng: np.random.Generator, n: int, height: NDArray[np.float64] | float = 1.0) -> NDArray[np.float64]:
    """Brightness and hue of single leaves: darker below and inside."""
    shade = rng.uniform(0.65, 1.25, (n, 1)) * np.asarray(height).reshape(-1, 1)
    return np.asarray(shade + rng.uniform(-0.05, 0.12, (n, 1)) * np.array([1.0, 0.6, 0.0]))


def _foliage(
    body: Builder,
    rng: np.random.Generator,
    blobs: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    leaves: int,
    size: float,
    fine: bool,
) -> None:
    """Lumpy cores with ``leaves`` loose leaves each; from afar (not ``fine``) a quarter of them, twice as large."""
    leaves, size = (leaves, size) if fine else (leaves // 4, 1.9 * size)
    low = min(c[2] - r[2] for c, r in blobs)
    high = max(c[2] + r[2] for c, r in blobs)
    for center, radii in blobs:
        points, faces = ball(radii * 0.82, center, 0)
        points = center + (points - center) * rng.uniform(0.75, 1.15, (len(points), 1))
        body.add((points, faces), "leaf", 0.55 * _shades(rng, len(faces)), slot=0)
        where = _shell(rng, leaves, center, radii)
        light = 0.65 + 0.5 * (where[:, 2] - low) / max(high - low, 0.1)
        body.add(_leaves(rng, where, size), "leaf", _shades(rng, leaves, light), slot=0)


@cache
def broadleaf(variant: int, fine: bool = True) -> Mesh:
    """A street tree about 8 m tall."""
    rng = np.random.default_rng([11, variant])
    body = Builder("trunk")
    bark = np.array([0.13, 0.10, 0.075]) * rng.uniform(0.8, 1.3)
    fork = rng.uniform(2.0, 2.5)
    body.add(tube((0, 0, -0.2), (0.05, 0.0, fork), 0.20, 8, 0.14), "bark", bark)
    blobs = []
    body.label = "crown"
    for k in range(5):
        angle = 2 * np.pi * (k + rng.uniform(-0.3, 0.3)) / 5
        reach = rng.uniform(1.0, 1.5) if k else 0.0
        center = np.array([reach * np.cos(angle), reach * np.sin(angle), rng.uniform(3.6, 4.9) if k else 5.7])
        blobs.append((center, np.array([1.5, 1.5, 1.35]) * rng.uniform(0.85, 1.15)))
        body.add(tube((0.05, 0, fork - 0.1), center, 0.09, 5, 0.03), "bark", bark, label="trunk")
    _foliage(body, rng, blobs, 110, 0.23, fine)
    return body.mesh()


@cache
def conifer(variant: int, fine: bool = True) -> Mesh:
    """A spruce about 9 m tall."""
    rng = np.random.default_rng([12, variant])
    body = Builder("trunk")
    body.add(tube((0, 0, -0.2), (0, 0, 8.0), 0.17, 7, 0.04), "bark", (0.10, 0.075, 0.055))
    body.label = "crown"
    for z in np.linspace(1.6, 7.8, 7):
        radius = 2.0 * (1 - (z - 0.6) / 9.2)
        skirt = tube((0, 0, z - 0.3), (0, 0, z + 1.3), radius * 0.85, 9, radius * 0.2)
        body.add(skirt, "leaf", 0.6 * _shades(rng, len(skirt[1])), slot=0)
        n = (int(90 * radius / 2.0) + 12) // (1 if fine else 4)
        angle, depth = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.55, 1.1, n)
        where = np.stack([radius * depth * np.cos(angle), radius * depth * np.sin(angle), z + 1.1 * (1 - depth)], 1)
        body.add(_leaves(rng, where, 0.24 if fine else 0.45), "leaf", _shades(rng, n, 0.7 + 0.5 * depth), slot=0)
    return body.mesh()


@cache
def poplar(variant: int, fine: bool = True) -> Mesh:
    """A slender tree about 10 m tall."""
    rng = np.random.default_rng([13, variant])
    body = Builder("trunk")
    body.add(tube((0, 0, -0.2), (0, 0, 3.5), 0.16, 7, 0.1), "bark", (0.16, 0.14, 0.11))
    body.label = "crown"
    blobs = [
        (np.array([*rng.uniform(-0.2, 0.2, 2), z]), np.array([r, r, 1.5]))
        for z, r in ((3.2, 0.9), (4.8, 1.2), (6.5, 1.1), (8.2, 0.75))
    ]
    _foliage(body, rng, blobs, 100, 0.20, fine)
    return body.mesh()


@cache
def bush(variant: int, fine: bool = True) -> Mesh:
    """A round bush about 1.2 m tall."""
    rng = np.random.default_rng([14, variant])
    body = Builder("bush")
    blobs = [
        (
            np.array([*rng.uniform(-0.35, 0.35, 2), rng.uniform(0.4, 0.75)]),
            np.array([0.6, 0.6, 0.5]) * rng.uniform(0.8, 1.1),
        )
        for _ in range(3)
    ]
    _foliage(body, rng, blobs, 70, 0.11, fine)
    return body.mesh()


@cache
def hedge(variant: int, fine: bool = True) -> Mesh:
    """Two metres of clipped hedge along x."""
    rng = np.random.default_rng([15, variant])
    body = Builder("bush")
    core = box((2.02, 0.6, 1.25), (0, 0, 0.625))
    body.add(core, "leaf", 0.6 * _shades(rng, len(core[1])), slot=0)
    n = 220 if fine else 50
    where = rng.uniform((-1.0, -0.36, 0.05), (1.0, 0.36, 1.36), (n, 3))
    push = rng.integers(0, 3, n)
    where[push == 0, 1] = 0.35
    where[push == 1, 1] = -0.35
    where[push == 2, 2] = 1.3
    body.add(_leaves(rng, where, 0.12 if fine else 0.24), "leaf", _shades(rng, n, 0.75 + 0.3 * where[:, 2]), slot=0)
    return body.mesh()


def leaf_color(rng: np.random.Generator, autumn: bool) -> NDArray[np.float64]:
    """Palette (1, 3) of one plant."""
    greens = np.array([(0.10, 0.19, 0.04), (0.07, 0.15, 0.04), (0.14, 0.22, 0.05), (0.09, 0.17, 0.07)])
    browns = np.array([(0.42, 0.24, 0.03), (0.36, 0.13, 0.03), (0.30, 0.27, 0.05), (0.14, 0.20, 0.05)])
    table = browns if autumn else greens
    return np.asarray(table[None, rng.integers(len(table))] * rng.uniform(0.8, 1.25))
