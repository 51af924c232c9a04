"""A city that rays can be cast into, at any time of the drive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.simulator.city import City
from lidistill.simulator.mesh import Mesh, join
from lidistill.simulator.rays import triangle_scene
from lidistill.simulator.textures import F32, Classes, Look, classes, look, take


def _normals(mesh: Mesh) -> F32:
    a, b, c = (take(mesh.vertices, mesh.faces[:, k]) for k in range(3))
    (x, y, z), (u, v, w) = (b - a).T, (c - a).T
    normal = np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(normal / np.maximum(length, np.float32(1e-12)))


@dataclass(frozen=True, eq=False)
class Hits:
    """What N rays met: ``distance`` (N,) float32 metres, infinite for the sky; ``face`` (N,) int64, -1 for the sky."""

    distance: F32
    face: NDArray[np.int64]


class World:
    """The static part of a city, ready for rays."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.rays = triangle_scene(city.static.vertices, city.static.faces)
        self.normals = _normals(city.static)

    def ready(self) -> None:
        """Build the ray structure now; else the first ray does it."""
        self.rays.run(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))

    def at(self, t: float) -> Moment:
        """The city ``t`` seconds into the drive, actors included."""
        return Moment(self, t)

    def ego_pose(self, t: float) -> NDArray[np.float64]:
        """(4, 4) vehicle -> world at ``t``: x forward, y left, z up, origin on the road under the rear axle."""
        street, (lane, speed) = self.city.street, self.city.ego
        s = speed * t
        return pose(street.point(s, lane), street.point(s + 1.4, lane) - street.point(s - 1.4, lane),
                    street.point(s, lane + 0.8) - street.point(s, lane - 0.8))  # fmt: skip


def pose(origin: NDArray[np.float64], ahead: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) of a frame at ``origin`` whose x axis points ``ahead`` and whose y axis is nearly ``left``."""
    x = ahead / np.linalg.norm(ahead)
    z = np.cross(x, left)
    z /= np.linalg.norm(z)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = origin
    return matrix


class Moment:
    """The city at one time: static and moving ray structures behind one numbering of triangles, static ones first."""

    def __init__(self, world: World, t: float) -> None:
        self.world, self.t = world, t
        city = world.city
        viewer = city.ego[1] * t
        placed = [actor.at(city.street, t, viewer) for actor in city.actors]
        self.moving: Mesh = join([mesh for mesh in placed if mesh is not None])
        self._rays = triangle_scene(self.moving.vertices, self.moving.faces)
        self._moving_normals = _normals(self.moving)
        self._columns: dict[str, NDArray[Any]] = {}

    def column(self, name: str) -> NDArray[Any]:
        """A column of all triangles, by its name in ``Mesh``; the rows are the ``face`` of ``cast``."""
        if name not in self._columns:
            self._columns[name] = np.concatenate([getattr(self.world.city.static, name), getattr(self.moving, name)])
        return self._columns[name]

    @cached_property
    def normals(self) -> F32:
        """(F, 3) unit normals, in no particular direction."""
        return np.concatenate([self.world.normals, self._moving_normals])

    def cast(self, origins: NDArray[np.floating], directions: NDArray[np.floating]) -> Hits:
        """First triangle along rays: ``origins`` (N, 3) or (3,), ``directions`` (N, 3) of unit length, world frame."""
        d = np.ascontiguousarray(directions, np.float32)
        o = np.ascontiguousarray(np.broadcast_to(np.asarray(origins, np.float32), d.shape))
        still = self.world.rays.run(o, d, output=1)
        moving = self._rays.run(o, d, output=1)
        far_still = np.where(still["primID"] < 0, np.float32(np.inf), still["tfar"])
        far_moving = np.where(moving["primID"] < 0, np.float32(np.inf), moving["tfar"])
        nearer = far_moving < far_still
        face = np.where(nearer, moving["primID"] + len(self.world.city.static), still["primID"]).astype(np.int64)
        return Hits(np.where(nearer, far_moving, far_still), face)

    def blocked(self, origins: F32, directions: F32) -> NDArray[np.bool_]:
        """Whether anything lies along each ray (N,)."""
        blocked = np.asarray(self.world.rays.run(origins, directions, query="OCCLUDED") == 0)
        open_ = np.flatnonzero(~blocked)
        blocked[open_] = self._rays.run(origins[open_], directions[open_], query="OCCLUDED") == 0
        return blocked

    def classes(self, face: NDArray[np.int64], points: F32) -> Classes:
        """Classes and materials where rays hit: ``points`` (N, 3) in the world frame."""
        city = self.world.city
        return classes(self.column, city.street, city.surfaces, face, points)

    def look(self, face: NDArray[np.int64], points: F32) -> Look:
        """Classes, materials and colours where rays hit: ``points`` (N, 3) in the world frame."""
        city = self.world.city
        return look(self.column, city.street, city.surfaces, face, points)
