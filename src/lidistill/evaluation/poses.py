"""The same scan from other poses, for test-time augmentation: turned about z, mirrored, made larger or smaller."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lidistill.errors import InputError
from lidistill.sensing.frame import Frame
from lidistill.transforms.augment import flip, rescale, rotate

ANGLE, SIZE = 0.6180339887498949, 0.7548776662466927
"""Steps of the two sequences (golden ratio, plastic number): any number of members covers the circle evenly."""
AMOUNT = 0.05
"""Largest change of size; training changes it by up to 0.1."""
AXES = (None, 0, 1)


@dataclass(frozen=True)
class Viewpoint:
    """A turn by ``angle`` radians about z, then a mirror (``axis`` 0 = x, 1 = y, None = none), then a ``factor``."""

    angle: float = 0.0
    axis: int | None = None
    factor: float = 1.0

    def apply(self, frame: Frame) -> Frame:
        """The frame with its points moved; the upright pose returns the frame itself. Pictures are not moved."""
        if self == Viewpoint():
            return frame
        points = rescale(flip(rotate(frame.points, self.angle), self.axis), self.factor)
        return replace(frame, points=points, views=())


def poses(count: int) -> tuple[Viewpoint, ...]:
    """The first ``count`` poses of a fixed list whose first is the scan as recorded.

    What WaffleIron draws at random for its test-time augmentation (turns, mirrors, sizes), from low-discrepancy
    sequences instead: the same poses for every scan, process and run, and more of them go on where fewer stop.
    Raises ``InputError`` for a count below 1.
    """
    if count < 1:
        raise InputError(f"--tta {count}: expected the number of poses of each scan, 1 (none but its own) or more")
    return (
        Viewpoint(),
        *(
            Viewpoint(2 * math.pi * (k * ANGLE % 1), AXES[k % 3], 1 + AMOUNT * (2 * (k * SIZE % 1) - 1))
            for k in range(1, count)
        ),
    )
