"""Edges of a scan and edges of a picture, in a form that can be laid over one another.

A scan has an edge where neighbouring beams return from different surfaces, or from one surface with a jump of
intensity (lane markings, signs). A picture mostly has one there too. The reverse does not hold, so a picture's edges
are measured against their surroundings: the value of a pixel is the strength of its gradient divided by the mean
strength around it. Where a calibration puts the scan's edges at random they meet 1 on average, whatever the picture
shows; where it is right they meet more.

The idea of comparing depth edges with picture edges is that of Levinson and Thrun (RSS 2013, section III); here the
two directions are kept apart, which halves the accidental hits, and edges of clutter (leaves, wires, noise) are left
out: an edge counts only if a surface goes on beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

NEAREST = 2.5
"""Returns nearer than this are mostly the own vehicle, metres."""
JUMP = (0.15, 0.06)
"""Relative change of range (and 0.4 m) between neighbouring beams, and between neighbours of one beam, from which on
they hit different surfaces: the ground alone changes much from beam to beam."""
SMOOTH = (0.06, 0.03)
"""Relative change of range up to which the same neighbours surely hit one surface."""
BRIGHT = 0.97
"""Quantile of the changes of intensity (of its logarithm) on one surface above which they are edges."""
FINEST = 0.12
"""Least scale of a picture's gradients, degrees."""
BLUR = (0.3, 0.75)
"""Scale of a picture's gradients in beam spacings and in azimuth steps: so well is a scan's edge known."""
AROUND = 4.0
"""Half the width of the surroundings of a pixel, degrees."""
LARGEST = 6.0
"""Gradients above this many times their surroundings count as that."""
FOCAL = 650.0
"""Pictures are reduced to about this focal length, pixels: a tenth of a degree."""
UNIT = 255 / LARGEST


@dataclass(frozen=True, eq=False)
class ScanEdges:
    """Places in the lidar frame where a picture should have an edge.

    ``places`` (E, 3) float32, half-way between two beams on the nearer of the two surfaces; ``upright`` (E,) bool:
    between neighbours of one beam, so that the edge runs up and down; else between beams. ``steps`` = (beam spacing,
    azimuth step) of the scan in degrees.
    """

    places: NDArray[np.float32]
    upright: NDArray[np.bool_]
    steps: tuple[float, float] = (0.4, 0.2)

    def __len__(self) -> int:
        return len(self.places)

    def select(self, rows: NDArray[Any]) -> ScanEdges:
        """The edges at ``rows``."""
        return replace(self, places=self.places[rows], upright=self.upright[rows])


