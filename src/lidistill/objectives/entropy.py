"""Entropy minimisation where no label is known (MinEnt; Grandvalet and Bengio, NeurIPS 2004)."""

from __future__ import annotations

from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy in nats of the predictions ``logits`` (P, C), a scalar; 0, with a gradient of 0, for no rows."""
    if not len(logits):
        return logits.sum()
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(dim=1).mean()
