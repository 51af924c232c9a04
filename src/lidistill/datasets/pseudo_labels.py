"""What a network believes of scans that have no labels, and which of it is sure enough to be learned (self-training).

A round of self-training asks the teacher once about every scan: class and confidence of every recorded point. Of the
points said to be of a class, the surest share is kept (class-balanced self-training, Zou et al., ECCV 2018): a rare
class is not drowned by one common threshold, and the common ones do not crowd it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation.inference import scan
from lidistill.sensing.files.atomic import write_atomically
from lidistill.sensing.frame import IGNORE, Frame, Sensor
from lidistill.students.network import Network
from lidistill.taxonomy import Taxonomy
from lidistill.training.samples import Skip

LEVELS = 6000
"""Confidence p is kept as -1000 log10(1 - p), up to p = 0.999999: finest where most guesses are."""


@dataclass(frozen=True)
class Guesses:
    """Files of guesses: ``INDEX.npz`` with ``classes`` (N,) uint8 and ``confidence`` (N,) uint16, see ``levels``."""

    folder: Path

    def path(self, index: int) -> Path:
        """The file of frame ``index``."""
        return self.folder / f"{index:06d}.npz"

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Classes and confidences of frame ``index``; ``InputError`` when the teacher could not use it."""
        path = self.path(index)
        if not path.is_file():
            raise InputError(f"{path}: no guess, for the frame could not be used")
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
                guessed, sure = self.read(index)
                np.add.at(found, (guessed, sure), 1)
        return found


def guess(network: Network, target: Unlabelled, voxel: float, folder: Path, part: tuple[int, int] = (0, 1)) -> Guesses:
    """Ask ``network`` about every frame of ``target``, or about the share ``part`` = (rank, world) of them.

    Guesses of a call that was interrupted are made again: they are the same.
    """
    made = Guesses(folder)
    with tqdm(total=len(range(part[0], len(target), part[1])), desc="guess", unit="scan", disable=part[0] > 0) as bar:
        for item in scan(network, target, voxel, part=part):
            bar.update()
            if not isinstance(item, Skip):
                sure, classes = (t.numpy()[item.rows.numpy()] for t in item.outputs.softmax(1).max(dim=1))
                made.write(item.index, classes.astype(np.uint8), levels(sure))
    return made


def levels(confidence: NDArray[np.floating]) -> NDArray[np.uint16]:
    """(N,) in [0, ``LEVELS``]: larger is surer."""
    return np.round(-1000 * np.log10(np.maximum(1 - confidence.astype(np.float64), 1e-6))).astype(np.uint16)


def thresholds(counts: NDArray[np.int64], keep: float) -> tuple[int, ...]:
    """Per class the lowest confidence (``levels``) of the surest ``keep`` of its points; above all where it has none.

    ``counts`` as of ``Guesses.counts``. A share of 0 keeps nothing.
    """
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # points at least so sure
    wanted = np.ceil(keep * above[:, 0])
    found = []
    for row, least in zip(above, wanted, strict=True):
        enough = np.flatnonzero((row >= least) & (row > 0))
        found.append(int(enough[-1]) if least > 0 and len(enough) else LEVELS + 1)
    return tuple(found)


@dataclass(frozen=True)
class Guessed:
    """``target`` with the sure guesses as its labels, those of the class list ``taxonomy``; 255 = not sure."""

    target: Unlabelled
    guesses: Guesses
    least: tuple[int, ...]
    taxonomy: Taxonomy

    @property
    def spec(self) -> str:
        """How the source was asked for."""
        return self.target.spec

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.target.name

    @property
    def sensor(self) -> Sensor:
        """Lidar of the source."""
        return self.target.sensor

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """None: guesses are numbered."""
        return {}

    def split(self, name: str) -> Guessed:
        """Raises ``InputError``: guesses were made of one split."""
        raise InputError(f"{self.spec}: guesses have no split {name!r}")

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: int) -> Frame:
        frame = self.target[index]
        classes, sure = self.guesses.read(index)
        if len(classes) != len(frame):
            raise InputError(f"{frame.token}: {len(frame)} points but {len(classes)} guesses; the scan has changed")
        least = np.array(self.least, np.uint16)
        return replace(frame, labels=np.where(sure >= least[classes], classes, np.uint8(IGNORE)))
