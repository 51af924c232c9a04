"""WaffleIron's embedding: a point's own features and how they differ from those of its neighbours."""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from lidistill.students.norms import InstanceNorm, build_norm

CHUNK_ON_CPU, CHUNK = 2**19, 2**26
"""Values of the neighbour branch made at a time: what a processor's cache holds; a small part of a GPU's memory."""

Moments = tuple[Tensor, Tensor, Tensor]
"""Mean (C,), covariance (C, C) divided by the count, count ()."""


class Embedding(nn.Module):
    """Features (M, C_in) -> tokens (M, C) (WaffleIron, ICCV 2023, section 3.2).

    With x = norm(features): the point branch is linear in x_i; the neighbour branch is the maximum over the
    neighbours j of linear2(relu(norm2(linear1(norm1(x_j - x_i))))); both are concatenated and merged.

    All that comes before the ReLU is affine in f_j - f_i, the differences of the raw features. So it is one matrix
    of C x C_in, and the statistics of both norms follow from the mean and covariance of C_in numbers; nothing of
    size M K C is made for them. What remains is computed for a few points at a time, and again in the backward pass.

    The norms are batch norms, or with ``per_cloud`` instance norms: the statistics are then those of each cloud.
    """

    def __init__(self, in_channels: int, width: int, *, per_cloud: bool = False) -> None:
        super().__init__()
        self.per_cloud = per_cloud
        kind = "instance" if per_cloud else "batch"
        self.norm = build_norm(kind, in_channels)
        self.point = nn.Linear(in_channels, width)
        self.norm1 = build_norm(kind, in_channels)
        self.linear1 = nn.Linear(in_channels, width, bias=False)
        self.norm2 = build_norm(kind, width)
        self.linear2 = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(2 * width, width)

    def forward(self, features: Tensor, neighbors: Tensor, offsets: Tensor | None = None) -> Tensor:
        """``features`` (M, C_in), ``neighbors`` (M, K) int64 rows; returns tokens (M, C).

        ``offsets`` (B + 1,) int64: first row of every cloud; None = all rows are one cloud.
        """
        if not self.per_cloud or offsets is None:
            return self._tokens(features, neighbors)
        # every cloud has a matrix of its own
        clouds = itertools.pairwise(offsets.tolist())
        return torch.cat([self._tokens(features[a:b], neighbors[a:b] - a) for a, b in clouds])

    def _tokens(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """``forward`` of rows that have their statistics in common."""
        around = features.index_select(0, neighbors.flatten()).view(*neighbors.shape, features.shape[1])
        differences = (around - features[:, None]).flatten(0, 1)
        with torch.autocast(features.device.type, enabled=False):
            scale, shift = self._input_norm(features)
            weight, bias = self._before_relu(differences, scale)
        point = self.point(features * scale + shift)
        tokens: Tensor = self.merge(torch.cat([point, self._maximum(differences, weight, bias, neighbors.shape[1])], 1))
        return tokens

    @property
    def _measures(self) -> bool:
        """Whether statistics are those of the rows at hand, not those remembered."""
        return self.training or self.per_cloud

    def _input_norm(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (C_in,) of the norm of the features."""
        if self._measures:
            mean, covariance, count = _moments(features, self.norm)
            variance = covariance.diagonal()
            _track(self.norm, mean, variance, count)
        else:
            mean, variance = _running(self.norm)
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        return scale, self.norm.bias - mean * scale

    def _before_relu(self, differences: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (C, C_in) and bias (C,): norm2(linear1(norm1(scale * differences))) = differences weight^T + bias."""
        norm1, norm2 = self.norm1, self.norm2
        from_bias = self.linear1.weight @ norm1.bias
        if self._measures:
            mean, covariance, count = _moments(differences, norm1)
            mean1, covariance = mean * scale, covariance * scale * scale[:, None]
            variance1 = covariance.diagonal()
            _track(norm1, mean1, variance1, count)
        else:
            mean1, variance1 = _running(norm1)
        inner = self.linear1.weight * (norm1.weight * (variance1 + norm1.eps).rsqrt())
        if self._measures:
            # norm1 leaves the mean at its own bias: that bias cancels, and its gradient is exactly zero
            mean2, variance2 = from_bias, ((inner @ covariance) * inner).sum(dim=1)
            _track(norm2, mean2, variance2, count)
        else:
            mean2, variance2 = _running(norm2)
        scale2 = norm2.weight * (variance2 + norm2.eps).rsqrt()
        bias = ((from_bias - mean2) - inner @ mean1) * scale2 + norm2.bias
        return inner * scale * scale2[:, None], bias

    def _maximum(self, differences: Tensor, weight: Tensor, bias: Tensor, neighbors: int) -> Tensor:
        """(M, C): maximum over the K neighbours of linear2(relu(differences weight^T + bias))."""
        device = differences.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else differences.dtype
        arguments = [t.to(dtype) for t in (differences, weight.T, bias, self.linear2.weight.T)]
        values = CHUNK_ON_CPU if device == "cpu" else CHUNK
        points = max(values // (neighbors * len(weight)), 1)
        with torch.autocast(device, enabled=False):
            tokens: Tensor = _NeighborMaximum.apply(*arguments, neighbors, points)  # type: ignore[no-untyped-call]
        return tokens


class _NeighborMaximum(torch.autograd.Function):
    """max over k of relu(x_k A + b) B for (M K, C_in) rows x, some points at a time, keeping only the arguments.

    The gradient is written out: the hidden values are made again, and where several neighbours share the maximum,
    each gets its share, as in ``torch.amax``.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, inner: Tensor, bias: Tensor, outer: Tensor, neighbors: int, points: int
    ) -> Tensor:
        ctx.save_for_backward(rows, inner, bias, outer)
        ctx.neighbors, ctx.points = neighbors, points
        parts = torch.split(rows, neighbors * points)
        return torch.cat([_outputs(_hidden(part, inner, bias), outer, neighbors).amax(dim=1) for part in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None, None]:
        rows, inner, bias, outer = ctx.saved_tensors
        to_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        # summed over the parts in full precision
        to_inner, to_bias, to_outer = (torch.zeros_like(t, dtype=_precise(t.dtype)) for t in (inner, bias, outer))
        step = ctx.neighbors * ctx.points
        parts = zip(torch.split(rows, step), torch.split(gradient, ctx.points), strict=True)
        for number, (part, wanted) in enumerate(parts):
            hidden = _hidden(part, inner, bias)
            to_outputs = _to_largest(_outputs(hidden, outer, ctx.neighbors), wanted).flatten(0, 1)
            to_outer += hidden.T @ to_outputs
            to_hidden = (to_outputs @ outer.T).mul_(hidden.sign_())
            to_inner += part.T @ to_hidden
            to_bias += to_hidden.sum(dim=0)
            if to_rows is not None:
                to_rows[number * step : number * step + len(part)] = to_hidden @ inner.T
        return to_rows, to_inner.to(inner.dtype), to_bias.to(bias.dtype), to_outer.to(outer.dtype), None, None


def _hidden(rows: Tensor, inner: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, rows, inner).relu_()


def _outputs(hidden: Tensor, outer: Tensor, neighbors: int) -> Tensor:
    return (hidden @ outer).view(len(hidden) // neighbors, neighbors, outer.shape[1])


def _to_largest(values: Tensor, gradient: Tensor) -> Tensor:
    """Gradient (m, C) of the maximum over k of values (m, K, C), shared by equal ones: (m, K, C), in their place."""
    # in-place comparison gives 0 and 1 in the type of the values, several times faster than through bool
    largest = values.eq_(values.amax(dim=1, keepdim=True))
    return largest.mul_((gradient / largest.sum(dim=1))[:, None])


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _running(norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(norm, _BatchNorm)
    return cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)


def _moments(rows: Tensor, norm: nn.Module) -> Moments:
    """Mean, covariance and number of the rows (N, C); those of all processes when ``norm`` is synchronised."""
    count = _total(rows.new_full((), len(rows)), norm).clamp(min=1)
    mean = _total(rows.sum(dim=0), norm) / count
    # a product of few columns and very many rows loses four digits in float32
    centered = (rows - mean).double()
    return mean, (_total(centered.T @ centered, norm) / count).to(mean.dtype), count


def _total(value: Tensor, norm: nn.Module) -> Tensor:
    if isinstance(norm, nn.SyncBatchNorm) and distributed.is_initialized():
        from torch.distributed.nn.functional import all_reduce

        return cast(Tensor, all_reduce(value))  # type: ignore[no-untyped-call]
    return value


@torch.no_grad()
def _track(norm: nn.Module, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Update the running statistics, if there are any, as torch's batch norm does, with the unbiased variance."""
    if isinstance(norm, InstanceNorm):
        return
    running_mean, running_variance = _running(norm)
    momentum = cast(float, norm.momentum)
    running_mean.lerp_(mean, momentum)
    running_variance.lerp_(variance * (count / (count - 1).clamp(min=1)), momentum)
    cast(Tensor, norm.num_batches_tracked).add_(1)
