"""Visibility: which points of a scan a camera beside the lidar really sees.

What hides a point from the camera was nearly always seen by the lidar too, but only as dots with wide gaps between
the beams. So the scan is turned back into surfaces: along each column of equal azimuth, neighbouring beams that hit
one surface are joined by a strip as wide as the column; where the range jumps, each side ends half-way. The strips are
drawn into a depth buffer around the camera, and a point that lies clearly behind what is drawn there is hidden.

Coordinates are (3, N) float32 throughout: numpy is ten times as fast on them as on (N, 3). How well it works is
measured by ``benchmarks/visibility.py``; the outcome hardly depends on the constants below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

NEAREST = np.float32(0.7)
"""Returns nearer than this to the lidar or the camera, metres, are the own vehicle or rain: they hide nothing."""
WIDEST = np.float32(2.0)
"""Directions up to 2 atan(2) = 127 degrees from the optical axis are judged; in units of ``_flatten``'s picture."""
MARGIN = np.float32(0.07)
"""Surfaces are built this far around the points that are asked for, in the same unit (8 degrees near the axis)."""
CELL = 0.6
"""Side of a buffer cell in azimuth steps."""
CLOSING = 3
"""Cells: narrower holes between nearer surfaces on both sides are missing returns rather than gaps to look through."""
STEEP = np.float32(2.5)
"""Tangent of the angle between a surface's normal and the ray up to which a jump in range is surely no outline."""
IN_LINE = np.float32(0.1)
"""Relative error up to which three beams are said to lie on one plane, however steep."""
LARGEST_GAP = np.float32(np.radians(6))
"""Beams farther apart than this are never joined."""

PIECE = 2000
"""Strips drawn at a time: their samples stay in the processor's cache."""


def visible(points: NDArray[Any], from_lidar: NDArray[np.float64], rows: NDArray[np.int64]) -> Mask:
    """Whether the camera sees the points at ``rows`` (P,) of the whole scan ``points`` (N, 3): (P,) bool.

    ``from_lidar`` (4, 4) takes lidar to camera coordinates; the lens does not matter. The points may come in any order,
    from any lidar that stands near the origin of its frame with z roughly up.
    """
    scan = np.ascontiguousarray(points.T, np.float32)
    local = _move(scan, from_lidar)
    plane, distance = _flatten(local)
    asked, depth = plane.take(rows, 1), distance[rows]
    judged = (np.abs(asked) < WIDEST).all(0) & (depth > NEAREST)
    if not judged.any():
        return np.ones(len(rows), np.bool_)
    asked = asked.compress(judged, 1)
    low, high = asked.min(1), asked.max(1)
    near = (distance > NEAREST) & ((scan * scan).sum(0) > NEAREST**2)
    for axis in (0, 1):
        near &= (plane[axis] > low[axis] - MARGIN) & (plane[axis] < high[axis] + MARGIN)
    strips = _strips(_spherical(scan.compress(near, 1)))
    cell = CELL * strips.width
    buffer = _Buffer(low, high, np.float32(cell / 2))
    buffer.draw(strips, from_lidar)
    buffer.close()
    ahead = np.zeros(len(rows), np.float32)
    ahead[judged] = buffer.read(asked)
    # How far the point and the surface part between the lidar's and the camera's picture, radians: what is drawn before
    # a point of the same slanted surface, because it shares its cell, parts from it by less than the cell.
    across = np.linalg.norm(np.cross(local.take(rows, 1), from_lidar[:3, 3], axisa=0), axis=1) / depth
    parting = across * (ahead - 1 / depth)
    hidden: Mask = (parting > 0.8 * cell) & (ahead * (0.97 * depth - 0.15) > 1)
    return ~hidden


def _move(points: F32, matrix: NDArray[np.float64]) -> F32:
    """Rigid transform of (3, N)."""
    r = matrix.astype(np.float32)
    x, y, z = points
    return np.stack([r[i, 0] * x + r[i, 1] * y + r[i, 2] * z + r[i, 3] for i in range(3)])


def _flatten(local: F32) -> tuple[F32, F32]:
    """Stereographic picture (2, N) of camera coordinates, and the distance (N,).

    It needs no lens and no trigonometry, keeps angles, and has room for all directions but straight back. On the axis
    one unit is two radians.
    """
    x, y, z = local
    distance = np.sqrt(x * x + y * y + z * z)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (distance + z)
        return np.stack([x * scale, y * scale]), distance


