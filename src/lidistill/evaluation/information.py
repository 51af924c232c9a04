"""How much a network tells of the points of a domain whose labels nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.special import entr

from lidistill.datasets.source import evenly
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation.inference import look
from lidistill.students.network import Network

FRAMES = 20


def information(network: Network, target: Unlabelled, voxel: float) -> float:
    """``mutual_information`` over up to twenty evenly spread scans of ``target``; needs no label and no picture.

    Raises ``InputError`` when no scan can be used.
    """
    return mutual_information(_predictions(network, target, voxel))


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


def _predictions(network: Network, target: Unlabelled, voxel: float) -> Iterator[Tensor]:
    used, last = 0, InputError(f"{target.spec}: has no scan")
    for index in evenly(target, FRAMES):
        try:
            said = look(network, target[index], voxel).outputs.softmax(1)
        except InputError as error:
            last = error
            continue
        used += 1
        yield said
    if not used:
        raise last
