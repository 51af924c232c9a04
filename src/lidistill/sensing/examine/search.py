"""Small corrections of a calibration: the score along each axis, and the best place around."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.examine.alignment import Agreement, Calibration, Change, Look, agreement, given, moved, turned

Kind = Literal["rotation", "translation"]
STEPS: dict[Kind, tuple[float, ...]] = {
    "rotation": (-3.0, -2.5, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0),
    "translation": (-1.0, -0.7, -0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
}
"""Degrees about, metres along the camera's axes."""
ORDER = (1, 0, 2)
"""Sideways first, then up and down, then the axis that moves least in the picture."""
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Search:
    """``offset`` (3,) about or along the camera's x (right), y (down), z (forward); its ``agreement``.

    ``curves`` (3, S): the ratio for every step of ``STEPS`` about the calibration as given, axis by axis.
    """

    kind: Kind
    offset: NDArray[np.float64]
    agreement: Agreement
    curves: NDArray[np.float64]

    @property
    def size(self) -> float:
        """Largest component."""
        return float(np.abs(self.offset).max())


MOVES: dict[Kind, Callable[[Calibration, Sequence[float]], Calibration]] = {"rotation": turned, "translation": moved}


def corrected(kind: Kind, offset: Sequence[float], start: Change = given) -> Change:
    """The calibration ``start`` of every look, turned or moved by ``offset`` (3,)."""
    return lambda look: MOVES[kind](start(look), offset)


def search(looks: Sequence[Look], kind: Kind, start: Change = given) -> Search:
    """Climb from ``start`` along one axis after the other."""
    known: dict[tuple[float, ...], Agreement] = {}

    def at(offset: NDArray[np.float64]) -> Agreement:
        key = tuple(np.round(offset, 4).tolist())
        if key not in known:
            known[key] = agreement(looks, corrected(kind, offset.tolist(), start))
        return known[key]

    def best(offset: NDArray[np.float64], steps: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        tried = [offset, *(offset + step for step in steps)]
        return max((place for place in tried if np.abs(place).max() <= reach), key=lambda place: at(place).sums.sum())

    steps, axes = STEPS[kind], np.eye(3)
    reach, fine = steps[-1], steps[len(steps) // 2 + 1]
    curves = np.array([[at(step * axis).ratio for step in steps] for axis in axes])
    offset = np.zeros(3)
    for _ in range(ROUNDS):
        before = offset
        for axis in ORDER:
            offset = best(offset, [step * axes[axis] for step in steps])
        # the third axis moves the picture little and hides behind a small error of another
        pairs = itertools.product(steps, (-fine, fine), (0, 1))
        offset = best(offset, [step * axes[2] + nudge * axes[other] for step, nudge, other in pairs])
        if np.array_equal(before, offset):
            break
    for axis in ORDER:
        offset = best(offset, [-fine / 2 * axes[axis], fine / 2 * axes[axis]])
    return Search(kind, offset, at(offset), curves)
