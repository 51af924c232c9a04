"""Adaptive batch normalisation: statistics of a target in the place of those that were learned (Li et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lidistill.datasets.source import usable
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.sensing.frame import Frame
from lidistill.students.batch import PointBatch
from lidistill.students.network import Network
from lidistill.training.samples import Collate, SegmentBatch, full_sample

SCANS = 40


def measure_anew(network: Network, target: Unlabelled, voxel: float) -> None:
    """Measure the statistics of all batch norms of ``network``, in place, on up to 40 scans of ``target``.

    They become the mean over the scans. Raises ``InputError`` when no scan can be used.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    device = next(network.parameters()).device
    count = 0
    with _measuring(network), torch.no_grad():
        for _, points in usable(target, SCANS, partial(_packed, network, voxel)):
            count += 1
            for norm in norms:
                norm.momentum = 1 / count  # a plain mean over the scans
            network(points.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def _measuring(network: Network) -> Iterator[None]:
    """Training mode measures; that of the rest would drop layers at random."""
    dropped = {module: module.drop_path for module in network.modules() if hasattr(module, "drop_path")}
    for module in dropped:
        setattr(module, "drop_path", 0.0)  # noqa: B010
    network.train()
    try:
        yield
    finally:
        network.eval()
        for module, chance in dropped.items():
            setattr(module, "drop_path", chance)  # noqa: B010


def _packed(network: Network, voxel: float, frame: Frame) -> PointBatch:
    batch = Collate(network.tokenizer)([full_sample(frame, voxel, network.tokenizer)]).batch
    assert isinstance(batch, SegmentBatch)
    return batch.points
