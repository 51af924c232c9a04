"""Snow: near flakes are taken for surfaces, all of them together dim the rest.

Flakes fall as Gunn and Marshall measured (1958): their diameters, melted, are exponentially distributed with a mean
of 1 / (2.55 S^-0.48) mm at a snowfall of S mm of water an hour; how much of the air they fill follows from the speed at
which they fall (as in Hahner et al., *LiDAR snowfall simulation*, CVPR 2022). The pulse is a cone. A flake of diameter
D at the distance d fills the share D^2 / (delta d)^2 of it and sends back the power F D^2 / (delta d)^2 / d^2, a
surface of reflectivity rho at r the power rho exp(-2 sigma r) / r^2: the lidar reports the stronger.

Flakes are not drawn one by one: those that outshine a surface are a Poisson process along the pulse, whose mean is
known in closed form. With D exponential of mean m, the flakes at d that outshine the power P are those with
D > delta d^2 sqrt(P / F), so that their number up to r is

    pi/4 delta^2 n  integral of s^2 exp(-(s / d0)^2) ds,   d0^2 = m / (delta sqrt(P / F)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import IGNORE, Frame
from lidistill.transforms.corruptions.reflectivity import reflectivity, white, with_intensity

SNOWFALL = (0.5, 1.0, 2.5)
"""Millimetres of water an hour (published)."""
SPEED = (2.0, 1.6, 1.6)
"""Metres a second (published)."""
DENSITY = 0.1
"""Of a flake, in that of water (published)."""
DIVERGENCE = 3e-3
"""Radian (published)."""
BLIND = 0.95
"""Metres: nearer flakes are not in the receiver's view (published: from 0.9 to 1.0 m)."""
FLAKE = 0.9 * 2 / 3
"""Reflectivity of a flake: snow's, and a ball sends back two thirds of what a disc does."""
FAINTEST = 0.01
"""Share of the returns of a clear scan that are as weak as the lidar can see."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Snowfall:
    """``size`` = mean diameter in metres, ``number`` of flakes per cubic metre."""

    size: float
    number: float

    @classmethod
    def of(cls, rate: float, speed: float) -> Snowfall:
        """A snowfall of ``rate`` mm/h of water at ``speed`` m/s."""
        melted = 1e-3 / (2.55 * rate**-0.48)
        size = melted * DENSITY ** (-1 / 3)
        filled = rate / (3.6e6 * DENSITY * speed)
        return cls(size, filled / (np.pi * size**3))  # a ball's volume has the mean pi size^3

    @property
    def extinction(self) -> float:
        """1/m: the flakes' cross-sections, whose mean is pi/2 size^2."""
        return self.number * np.pi / 2 * self.size**2


def snow(frame: Frame, severity: int, rng: np.random.Generator) -> Frame:
    """The frame in snow.

    Points outshone by a flake move to it, take its intensity and lose their label; points that become fainter than the
    faintest returns of the clear scan vanish; the others get darker.
    """
    fall = Snowfall.of(SNOWFALL[severity - 1], SPEED[severity - 1])
    distance = np.maximum(np.linalg.norm(frame.points, axis=1), 1e-3).astype(np.float64)
    clear = reflectivity(frame) / distance**2
    passed = np.exp(-2 * fall.extinction * distance)
    faintest = float(np.quantile(clear, FAINTEST))
    rows, place, power = flakes(np.maximum(clear * passed, faintest), distance, fall, rng)
    points, intensity = frame.points.copy(), frame.intensity * passed
    points[rows] *= (place / distance[rows])[:, None].astype(np.float32)
    intensity[rows] = white(frame) * power * place**2
    labels = None if frame.labels is None else frame.labels.copy()
    if labels is not None:
        labels[rows] = IGNORE
    kept = clear * passed >= faintest
    kept[rows] = True
    return with_intensity(replace(frame, points=points, labels=labels), intensity).select(kept)


def flakes(
    power: Array, distance: Array, fall: Snowfall, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Array, Array]:
    """The flakes that outshine pulses of ``power`` (N,) from ``distance`` (N,).

    Returns the rows of those pulses (K,) ascending, the distance (K,) of the strongest flake in each, and its power.
    """
    root = np.sqrt(power / FLAKE)
    scale = np.sqrt(fall.size / (DIVERGENCE * root))
    # a flake that fills the beam is outshone too, beyond 1 / root
    nearest, farthest = _integral(BLIND / scale), _integral(np.minimum(distance, 1 / root) / scale)
    mean = np.pi / 4 * DIVERGENCE**2 * fall.number * scale**3 * np.maximum(farthest - nearest, 0)
    owner = np.repeat(np.arange(len(power)), rng.poisson(mean))
    place = scale[owner] * _inverse(nearest[owner] + rng.random(len(owner)) * (farthest - nearest)[owner])
    # what exceeds the smallest diameter is distributed as the diameters are: exponentials have no memory
    diameter = DIVERGENCE * place**2 * root[owner] + rng.exponential(fall.size, len(owner))
    share = np.minimum(diameter / (DIVERGENCE * place), 1) ** 2
    shining = FLAKE * share / place**2
    order = np.lexsort((shining, owner))
    last = order[np.append(owner[order][1:] != owner[order][:-1], True)] if len(order) else order
    return owner[last], place[last], shining[last]


@cache
def _table() -> tuple[Array, Array]:
    """Integral of t^2 exp(-t^2) from 0 to x, and x."""
    x = np.linspace(0, 5, 2001)
    middle = (x[1:] + x[:-1]) / 2
    return np.concatenate([[0], np.cumsum(middle**2 * np.exp(-(middle**2)) * x[1])]), x


def _integral(x: Array) -> Array:
    values, places = _table()
    return np.interp(x, places, values)


def _inverse(value: Array) -> Array:
    values, places = _table()
    return np.interp(value, values, places)