def _spherical(points: F32) -> F32:
    """Azimuth, elevation, inverse range: (3, N) from lidar coordinates."""
    x, y, z = points
    across = np.hypot(x, y)
    return np.stack([np.arctan2(y, x), np.arctan2(z, across), 1 / np.hypot(across, z)])


def _cartesian(spherical: F32) -> F32:
    azimuth, elevation, inverse = spherical
    flat = np.cos(elevation) / inverse
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation) / inverse])


@dataclass(frozen=True)
class _Strips:
    """Upright strips of surface: ``start``, ``end`` (3, S) azimuth, elevation, inverse range; ``width`` in radians."""

    start: F32
    end: F32
    width: float


def _strips(spherical: F32) -> _Strips:
    """Join the beams of each column; let the ends of what is joined reach half-way to the next beam."""
    width = _azimuth_step(spherical)
    column = np.floor(spherical[0] / np.float32(width)).astype(np.float64)
    order = np.argsort(column * 8 + spherical[1])
    column, spherical = column[order], spherical.take(order, 1)
    same = column[1:] == column[:-1]
    rise = np.where(same, np.maximum(np.diff(spherical[1]), np.float32(3e-4)), np.float32(np.inf))
    joined = _joined(rise, spherical[2])
    edge = np.flatnonzero(joined)
    starts, ends = [spherical.take(edge, 1)], [spherical.take(edge + 1, 1)]
    typical = _spacing(rise)
    above, below = np.append(rise, np.inf), np.append(np.inf, rise)
    top, bottom = ~np.append(joined, False), ~np.append(False, joined)
    for sign, gap, ending in ((1, above, top), (-1, below, bottom)):
        tip = np.flatnonzero(ending)
        # another return of the same beam does not end the surface
        limit = np.where(gap[tip] < 0.3 * typical[tip], np.inf, gap[tip])
        end = spherical.take(tip, 1)
        end[1] += sign * np.minimum(typical[tip], limit) / 2
        starts.append(spherical.take(tip, 1))
        ends.append(end)
    return _Strips(np.concatenate(starts, 1), np.concatenate(ends, 1), width)


def _azimuth_step(spherical: F32) -> float:
    """Angle between neighbours of one beam, radians: of points whose elevations agree to a tenth of a degree."""
    azimuth, elevation, _ = spherical
    beam = np.round(elevation / np.radians(0.1)).astype(np.float64)
    order = np.argsort(beam * 10 + azimuth)
    step = np.diff(azimuth[order])[np.diff(beam[order]) == 0]
    step = step[step > np.radians(0.02)]
    return float(np.clip(np.median(step), np.radians(0.1), np.radians(1.0))) if len(step) else float(np.radians(0.3))


def _joined(rise: F32, inverse: F32) -> Mask:
    """Whether successive points, ``rise`` (N - 1,) radians apart, lie on one surface: (N - 1,)."""
    distance = 1 / inverse
    jump = np.abs(np.diff(distance))
    joined: Mask = (jump < STEEP * rise * np.minimum(distance[1:], distance[:-1])) | (jump < 0.3)
    # The ground far away is steeper than any outline. The inverse range of a plane is linear in the angle: continue it
    # from the edge before, or back from the one after.
    slope = np.diff(inverse) / rise
    wide = np.isfinite(rise) & (rise > 1e-3)
    with np.errstate(invalid="ignore"):
        before = inverse[1:-1] + slope[:-1] * rise[1:] - inverse[2:]
        after = inverse[1:-1] - slope[1:] * rise[:-1] - inverse[:-2]
    joined[1:] |= wide[:-1] & (np.abs(before) < IN_LINE * inverse[2:])
    joined[:-1] |= wide[1:] & (np.abs(after) < IN_LINE * inverse[:-2])
    joined &= rise < LARGEST_GAP
    return joined


def _spacing(rise: F32) -> F32:
    """Angle to the nearest other beam (N,), at most three times the usual one; ``rise`` (N - 1,)."""
    wide = np.where(rise > 1e-3, rise, np.inf)
    nearest = np.minimum(np.append(wide, np.inf), np.append(np.inf, wide))
    known = np.isfinite(nearest)
    usual = np.median(nearest[known]) if known.any() else np.radians(0.5)
    spacing: F32 = np.where(known, np.minimum(nearest, 3 * usual), usual).astype(np.float32)
    return spacing


