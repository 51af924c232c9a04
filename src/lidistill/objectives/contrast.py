"""The contrastive loss that PPKT, SLidR, ST-SLidR and Seal share: cross entropy with the own partner as the class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS_AT_ONCE = 256
"""A block of 256 x 4096 logits stays in a processor's cache, and 16 million of them are never there at once."""


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
    times 0 is still a negative, of similarity 0. ``weights`` (R,), not negative, make a weighted mean; neither of the
    two is learned. Scalar, in float32 at least; 0 without rows or when no row has a weight.
    """
    with torch.autocast(points.device.type, enabled=False):
        points, pixels = in_single(points), in_single(pixels)
        weights = points.new_ones(len(points)) if weights is None else weights.to(points.dtype)
        shares = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        loss: Tensor = _InfoNCE.apply(points, pixels / temperature, multiply, shares)  # type: ignore[no-untyped-call]
        return loss


class _InfoNCE(torch.autograd.Function):
    """Block by block of the rows, the gradients together with the loss: no matrix of all logits is ever kept."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, pixels: Tensor, multiply: Tensor | None, shares: Tensor) -> Tensor:
        learning = any(ctx.needs_input_grad)
        to_points, to_pixels = torch.zeros_like(points), torch.zeros_like(pixels)
        loss = points.new_zeros(())
        for start in range(0, len(points), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            factors = None if multiply is None else multiply[rows]
            logits = points[rows] @ pixels.T
            if factors is not None:
                logits *= factors
            own = logits.diagonal(start).clone()
            largest = logits.amax(dim=1, keepdim=True)
            softmax = logits.sub_(largest).exp_()
            total = softmax.sum(dim=1, keepdim=True)
            loss += ((total.log() + largest)[:, 0] - own) @ shares[rows]
            if not learning:
                continue
            slope = softmax.div_(total)
            slope.diagonal(start).sub_(1)
            slope *= shares[rows, None]
            if factors is not None:
                slope *= factors
            to_points[rows] = slope @ pixels
            to_pixels += slope.T @ points[rows]
        ctx.save_for_backward(to_points, to_pixels)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_points, to_pixels = ctx.saved_tensors
        return to_points * gradient, to_pixels * gradient, None, None


def in_single(features: Tensor) -> Tensor:
    """The same numbers in float32; float64 stays."""
    return features if features.dtype == torch.float64 else features.float()
