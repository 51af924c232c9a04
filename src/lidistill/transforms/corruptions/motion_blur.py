"""Motion blur: the vehicle shakes while the lidar turns, its motion is compensated wrongly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import Frame

SHAKING = (0.20, 0.25, 0.30)
"""Metres, standard deviation of the shift of the whole scan along each axis (published for SemanticKITTI)."""
JITTER = (0.1, 0.1, 0.05)
"""Standard deviation of the shift of a single point along x, y, z, in that of the scan."""
FARTHEST = 3.0
"""A point's shift is cut there, in standard deviations of the scan's."""


def motion_blur(frame: Frame, severity: int, rng: np.random.Generator) -> Frame:
    """The frame shifted as a whole by a Gaussian vector, and each point by one of its own. Labels stay."""
    sigma = SHAKING[severity - 1]
    shift = sigma * rng.standard_normal(3, np.float32)
    jitter = sigma * np.array(JITTER, np.float32) * rng.standard_normal((len(frame), 3), np.float32)
    return replace(frame, points=blurred(frame.points, shift, jitter, FARTHEST * sigma))


def blurred(
    points: NDArray[np.float32], shift: NDArray[np.float32], jitter: NDArray[np.float32], farthest: float
) -> NDArray[np.float32]:
    """Points (N, 3) moved by ``shift`` (3,) and ``jitter`` (N, 3), the latter cut at +-``farthest``; metres."""
    moved: NDArray[np.float32] = points + shift + np.clip(jitter, -farthest, farthest)
    return moved
