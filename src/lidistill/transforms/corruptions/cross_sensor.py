"""Cross-sensor: the scan as a lidar with fewer beams and half the azimuth steps would have taken it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import Frame
from lidistill.transforms.corruptions.beams import beams

EVERY = (4.0, 2.0, 4 / 3)
"""Beams 1, 1 + step, 1 + 2 steps, ... (their integer parts) are left out: a quarter, a half, three quarters."""


def cross_sensor(frame: Frame, severity: int) -> Frame:
    """The frame with three quarters, a half or a quarter of its beams, and every second point of each. No chance."""
    beam, count = beams(frame)
    left_out = np.zeros(count, bool)
    left_out[np.arange(1, count, EVERY[severity - 1]).astype(np.intp)] = True
    rows = np.flatnonzero(~left_out[beam])
    return frame.select(rows[_place(beam[rows]) % 2 == 0])


def _place(beam: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number of each point (N,) among the points of its beam, in the order of the scan."""
    order = np.argsort(beam.astype(np.int32), kind="stable")
    counts = np.bincount(beam)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    place = np.empty(len(beam), np.intp)
    place[order] = np.arange(len(beam)) - starts
    return place
