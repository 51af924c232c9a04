"""How far a network agrees with itself on a domain whose labels nobody knows."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from lidistill.datasets.source import evenly
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation.inference import look
from lidistill.sensing.frame import Frame
from lidistill.students.network import Network
from lidistill.transforms.augment import rescale, rotate

FRAMES = 20
TURN, FACTOR = 2.0, 1.05
"""Radians about the sensor, and a change of size within what training does to scans: a street stays a street."""


def agreement(network: Network, target: Unlabelled, voxel: float) -> float:
    """Share of the points of up to twenty evenly spread scans of ``target`` whose class stays when the scan is turned.

    Needs no label. What a network guesses near the border of two classes flips; what it has learned of the domain does
    not. Raises ``InputError`` when no scan can be used.
    """
    found, last = [], InputError(f"{target.spec}: has no scan")
    for index in evenly(target, FRAMES):
        try:
            frame = target[index]
            seen = [look(network, one, voxel).prediction() for one in (frame, turned(frame))]
        except InputError as error:
            last = error
            continue
        found.append(float((seen[0] == seen[1]).mean()))
    if not found:
        raise last
    return fmean(found)


def turned(frame: Frame) -> Frame:
    """The same scan seen by a sensor that is turned, a little larger."""
    return replace(frame, points=rescale(rotate(frame.points, TURN), FACTOR), views=())