@dataclass(frozen=True, eq=False)
class PictureEdges:
    """Strength of the gradients of a picture relative to their surroundings, reduced ``factor`` times.

    ``strength`` (2, h, w) uint8 in units of 1 / ``UNIT``: across edges (vertical gradient), then upright ones.
    """

    strength: Bytes
    factor: int

    def at(self, pixels: NDArray[np.float64], upright: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Relative strength (E,) at ``pixels`` (E, 2) of the full picture, -1 outside of it."""
        height, width = self.strength.shape[1:]
        place = (np.nan_to_num(pixels, nan=-1e6) + 0.5) / self.factor
        inside = (place > 1).all(1) & (place[:, 0] < width - 1) & (place[:, 1] < height - 1)
        u, v = np.where(inside[:, None], place, 0).astype(np.int32).T
        found = self.strength[upright.astype(np.int8), v, u] / np.float32(UNIT)
        return np.where(inside, found, np.float32(-1))


def picture_edges(image: Bytes, focal: float, steps: tuple[float, float] = (0.4, 0.2)) -> PictureEdges:
    """Edges of an ``image`` (H, W, 3) taken with ``focal`` pixels of focal length, as sharp as scans of ``steps``."""
    from scipy.ndimage import gaussian_filter1d, uniform_filter

    factor = max(round(focal / FOCAL), 1)
    if min(image.shape[:2]) < 32 * factor:  # an absurd focal length must not end in an empty picture
        factor = 1
    height, width = (size // factor for size in image.shape[:2])
    cut = image[: height * factor, : width * factor].astype(np.float32)
    # the square root brings shadows and light closer together
    gray = np.sqrt(cut.reshape(height, factor, width, factor, 3).mean((1, 3, 4)))
    degree = min(focal / factor, FOCAL * 2) * np.radians(1.0)
    around = int(2 * AROUND * degree) | 1
    strength = np.empty((2, height, width), np.uint8)
    for axis in (0, 1):
        scale = max(max(FINEST, BLUR[axis] * steps[axis]) * degree, 0.8)
        slope = np.abs(gaussian_filter1d(gray, scale, axis=axis, order=1))
        slope = np.minimum(slope, np.percentile(slope, 99))
        mean = uniform_filter(slope, around) + 0.02 * slope.mean() + 1e-3
        strength[axis] = np.minimum(slope / mean, LARGEST) * UNIT
    return PictureEdges(strength, factor)


def scan_edges(
    points: NDArray[Any], ring: NDArray[Any] | None = None, intensity: NDArray[Any] | None = None
) -> ScanEdges:
    """Edges of a whole scan ``points`` (N, 3), in any order; ``ring`` (N,) where the lidar names its beams."""
    distance = np.linalg.norm(np.asarray(points, np.float64), axis=1)
    kept = np.isfinite(distance) & (distance > NEAREST)
    if kept.sum() < 100:
        return ScanEdges(np.zeros((0, 3), np.float32), np.zeros(0, np.bool_))
    local, distance = np.asarray(points, np.float64)[kept].T, distance[kept]
    azimuth = np.arctan2(local[1], local[0])
    elevation = np.arcsin(np.clip(local[2] / distance, -1, 1))
    beam = np.round(elevation / np.radians(0.2)) if ring is None else ring[kept].astype(np.float64)
    bright = np.zeros(len(distance)) if intensity is None else _logarithm(intensity[kept])
    step = azimuth_step(beam, azimuth)
    table = np.stack([azimuth, elevation, distance, bright])

    along = np.lexsort((azimuth, beam))
    near = (np.diff(beam[along]) == 0) & (np.diff(azimuth[along]) < 3.5 * step)
    upright = _edges(table[:, along], near, 1)

    column = np.floor(azimuth / step)
    up = np.lexsort((elevation, column))
    rise = np.diff(elevation[up])
    near = (np.diff(column[up]) == 0) & (rise > np.radians(0.03)) & (rise < np.radians(3.0))
    across = _edges(table[:, up], near, 0)

    spacing = float(np.degrees(np.median(rise[near]))) if near.any() else 0.4
    kind = np.repeat([True, False], [len(upright), len(across)])
    return ScanEdges(np.concatenate([upright, across]).astype(np.float32), kind, (spacing, float(np.degrees(step))))


def spread(edges: ScanEdges, most: int) -> ScanEdges:
    """At most ``most`` edges of each direction, the same ones at every call."""
    chosen = [np.random.default_rng(0).permutation(np.flatnonzero(edges.upright == kind))[:most] for kind in (1, 0)]
    return edges.select(np.sort(np.concatenate(chosen)))


def _logarithm(intensity: NDArray[Any]) -> NDArray[np.float64]:
    """Logarithm that treats 0-1 like 0-255."""
    values = np.maximum(intensity.astype(np.float64), 0)
    return np.log1p(values * 255 / max(float(np.quantile(values, 0.999)), 1e-9))


def azimuth_step(beam: NDArray[Any], azimuth: NDArray[Any]) -> float:
    """Angle between neighbours of one beam, radians."""
    order = np.lexsort((azimuth, beam))
    step = np.diff(azimuth[order])[np.diff(beam[order]) == 0]
    step = step[step > np.radians(0.02)]
    return float(np.clip(np.median(step), np.radians(0.08), np.radians(1.0))) if len(step) else float(np.radians(0.3))


def _edges(table: NDArray[np.float64], near: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Places (E, 3) between successive points (4, N) = azimuth, elevation, range, brightness that are ``near``."""
    first, second = table[:, :-1], table[:, 1:]
    closer, farther = np.minimum(first[2], second[2]), np.maximum(first[2], second[2])
    change = farther - closer
    smooth = near & (change < SMOOTH[axis] * closer)
    before, after = np.append(False, smooth[:-1]), np.append(smooth[1:], False)
    # Across, the nearer surface must go on: its end is what the camera sees. Along a beam, the farther one: it is
    # clutter that ends behind other clutter.
    forward = first[2] < second[2]
    goes_on = np.where(forward, before, after) if axis == 0 else np.where(forward, after, before)
    jump = near & goes_on & (change > np.maximum(0.4, JUMP[axis] * closer))
    contrast = np.abs(first[3] - second[3])
    if smooth.any():
        jump |= smooth & (contrast > max(float(np.quantile(contrast[smooth], BRIGHT)), 0.5))
    rows = np.flatnonzero(jump)
    azimuth, elevation = ((first[i, rows] + second[i, rows]) / 2 for i in (0, 1))
    flat = closer[rows] * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), closer[rows] * np.sin(elevation)], 1)
