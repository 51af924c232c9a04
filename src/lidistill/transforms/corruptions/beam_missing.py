"""Beam missing: some of the lidar's lasers are blind."""

from __future__ import annotations

import numpy as np

from lidistill.sensing.frame import Frame
from lidistill.transforms.corruptions.beams import beams

MISSING = (7 / 32, 12 / 32, 16 / 32)
"""Share of the beams. Robo3D draws a quarter, a half, three quarters of them with replacement: this is how many
different ones that makes in the mean (7.0, 12.2 and 16.1 of 32)."""
LOWER_RIM, UPPER_RIM = 1 / 16, 1 / 12
"""Shares of the beams at the rims that never miss: beams 2 to 28 of 32 and 4 to 58 of 64 can."""


def beam_missing(frame: Frame, severity: int, rng: np.random.Generator) -> Frame:
    """The frame without ``MISSING`` of its beams, chosen anew for every scan."""
    beam, count = beams(frame)
    first, last = round(LOWER_RIM * count), count - 1 - round(UPPER_RIM * count)
    candidates = np.arange(first, last + 1)
    number = min(round(MISSING[severity - 1] * count), len(candidates))
    return frame.select(~np.isin(beam, rng.choice(candidates, number, replace=False)))
