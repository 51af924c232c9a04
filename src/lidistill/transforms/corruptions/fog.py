"""Fog: it dims what lies behind it, and shines itself.

After Hahner et al., *Fog simulation on real lidar point clouds* (ICCV 2021), and the lidar equation of Rasshofer
et al. (2011). A pulse of power p(t) = sin^2(pi t / (2 tau)), 0 <= t <= 2 tau, meets droplets everywhere on its way to
the surface. What they send back arrives as the power

    P(R) = beta integral of p(t) exp(-2 alpha s) xi(s) / s^2 dt,   s = R - c t / 2,

alpha the extinction, beta the back-scatter of the fog, xi the share of the beam that the receiver sees. The surface at
r sends i exp(-2 alpha r). Where the strongest P up to r exceeds that, the lidar reports the fog.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import IGNORE, Frame
from lidistill.transforms.corruptions.reflectivity import with_intensity

EXTINCTION = (0.0, 0.005, 0.01, 0.02, 0.03, 0.06)
"""1/m. One of them is drawn for every scan, in all severities (published)."""
BACKSCATTER = (0.008, 0.05, 0.2)
"""1/m (published)."""
SURFACE = 1e-6 / np.pi
"""Differential reflectivity of a surface, to which that of the fog is compared (published)."""
LIGHT = 299_792_458.0
PULSE = 20e-9
"""Seconds: half the pulse."""
CROSSOVER = (0.9, 1.0)
"""Metres: the receiver sees nothing nearer than the first, all beyond the second."""
STEP, FARTHEST = 0.1, 20.0
"""Metres: the table's. The strongest echo of any fog is nearer than 5 m."""
SCATTER = 10.0
"""Metres: how uneven fog is, seen from the surface's distance (published)."""

Values = NDArray[np.floating[Any]]


def fog(frame: Frame, severity: int, rng: np.random.Generator) -> Frame:
    """The frame in fog of a random density, ``BACKSCATTER`` by severity."""
    alpha = float(rng.choice(EXTINCTION))
    return in_fog(frame, alpha, BACKSCATTER[severity - 1], rng)


def in_fog(frame: Frame, alpha: float, beta: float, rng: np.random.Generator) -> Frame:
    """The frame in fog of extinction ``alpha`` and back-scatter ``beta`` (1/m).

    Points outshone by the fog move towards the lidar, take the fog's intensity and lose their label; the others get
    darker. The fog's place is spread by r / U(r - 10, r + 10), so that it is no sphere, but a point moves neither to
    more than twice the place nor away from the lidar.
    """
    distance = np.linalg.norm(frame.points, axis=1)
    place, response = echo(distance, alpha)
    dimmed = np.exp(-2 * alpha * distance)
    shining = response * distance**2 * (beta / SURFACE)
    rows = np.flatnonzero(shining > dimmed)
    r = distance[rows]
    unevenness = r / rng.uniform(np.maximum(r - SCATTER, r / 2), r + SCATTER)
    points = frame.points.copy()
    points[rows] *= (np.minimum(place[rows] * unevenness, r) / r)[:, None].astype(np.float32)
    labels = None if frame.labels is None else frame.labels.copy()
    if labels is not None:
        labels[rows] = IGNORE
    dimmed[rows] = shining[rows]
    return with_intensity(replace(frame, points=points, labels=labels), frame.intensity * dimmed)


def echo(distance: Values, alpha: float) -> tuple[Values, Values]:
    """Where fog in front of surfaces at ``distance`` (N,) shines strongest, in metres, and how strongly by beta."""
    places, responses = _table(alpha)
    entry = np.minimum((distance / STEP).astype(np.intp), len(places) - 1)
    return places[entry], responses[entry]


@cache
def _table(alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The strongest echo up to each distance in steps of ``STEP``: its place and P / beta."""
    reach = np.arange(0, FARTHEST, STEP)
    time = (np.arange(400) + 0.5) / 400 * 2 * PULSE
    droplet = reach[:, None] - LIGHT * time / 2
    near, far = CROSSOVER
    seen = np.clip((droplet - near) / (far - near), 0, 1)
    power = (
        np.sin(np.pi * time / (2 * PULSE)) ** 2 * np.exp(-2 * alpha * droplet) * seen / np.maximum(droplet, near) ** 2
    )
    response = power.sum(1) * (2 * PULSE / 400)
    strongest = np.maximum.accumulate(response)
    first = np.searchsorted(strongest, strongest, side="left")
    return reach[first], strongest
