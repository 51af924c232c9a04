"""Solids as triangles: every function returns ``(vertices (V, 3) float64, faces (F, 3) int64)``, metres, z up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Solid = tuple[NDArray[np.float64], NDArray[np.int64]]


def quad(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike) -> Solid:
    """Two triangles over four corners given in order around the rim."""
    return np.array([a, b, c, d], float), _QUAD_FACES


def polygon(corners: ArrayLike) -> Solid:
    """A convex polygon (n, 3) as a fan."""
    points = np.asarray(corners, float)
    middle = np.arange(1, len(points) - 1)
    return points, np.stack([np.zeros_like(middle), middle, middle + 1], axis=1)


def loft(sections: ArrayLike) -> Solid:
    """Skin through rings of equal length ``(k, n, 3)``, both ends closed; the rings must be convex."""
    rings = np.asarray(sections, float)
    k, n, _ = rings.shape
    i, j = np.meshgrid(np.arange(k - 1), np.arange(n), indexing="ij")
    a, b = (i * n + j).ravel(), (i * n + (j + 1) % n).ravel()
    sides = np.concatenate([np.stack([a, b, b + n], axis=1), np.stack([a, b + n, a + n], axis=1)])
    middle = np.arange(1, n - 1)
    cap = np.stack([np.zeros_like(middle), middle, middle + 1], axis=1)
    return rings.reshape(-1, 3), np.concatenate([sides, cap, cap + (k - 1) * n])


_CUBE = np.array(
    [[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float
)
_, _CUBE_FACES = loft(_CUBE.reshape(2, 4, 3))
_QUAD_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def box(size: ArrayLike, center: ArrayLike = (0.0, 0.0, 0.0), top: ArrayLike = (1.0, 1.0)) -> Solid:
    """A box of ``size`` (x, y, z) around ``center``; ``top`` scales its upper face in x and y."""
    half = np.asarray(size, float) / 2
    vertices = _CUBE * half
    vertices[4:, :2] *= np.asarray(top, float)
    vertices += np.asarray(center, float)
    return vertices, _CUBE_FACES


def tube(start: ArrayLike, end: ArrayLike, radius: float, sides: int = 6, end_radius: float | None = None) -> Solid:
    """A round bar from ``start`` to ``end``, closed; ``end_radius`` makes it a cone."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    along = (last - first) / np.linalg.norm(last - first)
    helper = np.array([1.0, 0, 0]) if abs(along[0]) < 0.8 else np.array([0, 1.0, 0])
    across = np.cross(along, helper)
    across /= np.linalg.norm(across)
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    ring = np.outer(np.cos(angle), across) + np.outer(np.sin(angle), np.cross(along, across))
    tail = radius if end_radius is None else end_radius
    return loft(np.stack([first + ring * radius, last + ring * tail]))


def extrude(profile: ArrayLike, width: float, bevel: float = 0.0, center_y: float = 0.0) -> Solid:
    """A profile (n, 2) in the x-z plane pulled to ``width`` along y, its rim drawn in by ``bevel``.

    The profile may be mildly concave as long as its mean sees every corner.
    """
    outline = np.asarray(profile, float)
    middle = outline.mean(axis=0)
    reach = np.linalg.norm(outline - middle, axis=1, keepdims=True)
    inner = middle + (outline - middle) * (1 - bevel / np.maximum(reach, 1e-6))
    y = np.array([-width / 2, -width / 2 + bevel, width / 2 - bevel, width / 2]) + center_y
    rings = [inner, outline, outline, inner] if bevel > 0 else [outline, outline]
    y = y if bevel > 0 else y[[0, 3]]
    sections = [np.column_stack([r[:, 0], np.full(len(r), v), r[:, 1]]) for r, v in zip(rings, y, strict=True)]
    vertices, faces = loft(np.stack(sections))
    n, caps = len(outline), 2 * (len(outline) - 2)
    hubs = np.array([[middle[0], y[0], middle[1]], [middle[0], y[-1], middle[1]]])
    j = np.arange(n)
    fans = [
        np.stack([np.full(n, len(vertices) + side), j + base, (j + 1) % n + base], axis=1)
        for side, base in ((0, 0), (1, len(vertices) - n))
    ]
    return np.concatenate([vertices, hubs]), np.concatenate([faces[:-caps], *fans])


