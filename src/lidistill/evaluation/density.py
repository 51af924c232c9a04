"""How well a network separates a domain whose labels nobody knows: soft neighbourhood density."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import RunError
from lidistill.evaluation.inference import look
from lidistill.students.network import Network

TEMPERATURE = 0.05
FRAMES, POINTS = 20, 500


def density(network: Network, target: Unlabelled, voxel: float) -> float:
    """Mean ``soft_density`` of drawn points of up to twenty evenly spread scans of ``target``; more is better."""
    found = []
    for index in np.unique(np.linspace(0, len(target) - 1, min(FRAMES, len(target))).astype(int)).tolist():
        outputs = look(network, target[index], voxel).outputs
        drawn = np.random.default_rng(index).permutation(len(outputs))[:POINTS]
        found.append(float(soft_density(outputs[torch.from_numpy(drawn)].softmax(1))))
    if not found:
        raise RunError(f"{target.spec}: no scan to look at")
    return fmean(found)


def soft_density(probabilities: Tensor) -> Tensor:
    """Entropy of how alike the predictions of (N, C) points are (Saito et al., ICCV 2021, equations 2 and 3); scalar.

    Large when every point has many neighbours with the same prediction: dense clusters, each of one class. A network
    that is merely sure of itself does not raise it, as it would lower an entropy of predictions.
    """
    unit = functional.normalize(probabilities, dim=1)
    alike = unit @ unit.T / TEMPERATURE
    alike.fill_diagonal_(-torch.inf)
    share = alike.softmax(dim=1)
    return -(share * share.clamp(min=1e-12).log()).sum(dim=1).mean()
