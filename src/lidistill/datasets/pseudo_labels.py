"""Pseudo-labels: what a network believes of scans that have no labels, and which of it is sure enough to be learned.

Of the points said to be of a class, the surest share is kept (class-balanced self-training, Zou et al., ECCV 2018): a
rare class is not drowned by one common threshold, and the common ones do not crowd it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.sensing.files.atomic import write_atomically
from lidistill.sensing.frame import Frame

UNSURE = 254
"""Train id of a point whose pseudo-label is not sure; a point of a labelled scan that has no class is 255."""
LEVELS = 6000
"""Confidence p is kept as -1000 log10(1 - p), up to p = 0.999999: finest where most points are."""


@dataclass(frozen=True)
class PseudoLabels:
    """Files in ``folder``: ``INDEX.npz`` with ``classes`` (N,) uint8 and ``confidence`` (N,) uint16, see ``levels``."""

    folder: Path

    def path(self, index: int) -> Path:
        """The file of frame ``index``."""
        return self.folder / f"{index:06d}.npz"

    def complete(self, part: tuple[int, int]) -> Path:
        """The empty file that says that all of the share ``part`` = (rank, world) of the frames is there."""
        return self.folder / f"complete-{part[0]}-of-{part[1]}"

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Classes and confidences of frame ``index``; ``InputError`` when the teacher could not use it."""
        path = self.path(index)
        if not path.is_file():
            raise InputError(f"{path}: no pseudo-labels, for the frame could not be used")
        with np.load(path) as file:
            return file["classes"], file["confidence"]

    def write(self, index: int, classes: NDArray[np.uint8], confidence: NDArray[np.uint16]) -> None:
        """Write the file of frame ``index``."""

        def save(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, classes=classes, confidence=confidence)

        write_atomically(self.path(index), save)

    def counts(self, frames: int, classes: int) -> NDArray[np.int64]:
        """(classes, LEVELS + 1): how many points of ``frames`` are said to be of a class with a confidence."""
        found = np.zeros((classes, LEVELS + 1), np.int64)
        for index in range(frames):
            if self.path(index).is_file():
                np.add.at(found, self.read(index), 1)
        return found


def levels(confidence: NDArray[np.floating]) -> NDArray[np.uint16]:
    """(N,) in [0, ``LEVELS``]: larger is surer."""
    return np.round(-1000 * np.log10(np.maximum(1 - confidence.astype(np.float64), 1e-6))).astype(np.uint16)


def thresholds(counts: NDArray[np.int64], keep: float) -> tuple[int, ...]:
    """Per class the lowest confidence (``levels``) of the surest ``keep`` of its points; above all where it has none.

    ``counts`` as of ``PseudoLabels.counts``. A share of 0 keeps nothing.
    """
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # points at least so sure
    wanted = np.ceil(keep * above[:, 0])
    found = []
    for row, least in zip(above, wanted, strict=True):
        enough = np.flatnonzero((row >= least) & (row > 0))
        found.append(int(enough[-1]) if least > 0 and len(enough) else LEVELS + 1)
    return tuple(found)


@dataclass(frozen=True)
class PseudoLabelled:
    """``target`` with its sure pseudo-labels; 254 (``UNSURE``) where the confidence is below that in ``least`` (C,)."""

    target: Unlabelled
    pseudo_labels: PseudoLabels
    least: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the target."""
        return self.target.name

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: int) -> Frame:
        frame = self.target[index]
        classes, confidence = self.pseudo_labels.read(index)
        if len(classes) != len(frame):
            raise InputError(f"{frame.token}: {len(frame)} points, {len(classes)} pseudo-labels; the scan has changed")
        least = np.array(self.least, np.uint16)
        return replace(frame, labels=np.where(confidence >= least[classes], classes, np.uint8(UNSURE)))
