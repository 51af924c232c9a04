"""Which beam of the lidar measured a point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.examine.scan import count_beams
from lidistill.sensing.frame import Frame

SLACK = 0.1
"""By how much of its beams a scan may miss its sensor record and still be taken as stored beam by beam."""
BINS = 16
"""Of the histogram of elevations, per beam."""


def beams(frame: Frame) -> tuple[NDArray[np.intp], int]:
    """Beam of each point (N,), 0 to B - 1 from one rim to the other, and B.

    ``frame.ring`` if it tells anything. Else, for scans stored beam by beam as KITTI's are, the number of full turns
    so far; else the nearest peak of the histogram of elevations (right for two points in three on nuScenes, nine in
    ten on a lidar that stands still).
    """
    known = frame.sensor.rings or 0
    if frame.ring is not None and (len(frame) == 1 or np.ptp(frame.ring) > 0):
        beam = np.maximum(frame.ring, 0).astype(np.intp)
        return beam, max(known, int(beam.max(initial=0)) + 1)
    turns = _turns(frame.points)
    if known > 1 and abs(int(turns[-1]) + 1 - known) <= SLACK * known:
        return np.minimum(turns, known - 1), known
    return _by_elevation(frame.points, known)


def _turns(points: NDArray[np.float32]) -> NDArray[np.intp]:
    """How often the azimuth has passed that of the first point, going round, up to each point (N,)."""
    azimuth = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi)
    step = np.diff(azimuth)
    clockwise = (step < 0).sum() > (step > 0).sum()
    turn = ((azimuth[0] - azimuth) if clockwise else (azimuth - azimuth[0])) % 1.0
    # more than half a turn back is a new beam; noise at the seam, too, but there is little of it
    return np.concatenate([[0], np.cumsum(np.diff(turn) < -0.5)]).astype(np.intp)


def _by_elevation(points: NDArray[Any], known: int) -> tuple[NDArray[np.intp], int]:
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    x, y, z = points.T
    elevation = np.arctan2(z, np.hypot(x, y))
    count = known or max(count_beams(np.degrees(elevation)), 1)
    low, high = np.percentile(elevation, [0.1, 99.9])
    if high <= low:
        return np.zeros(len(points), np.intp), count
    step = (high - low) / (BINS * count)
    histogram = np.histogram(elevation, BINS * count, (low, high))[0].astype(np.float64)
    smooth = gaussian_filter1d(histogram, BINS / 8, mode="constant")
    peaks, found = find_peaks(np.concatenate([[0.0], smooth, [0.0]]), prominence=0)
    peaks = np.sort(peaks[np.argsort(-found["prominences"])[:count]])
    center = low + (peaks - 0.5) * step
    return np.searchsorted((center[1:] + center[:-1]) / 2, elevation), count
