"""Losses of a segmentation head: cross entropy and Lovász-softmax."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.sensing.frame import IGNORE


def cross_entropy_lovasz(logits: Tensor, labels: Tensor, lovasz_weight: float = 1.0) -> Tensor:
    """Cross entropy, averaged over the labelled points, plus ``lovasz_weight`` times ``lovasz_softmax``.

    ``logits`` (P, C), ``labels`` (P,) int64 in [0, C) or 255 = ignore; scalar. When every point is ignored the loss
    and its gradient are 0.
    """
    logits = logits.float()
    labelled = (labels != IGNORE).sum().clamp(min=1)
    loss = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum") / labelled
    if lovasz_weight != 0:
        loss = loss + lovasz_weight * lovasz_softmax(logits, labels)
    return loss


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász extension of the Jaccard loss, averaged over the classes present (Berman et al., CVPR 2018, eq. 8-11).

    ``logits`` (P, C), ``labels`` (P,) int64, 255 = ignore; scalar, 0 when every point is ignored.
    """
    probabilities = logits.float().softmax(dim=1).T.contiguous()
    classes = torch.arange(len(probabilities), device=labels.device)
    truth = labels == classes[:, None]
    # An ignored point gets error 0: it sorts to the end and adds nothing, so no rows need to be picked out
    # (which would make a GPU wait for the host).
    errors = (truth.float() - probabilities).abs() * (labels != IGNORE)
    errors, order = errors.sort(dim=1, descending=True)
    losses = (errors * _jaccard_steps(truth.gather(1, order))).sum(dim=1)
    present = truth.any(dim=1)
    return (losses * present).sum() / present.sum().clamp(min=1)


def _jaccard_steps(truth: Tensor) -> Tensor:
    """How much the Jaccard loss grows when the next point is wrong too (Berman et al., algorithm 1).

    ``truth`` (C, P) bool, in descending order of the error; (C, P) float32. Counts are exact below 2^24 points.
    """
    positives = truth.sum(dim=1, keepdim=True)
    missed = truth.cumsum(dim=1)
    rank = torch.arange(1, truth.shape[1] + 1, device=truth.device)
    jaccard = 1 - (positives - missed) / (positives + rank - missed)
    return jaccard.diff(dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