class _Buffer:
    """Inverse distance of the nearest surface per cell of the picture of ``_flatten``; 0 where there is none."""

    def __init__(self, low: F32, high: F32, cell: np.float32) -> None:
        self.cell = cell
        # closing needs what is beyond the points that are asked for
        border = np.float32(CLOSING + 1) * cell
        self.low = low - border
        height, width = np.ceil((high + border - self.low) / cell).astype(int)
        self.inverse = np.zeros((height, width), np.float32)

    def draw(self, strips: _Strips, from_lidar: NDArray[np.float64]) -> None:
        """Fill every strip with samples somewhat closer together than the cells."""
        start, end = (_move(_cartesian(tip), from_lidar) for tip in (strips.start, strips.end))
        turned = strips.start.copy()
        turned[0] += np.float32(strips.width / 2)
        aside = _move(_cartesian(turned), from_lidar) - start
        (first, near), (last, far) = _flatten(start), _flatten(end)
        nearest = np.minimum(near, far)
        reach = np.sqrt((aside * aside).sum(0)) / nearest
        inside = nearest > NEAREST
        for axis in (0, 1):
            inside &= np.maximum(first[axis], last[axis]) + reach > self.low[axis]
            inside &= (
                np.minimum(first[axis], last[axis]) - reach < self.low[axis] + self.cell * self.inverse.shape[axis]
            )
        kept = np.flatnonzero(inside)
        length = np.abs(last.take(kept, 1) - first.take(kept, 1)).max(0)
        rows = np.clip(np.ceil(length * (1.1 / self.cell)), 1, 200).astype(np.float32)
        columns = np.clip(np.ceil(reach[kept] * (1.1 / self.cell)), 1, 50).astype(np.float32)
        # what a surface says about its cell is said for the far side of it, lest it hides itself
        change = np.abs(1 / near - 1 / far)[kept] * (self.cell / np.maximum(length, self.cell / 2))
        start, along, aside = (array.take(kept, 1) for array in (start, end - start, aside))
        for first_of_piece in range(0, len(kept), PIECE):
            piece = slice(first_of_piece, first_of_piece + PIECE)
            self._fill(start[:, piece], along[:, piece], aside[:, piece], rows[piece], columns[piece], change[piece])

    def _fill(self, start: F32, along: F32, aside: F32, rows: F32, columns: F32, change: F32) -> None:
        """Lay ``rows`` x ``columns`` samples over every strip: from ``start``, ``along`` it, ``aside`` both ways."""
        count = (rows * columns).astype(np.int64)
        which = np.repeat(np.arange(len(count)), count)
        number = (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)).astype(np.float32)
        across = columns[which]
        row = np.floor((number + np.float32(0.5)) / across)
        t = (row + np.float32(0.5)) / rows[which]
        s = (number - row * across + np.float32(0.5)) / across * 2 - 1
        plane, distance = _flatten(start.take(which, 1) + t * along.take(which, 1) + s * aside.take(which, 1))
        fits = (plane[0] >= self.low[0]) & (plane[1] >= self.low[1])
        i, j = self._place(plane)
        fits &= (i < self.inverse.shape[0]) & (j < self.inverse.shape[1])
        value = 1 / distance - change[which]
        np.maximum.at(self.inverse.reshape(-1), (i * self.inverse.shape[1] + j)[fits], value[fits])

    def close(self) -> None:
        """Fill holes up to ``CLOSING`` cells wide between surfaces on both sides."""
        self.inverse = np.maximum(_closed(self.inverse), _closed(self.inverse.T).T)

    def read(self, plane: F32) -> F32:
        """Look up places (2, P) of the picture, all between ``low`` and ``high``: (P,)."""
        values: F32 = self.inverse[self._place(plane)]
        return values

    def _place(self, plane: F32) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        with np.errstate(invalid="ignore"):  # straight back
            i, j = (((plane[axis] - self.low[axis]) / self.cell).astype(np.int32) for axis in (0, 1))
        return i, j


def _closed(values: F32) -> F32:
    """Grey closing along the first axis by ``CLOSING`` + 1 cells; the first ``CLOSING`` rows are not done."""
    wide = values.copy(order="K")
    for shift in range(1, CLOSING + 1):
        np.maximum(wide[:-shift], values[shift:], out=wide[:-shift])
    narrow = wide.copy(order="K")
    for shift in range(1, CLOSING + 1):
        np.minimum(narrow[shift:], wide[:-shift], out=narrow[shift:])
    return narrow
