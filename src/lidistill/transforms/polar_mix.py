"""Two scans of one sensor in one: a sector of the circle is cut out of each and changes places.

The scene-level half of PolarMix (Xiao et al., NeurIPS 2022); the other half is ``paste``. A lidar samples azimuth by
azimuth, so a sector of another scan has the density, the occlusion and the intensities of a real one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.frame import Frame

SECTOR = math.pi
"""Radians that are swapped: half of the circle (WaffleIron, ICCV 2023)."""


def polar_mix(frame: Frame, other: Frame, rng: np.random.Generator) -> Frame:
    """``swap_sector`` of half the circle, from a drawn azimuth on."""
    return swap_sector(frame, other, rng.uniform(-math.pi, math.pi), SECTOR)


def swap_sector(frame: Frame, other: Frame, start: float, width: float) -> Frame:
    """``frame`` with what ``other`` has in the sector of ``width`` radians counter-clockwise from azimuth ``start``.

    Both halves are rows of their scans, in their order; the pictures are left out, for they show one of the two alone.
    """
    own, others = (in_sector(one.points, start, width) for one in (frame, other))
    return joined(frame.select(~own), other.select(others))


def in_sector(points: NDArray[np.float32], start: float, width: float) -> NDArray[np.bool_]:
    """(N,) bool: which of (N, 3) points lie in the sector."""
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    inside: NDArray[np.bool_] = np.mod(azimuth - start, 2 * math.pi) < width
    return inside


def joined(frame: Frame, other: Frame) -> Frame:
    """The points of ``frame``, then those of ``other``, as one scan of the same sensor without pictures.

    Rings and times are kept when both have them. Raises ``InputError`` for scans of two sensors, whose intensities have
    nothing to do with each other, and when one has labels and the other has none.
    """
    if frame.sensor.name != other.sensor.name:
        raise InputError(
            f"{frame.token} is a scan of {frame.sensor.name!r}, {other.token} one of {other.sensor.name!r}; only scans "
            "of one sensor can be mixed"
        )
    if (frame.labels is None) != (other.labels is None):
        raise InputError(
            f"{(frame if frame.labels is None else other).token}: has no labels, the scan mixed with it has"
        )
    return replace(
        frame,
        points=np.concatenate([frame.points, other.points]),
        intensity=np.concatenate([frame.intensity, other.intensity]),
        ring=_of_both(frame.ring, other.ring),
        time=_of_both(frame.time, other.time),
        labels=_of_both(frame.labels, other.labels),
        views=(),
    )


def _of_both(column: NDArray[Any] | None, other: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if column is None or other is None else np.concatenate([column, other])
