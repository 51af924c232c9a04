"""Sparse convolution in plain torch: gather the rows that meet, multiply, add up; the same on every device.

On a GPU spconv can take over (``spconv_backend``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lidistill.students import spconv_backend
from lidistill.students.kernel_maps import half

Step = tuple[int, Tensor | None, Tensor | None]
"""Number of a kernel position, and the rows of input and output that meet there; None = every row itself."""


@dataclass(frozen=True, eq=False)
class KernelMap:
    """What meets what in a convolution from some voxels to ``outputs`` voxels, position by position."""

    steps: tuple[Step, ...]
    inputs: int
    outputs: int

    @classmethod
    def submanifold(cls, pairs: Tensor, counts: list[int], voxels: int, kernel: int) -> KernelMap:
        """Of ``kernel_maps.submanifold``: the half that was searched, its mirror, the centre."""
        steps: list[Step] = [(kernel**3 // 2, None, None)]
        for (one, other), (there, here) in zip(half(kernel), _parts(pairs, counts), strict=True):
            steps += [(one, there, here), (other, here, there)]
        return cls(tuple(steps), voxels, voxels)

    @classmethod
    def strided(cls, pairs: Tensor, counts: list[int], inputs: int, outputs: int) -> KernelMap:
        """Of ``kernel_maps.strided``."""
        steps = [(number, there, here) for number, (there, here) in enumerate(_parts(pairs, counts))]
        return cls(tuple(steps), inputs, outputs)

    def inverse(self) -> KernelMap:
        """The map of the transposed convolution, from the outputs back to the inputs."""
        return KernelMap(tuple((number, here, there) for number, there, here in self.steps), self.outputs, self.inputs)


def _parts(pairs: Tensor, counts: list[int]) -> list[tuple[Tensor, Tensor]]:
    return [(part[0], part[1]) for part in torch.split(pairs, counts, dim=1)]


class SparseConv(nn.Module):
    """A convolution over voxels: ``weight`` (kernel^3, inputs, outputs), positions as in ``kernel_maps``.

    Submanifold, strided or inverse: which of them is the map's business.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel**3, inputs, outputs))
        # He et al. for a ReLU, by fan-out, as the published networks start
        nn.init.normal_(self.weight, std=math.sqrt(2 / (kernel**3 * outputs)))

    def forward(self, voxels: Tensor, where: KernelMap) -> Tensor:
        """(where.inputs, inputs) -> (where.outputs, outputs)."""
        return sparse_conv(voxels, self.weight, where)


def sparse_conv(voxels: Tensor, weight: Tensor, where: KernelMap) -> Tensor:
    """Sum over the kernel positions k of the input rows that meet an output row times ``weight[k]``.

    ``voxels`` (where.inputs, Cin), ``weight`` (K, Cin, Cout); returns (where.outputs, Cout). Under autocast
    products are taken in its type and summed in float32.
    """
    device = voxels.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else voxels.dtype
    voxels, weight = voxels.to(dtype), weight.to(dtype)
    if spconv_backend.takes(voxels, where):
        return spconv_backend.convolve(voxels, weight, where)
    result: Tensor = _SparseConv.apply(voxels, weight, where)  # type: ignore[no-untyped-call]
    return result


class _SparseConv(torch.autograd.Function):
    """Keeps its input and nothing that was gathered from it."""

    @staticmethod
    def forward(ctx: Any, voxels: Tensor, weight: Tensor, where: KernelMap) -> Tensor:
        ctx.save_for_backward(voxels, weight)
        ctx.where = where
        return _gather_multiply_add(voxels, weight, where).to(voxels.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        voxels, weight = ctx.saved_tensors
        where: KernelMap = ctx.where
        to_voxels = to_weight = None
        gradient = gradient.contiguous()
        if ctx.needs_input_grad[0]:
            to_voxels = _gather_multiply_add(gradient, weight.transpose(1, 2), where.inverse()).to(voxels.dtype)
        if ctx.needs_input_grad[1]:
            to_weight = torch.zeros_like(weight)
            for number, there, here in where.steps:
                to_weight[number] = _rows(voxels, there).T @ _rows(gradient, here)
        return to_voxels, to_weight, None


def _gather_multiply_add(rows: Tensor, weight: Tensor, where: KernelMap) -> Tensor:
    """Within a position no output row comes twice: the order of the sums, and so the result, is always the same."""
    total = torch.zeros(where.outputs, weight.shape[2], device=rows.device, dtype=_sum_type(rows.dtype))
    for number, there, here in where.steps:
        product = (_rows(rows, there) @ weight[number]).to(total.dtype)
        if here is None:
            total += product
        else:
            total.index_add_(0, here, product)
    return total


def _rows(rows: Tensor, chosen: Tensor | None) -> Tensor:
    return rows if chosen is None else rows.index_select(0, chosen)


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
