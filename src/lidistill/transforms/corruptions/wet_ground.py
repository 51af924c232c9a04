"""Wet ground: water mirrors the light away and keeps part of what the ground sends back.

A film of water covers a share f of the ground, growing with its height up to the depth of the ground's roughness
(after Hahner et al., *LiDAR snowfall simulation*, CVPR 2022). There the light passes the surface of the water twice
(Fresnel), and the diffuse light from below leaves it only within the cone of total reflection. The return is lost
where it falls below the noise, which is a share of the usual return of the dry ground at that angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.examine.ground import find_ground
from lidistill.sensing.frame import Frame
from lidistill.transforms.corruptions.classes import GROUND, ids_of
from lidistill.transforms.corruptions.reflectivity import reflectivity, with_intensity

WATER = (0.2, 1.0, 1.2)
"""Millimetres (published)."""
ROUGHNESS = 1.2
"""Millimetres of water that cover everything (published)."""
NOISE = (0.2, 0.3, 0.7)
"""In the usual return of the dry ground (published)."""
AIR_INDEX, WATER_INDEX = 1.0003, 1.33
DIFFUSE = 0.066
"""Of diffuse light, reflected by water from outside."""
INSIDE = 1 - (1 - DIFFUSE) * (AIR_INDEX / WATER_INDEX) ** 2
"""Of diffuse light, thrown back into the water from inside: all that is steeper than the cone, and a little more."""
FEW = 100
"""Fewer points of ground say nothing about its usual return: the scan stays as it is."""
GROUPS = 20
THICK = 0.2
"""Metres: what is so close to the plane of the ground is ground, where there are no labels."""
FLATTEST = 0.01

Values = NDArray[np.floating[Any]]


def wet_ground(frame: Frame, severity: int, classes: Sequence[str] | None) -> Frame:
    """The frame after rain: ground darker, and gone where it is too dark. Nothing here is left to chance.

    Ground is what ``classes`` call so, taken as level; in frames without labels it is what lies on the plane below the
    lidar. Raises ``InputError`` when none of the classes is ground.
    """
    rows, cosine = _ground(frame, classes)
    if len(rows) < FEW:
        return frame
    dry = reflectivity(frame)[rows]
    covered = min(WATER[severity - 1] / ROUGHNESS, 1)
    factor = 1 - covered + covered * darkening(cosine, dry)
    lost = dry * factor < NOISE[severity - 1] * usual_return(cosine, dry)
    intensity = frame.intensity.copy()
    intensity[rows] *= factor
    kept = np.ones(len(frame), bool)
    kept[rows[lost]] = False
    return with_intensity(frame, intensity).select(kept)


def darkening(cosine: Values, dry: Values) -> Values:
    """Return of ground under water by that of dry ground, at most 1: cosines of incidence (N,), dry reflectivity (N,).

    T^2 / (n^2 (1 - rho R)): T passes the surface either way, for the polarisation that passes best; light that
    leaves the water spreads over n^2 times the solid angle; a share R of it is thrown back to the ground.
    """
    passed = 1 - np.minimum(*fresnel(cosine))
    spread = (WATER_INDEX / AIR_INDEX) ** 2
    wet: Values = passed**2 / (spread * (1 - np.clip(dry, 0.05, 1) * INSIDE))
    return np.minimum(wet, 1)


def fresnel(cosine: Values) -> tuple[Values, Values]:
    """Power that water reflects from outside, by the cosine of incidence: perpendicular, parallel polarisation."""
    inside = np.sqrt(1 - (1 - cosine**2) * (AIR_INDEX / WATER_INDEX) ** 2)
    perpendicular = (AIR_INDEX * cosine - WATER_INDEX * inside) / (AIR_INDEX * cosine + WATER_INDEX * inside)
    parallel = (AIR_INDEX * inside - WATER_INDEX * cosine) / (AIR_INDEX * inside + WATER_INDEX * cosine)
    return perpendicular**2, parallel**2


def usual_return(cosine: Values, dry: Values) -> Values:
    """Usual reflectivity by the cosine of incidence: a line through medians of groups of like angle, at least 0."""
    groups = np.array_split(np.argsort(cosine), GROUPS)
    middle = [np.median(cosine[group]) for group in groups]
    usual = [np.median(dry[group]) for group in groups]
    x = np.array(middle) - np.mean(middle)
    slope = (x * usual).sum() / max((x * x).sum(), 1e-12)
    line: Values = np.maximum(np.mean(usual) + slope * (cosine - np.mean(middle)), 0)
    return line


def _ground(frame: Frame, classes: Sequence[str] | None) -> tuple[NDArray[np.intp], Values]:
    """Rows of the ground and the cosines of incidence there."""
    up, rows = np.array([0.0, 0.0, 1.0]), np.zeros(0, np.intp)
    if frame.labels is not None:
        rows = np.flatnonzero(np.isin(frame.labels, ids_of(GROUND, "ground", frame, classes)))
    elif (plane := find_ground(frame.points)) is not None and plane.level:
        up = plane.up
        rows = np.flatnonzero(np.abs(frame.points @ up + plane.height) < THICK)
    points = frame.points[rows]
    distance = np.maximum(np.linalg.norm(points, axis=1), 1e-6)
    return rows, np.clip(-(points @ up.astype(np.float32)) / distance, FLATTEST, 1)
