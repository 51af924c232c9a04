"""How much a network tells of the points of a domain whose labels nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.special import entr

from lidistill.datasets.source import usable
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.evaluation.inference import look
from lidistill.students.network import Network

FRAMES = 20


def information(network: Network, target: Unlabelled, voxel: float) -> float:
    """``mutual_information`` over up to twenty evenly spread scans of ``target``; needs no label and no picture.

    Raises ``InputError`` when no scan can be used.
    """
    seen = usable(target, FRAMES, lambda frame: look(network, frame, voxel).outputs.softmax(1))
    return mutual_information(said for _, said in seen)


def mutual_information(said: Iterable[Tensor]) -> float:
    """Of point and class, 0 to 1, from (M, C) probabilities by scan.

    The entropy of the mean prediction less the mean entropy of the predictions, as a share of the most that there can
    be, the logarithm of C. Large where a network is sure of every point and still tells points apart; one that names
    all alike has none, nor has one that guesses.
    """
    scans = [(one.mean(0), entr(one).sum(1).mean()) for one in said]
    mean = torch.stack([classes for classes, _ in scans]).mean(0)
    unsure = torch.stack([entropy for _, entropy in scans]).mean()
    return float(entr(mean).sum() - unsure) / math.log(max(len(mean), 2))
