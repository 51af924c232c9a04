"""Figures of one scan: where its points lie, how its beams are spaced, how strong the returns are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.examine.ground import Ground, find_ground
from lidistill.sensing.frame import Frame

RANGES = np.concatenate([np.arange(0, 10, 1.0), np.arange(10, 50, 5.0), np.arange(50, 260, 10.0), [np.inf]])
"""Edges of the range histogram, metres."""
SECTORS = 72
LAYERS = 36
OWN = 0.2
"""Share of the median range below which returns are mostly the own vehicle, whose elevations are those of no beam."""
SWEEPS = 100
"""Scans that may be put together, each with one time."""
CLEAR, MANY = 0.45, 32
"""Prominence of a beam's peak relative to its height; fewer and shallower peaks are the waves of a prism lidar."""


@dataclass(frozen=True, eq=False)
class ScanFigures:
    """``fov`` degrees (lowest, highest elevation); ``reach`` the 99.9 % quantile and ``median`` of the ranges;

    ``beams``: how many, 0 when none are told apart; ``named``: the scan says which beam a point is of, else estimated;
    ``intensity`` = sum, sum of squares, lowest, highest; ``ranges`` counts by ``RANGES``; ``sectors`` and ``layers``:
    how many of 5-degree steps of azimuth and elevation hold points; ``box`` (3, 2): where 99 % of each axis lie.
    """

    points: int
    fov: tuple[float, float]
    beams: int
    named: bool
    reach: float
    median: float
    intensity: tuple[float, float, float, float]
    ranges: NDArray[np.int64]
    sectors: int
    layers: int
    box: NDArray[np.float64]
    ground: Ground | None
    span: float | None


def scan_figures(frame: Frame) -> ScanFigures:
    """Measure a scan; ``span`` in seconds when its points have times."""
    points = frame.points.astype(np.float64)
    distance = np.linalg.norm(points, axis=1)
    usable = distance > max(OWN * float(np.median(distance)), 1e-6)
    elevation = np.degrees(np.arcsin(np.clip(points[usable, 2] / distance[usable], -1, 1)))
    azimuth = np.degrees(np.arctan2(points[usable, 1], points[usable, 0]))
    values = frame.intensity.astype(np.float64)
    low, high = np.percentile(elevation, [0.2, 99.8]) if len(elevation) else (0.0, 0.0)
    return ScanFigures(
        points=len(points),
        fov=(float(low), float(high)),
        beams=count_beams(elevation) if frame.ring is None else len(np.unique(frame.ring)),
        named=frame.ring is not None,
        reach=float(np.quantile(distance, 0.999)),
        median=float(np.median(distance)),
        intensity=(float(values.sum()), float(values @ values), float(values.min()), float(values.max())),
        ranges=np.histogram(distance, RANGES)[0],
        sectors=len(np.unique(np.floor(azimuth * SECTORS / 360))),
        layers=len(np.unique(np.floor(elevation * LAYERS / 180))),
        box=np.quantile(points, [0.005, 0.995], axis=0).T,
        ground=find_ground(points),
        span=_span(frame.time),
    )


def _span(time: NDArray[np.float32] | None) -> float | None:
    """Seconds that a turn takes; several scans put into one have a few times in all and tell nothing."""
    if time is None or len(np.unique(time)) <= SWEEPS:
        return None
    return float(np.ptp(time))


def count_beams(elevation: NDArray[Any]) -> int:
    """Peaks of the histogram of elevations (degrees): how many beams a spinning lidar seems to have; 0: none."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    if len(elevation) < 100:
        return 0
    low, high = np.percentile(elevation, [0.1, 99.9])
    bins = max(int((high - low) / 0.02), 10)
    counts = gaussian_filter1d(np.histogram(elevation, bins, (low, high))[0].astype(np.float64), 1.5, mode="constant")
    counts = np.concatenate([[0.0], counts, [0.0]])
    peaks, found = find_peaks(counts, prominence=0.3 * counts.mean())
    if len(peaks) < MANY and (found["prominences"] < CLEAR * counts[peaks]).mean() > 0.5:
        return 0
    return len(peaks)
