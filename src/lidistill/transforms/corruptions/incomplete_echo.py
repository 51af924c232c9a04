"""Incomplete echo: dark, shiny vehicles send too little light back, most of their points are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidistill.sensing.frame import Frame
from lidistill.transforms.corruptions.classes import VEHICLES, ids_of

MISSING = (0.75, 0.85, 0.95)
"""Share of the points of each vehicle class."""
FEW = 10
"""A class with so few points keeps them."""


def incomplete_echo(frame: Frame, severity: int, rng: np.random.Generator, classes: Sequence[str] | None) -> Frame:
    """The frame without ``MISSING`` of the points of every vehicle class; needs labels, else raises ``InputError``."""
    vehicles = ids_of(VEHICLES, "vehicles", frame, classes)
    kept = np.ones(len(frame), bool)
    for vehicle in vehicles:
        rows = np.flatnonzero(frame.labels == vehicle)
        if len(rows) > FEW:
            kept[rng.choice(rows, int(MISSING[severity - 1] * len(rows)), replace=False)] = False
    return frame.select(kept)
