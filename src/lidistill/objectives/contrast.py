"""The contrastive loss that PPKT, SLidR, ST-SLidR and Seal share: cross entropy with the own partner as the class."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(
    points: Tensor,
    pixels: Tensor,
    temperature: float = 0.07,
    multiply: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean over rows r of -log(exp(l_rr) / sum_c exp(l_rc)) with the logits l = ``points`` ``pixels``^T / temperature.

    ``points`` and ``pixels`` (R, D): row r of one belongs to row r of the other. Points ask, pixels answer; the other
    direction is not scored. Nothing is normalised here. ``multiply`` (R, R) scales the logits (ST-SLidR): a logit
    times 0 is still a negative, of similarity 0. ``weights`` (R,), not negative, make a weighted mean. Scalar, in
    float32 at least; 0 without rows or when no row has a weight.
    """
    with torch.autocast(points.device.type, enabled=False):
        logits = in_single(points) @ in_single(pixels).T / temperature
        if multiply is not None:
            logits = logits * multiply
        losses = -logits.log_softmax(dim=1).diagonal()
        if weights is None:
            return losses.sum() / max(len(losses), 1)
        total = weights.sum()
        return (losses * weights).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)


def in_single(features: Tensor) -> Tensor:
    """The same numbers in float32; float64 stays."""
    return features if features.dtype == torch.float64 else features.float()
