"""Intensity on a common scale: what share of the light a surface seems to send back.

Lidars report intensity in units of their own: 0 to 1, 0 to 255, counts. Most of them scale it so that it says how white
a surface is, and leave the upper part of the scale to retro-reflectors. ``white``, the value of a perfectly white
surface, is estimated as three standard deviations above the mean of the data set (the sensor record), or of the scan
where the record has no statistics: 0.7 for the HDL-64E of KITTI, 85 for the HDL-32E of nuScenes (its maker's
calibration says 100), 96 for the Pandar64.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import Frame

DARKEST = 0.02
"""Black paint at 905 nm. A point that was seen is never darker, whatever was reported: KITTI is full of zeros."""
GREY = 0.2
"""Of all surfaces, where the lidar does not tell them apart."""


def white(frame: Frame) -> float:
    """Raw intensity of a perfectly white surface; above 0."""
    mean, deviation = frame.sensor.intensity or (float(frame.intensity.mean()), float(frame.intensity.std()))
    value = mean + 3 * deviation
    return value if value > 0 else 1.0


def reflectivity(frame: Frame) -> NDArray[np.float32]:
    """(N,) shares in [``DARKEST``, ...]: above 1 for retro-reflectors."""
    if not _tells(frame):
        return np.full(len(frame), GREY, np.float32)
    shares: NDArray[np.float32] = np.maximum(frame.intensity / np.float32(white(frame)), np.float32(DARKEST))
    return shares


def with_intensity(frame: Frame, values: NDArray[np.floating[Any]]) -> Frame:
    """The frame with new raw intensities (N,), as its lidar would report them.

    Cut at the top of its scale, in whole numbers if all of its own are; unchanged where it reports but one value.
    """
    if not _tells(frame):
        return frame
    reported = np.clip(values, 0, max(white(frame), float(frame.intensity.max())))
    if np.array_equal(frame.intensity, np.rint(frame.intensity)):
        reported = np.rint(reported)
    return replace(frame, intensity=reported.astype(np.float32))


def _tells(frame: Frame) -> bool:
    return len(frame) > 0 and bool(np.ptp(frame.intensity) > 0)