def panels(corners: ArrayLike, cuts: Sequence[float]) -> list[Solid]:
    """Cut a quad (4, 3), corners low-left, low-right, high-right, high-left, at the shares ``cuts`` from the left."""
    low_left, low_right, high_right, high_left = np.asarray(corners, float)
    edges = [0.0, *cuts, 1.0]
    low = [low_left + (low_right - low_left) * e for e in edges]
    high = [high_left + (high_right - high_left) * e for e in edges]
    return [quad(low[i], low[i + 1], high[i + 1], high[i]) for i in range(len(edges) - 1)]


def ball(radius: ArrayLike, center: ArrayLike = (0.0, 0.0, 0.0), level: int = 1) -> Solid:
    """An ellipsoid of radii (x, y, z) from an icosahedron cut ``level`` times (20, 80, 320 triangles)."""
    golden = (1 + 5**0.5) / 2
    points = np.array(
        [[-1, golden, 0], [1, golden, 0], [-1, -golden, 0], [1, -golden, 0], [0, -1, golden], [0, 1, golden],
         [0, -1, -golden], [0, 1, -golden], [golden, 0, -1], [golden, 0, 1], [-golden, 0, -1], [-golden, 0, 1]]
    )  # fmt: skip
    faces = np.array(
        [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4], [11, 10, 2], [10, 7, 6],
         [7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9], [4, 9, 5], [2, 4, 11], [6, 2, 10],
         [8, 6, 7], [9, 8, 1]]
    )  # fmt: skip
    for _ in range(level):
        a, b, c = (points[faces[:, k]] for k in range(3))
        n, f = len(points), len(faces)
        points = np.concatenate([points, (a + b) / 2, (b + c) / 2, (c + a) / 2])
        ab, bc, ca = (n + k * f + np.arange(f) for k in range(3))
        i, j, k = faces.T
        faces = np.concatenate([np.stack(t, axis=1) for t in ((i, ab, ca), (ab, j, bc), (ca, bc, k), (ab, bc, ca))])
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return points * np.broadcast_to(np.asarray(radius, float), (3,)) + np.asarray(center, float), faces


def wheel(center: ArrayLike, radius: float, width: float, sides: int = 12) -> Solid:
    """A disc that rolls along x."""
    x, y, z = np.asarray(center, float)
    return tube((x, y - width / 2, z), (x, y + width / 2, z), radius, sides)


def hoop(center: ArrayLike, radius: float, thickness: float, sides: int = 14) -> Solid:
    """A thin tyre that rolls along x: a ring with a triangular section."""
    x, y, z = np.asarray(center, float)
    angle = 2 * np.pi * np.arange(sides) / sides
    rings = []
    for grow, shift in ((1.0, -0.5), (1.0, 0.5), (-1.0, 0.0)):
        r = radius + grow * thickness / 2
        rings.append(np.stack([x + r * np.cos(angle), np.full(sides, y + shift * thickness), z + r * np.sin(angle)], 1))
    points = np.concatenate(rings)
    j = np.arange(sides)
    following = (j + 1) % sides
    faces = []
    for k in range(3):
        a, b = k * sides, (k + 1) % 3 * sides
        faces += [np.stack([a + j, a + following, b + following], 1), np.stack([a + j, b + following, b + j], 1)]
    return points, np.concatenate(faces)


def grid(points: ArrayLike) -> Solid:
    """A sheet over a lattice of points (rows, columns, 3)."""
    lattice = np.asarray(points, float)
    rows, columns, _ = lattice.shape
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + columns + 1], 1), np.stack([a, a + columns + 1, a + columns], 1)])
    return lattice.reshape(-1, 3), faces
