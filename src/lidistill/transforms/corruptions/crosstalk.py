"""Crosstalk: pulses of other lidars are taken for the own ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lidistill.sensing.frame import IGNORE, Frame

DENSE = 60_000
"""Points of a scan of 64 beams or more. The same number of foreign pulses is a smaller share of them."""
SHARES = {True: (0.006, 0.008, 0.010), False: (0.03, 0.04, 0.05)}
"""Of the points: dense scans (published for SemanticKITTI), others (light is published for nuScenes)."""
SCATTER = 3.0
"""Metres, standard deviation along each axis (published)."""


def crosstalk(frame: Frame, severity: int, rng: np.random.Generator) -> Frame:
    """The frame with some points moved at random; their intensity is that of any other point, their label ignored."""
    number = int(SHARES[len(frame) > DENSE][severity - 1] * len(frame))
    rows = rng.choice(len(frame), number, replace=False)
    points, intensity = frame.points.copy(), frame.intensity.copy()
    points[rows] += SCATTER * rng.standard_normal((number, 3), np.float32)
    intensity[rows] = frame.intensity[rng.integers(len(frame), size=number)]
    labels = None if frame.labels is None else frame.labels.copy()
    if labels is not None:
        labels[rows] = IGNORE
    return replace(frame, points=points, intensity=intensity, labels=labels)
