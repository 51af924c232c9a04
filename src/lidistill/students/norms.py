"""Norms of packed rows: batch, layer, and instance norm, whose statistics are those of each cloud."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lidistill.students.packing import Packing


class InstanceNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance of every channel in the row's own cloud.

    As ``torch.nn.functional.instance_norm`` on each cloud alone, with a learned ``weight`` and ``bias`` (width,).
    Nothing is remembered: training and evaluation are the same. A cloud of one point becomes ``bias``.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """(M, C) -> (M, C) of the same type; computed in float32 at least."""
        with torch.autocast(rows.device.type, enabled=False):
            found: Tensor = _InstanceNorm.apply(  # type: ignore[no-untyped-call]
                rows, self.weight, self.bias, packing, self.eps
            )
        return found


Norm = nn.BatchNorm1d | nn.LayerNorm | InstanceNorm


def build_norm(kind: str, width: int, momentum: float = 0.1) -> Norm:
    """A norm of ``kind`` ``batch`` (with this ``momentum``), ``layer`` or ``instance`` for rows (M, width)."""
    if kind == "instance":
        return InstanceNorm(width)
    return nn.BatchNorm1d(width, momentum=momentum) if kind == "batch" else nn.LayerNorm(width)


def rowwise(layer: nn.Module, rows: Tensor, packing: Packing) -> Tensor:
    """``layer`` of ``rows`` (M, C); an instance norm is told to which cloud each belongs, others need not know."""
    return cast(Tensor, layer(rows, packing) if isinstance(layer, InstanceNorm) else layer(rows))


class _InstanceNorm(torch.autograd.Function):
    """Keeps its input and the statistics. The gradient is written out: torch's own would add up in no fixed order.

    One tensor more than the result is made, and filled again and again: making one takes longer than what is computed.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, packing: Packing, eps: float) -> Tensor:
        values = rows.to(torch.promote_types(rows.dtype, torch.float32))
        # seen from one of their rows, large numbers that differ little lose nothing, and equal ones are exactly 0
        origin = packing.firsts(values)
        room = packing.spread(origin)
        centred = values - room
        mean = packing.sums(centred) / packing.counts
        centred -= packing.spread(mean, out=room)
        variance = packing.sums(torch.mul(centred, centred, out=room)) / packing.counts
        inverse = (variance + eps).rsqrt()
        ctx.save_for_backward(rows, weight, origin + mean, inverse)
        ctx.packing = packing
        return centred.mul_(packing.spread(inverse * weight, out=room)).add_(bias).to(rows.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        rows, weight, mean, inverse = ctx.saved_tensors
        packing: Packing = ctx.packing
        gradient = gradient.to(mean.dtype)
        room = packing.spread(mean)
        centred = rows - room
        to_bias = packing.sums(gradient)
        to_weight = packing.sums(torch.mul(gradient, centred, out=room)) * inverse
        # mean and deviation of a cloud are fixed: what would change them is taken out of the gradient
        fixed = centred.mul_(packing.spread(to_weight * inverse / packing.counts, out=room))
        fixed += packing.spread(to_bias / packing.counts, out=room)
        to_rows = torch.sub(gradient, fixed, out=fixed).mul_(packing.spread(inverse * weight, out=room))
        to_weight, to_bias = (total.sum(dim=0).to(weight.dtype) for total in (to_weight, to_bias))
        return to_rows.to(rows.dtype), to_weight, to_bias, None, None
