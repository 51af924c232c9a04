"""WaffleIron's embedding: a point's own features and how they differ from those of its neighbours."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

CHUNK_ON_CPU, CHUNK = 2**20, 2**26
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
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels)
        self.point = nn.Linear(in_channels, width)
        self.norm1 = nn.BatchNorm1d(in_channels)
        self.linear1 = nn.Linear(in_channels, width, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.linear2 = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(2 * width, width)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """``features`` (M, C_in), ``neighbors`` (M, K) int64 rows; returns tokens (M, C)."""
        differences = (features[neighbors] - features[:, None]).flatten(0, 1)
        with torch.autocast(features.device.type, enabled=False):
            scale, shift = self._input_norm(features)
            weight, bias = self._before_relu(differences, scale)
        point = self.point(features * scale + shift)
        tokens: Tensor = self.merge(torch.cat([point, self._maximum(differences, weight, bias, neighbors.shape[1])], 1))
        return tokens

    def _input_norm(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (C_in,) of the norm of the features."""
        mean, variance = _running(self.norm)
        if self.training:
            mean, covariance, count = _moments(features, self.norm)
            variance = covariance.diagonal()
            _track(self.norm, mean, variance, count)
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        return scale, self.norm.bias - mean * scale

    def _before_relu(self, differences: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (C, C_in) and bias (C,): norm2(linear1(norm1(scale * differences))) = differences weight^T + bias."""
        norm1, norm2, inner = self.norm1, self.norm2, self.linear1.weight
        mean1, variance1 = _running(norm1)
        mean2, variance2 = _running(norm2)
        from_bias = inner @ norm1.bias
        if self.training:
            mean, covariance, count = _moments(differences, norm1)
            mean1, covariance = mean * scale, covariance * scale * scale[:, None]
            variance1 = covariance.diagonal()
            # norm1 leaves the mean at its own bias: that bias cancels, and its gradient is exactly zero
            mean2 = from_bias
            normed = inner * (norm1.weight * (variance1 + norm1.eps).rsqrt())
            variance2 = ((normed @ covariance) * normed).sum(dim=1)
            _track(norm1, mean1, variance1, count)
            _track(norm2, mean2, variance2, count)
        inner = inner * (norm1.weight * (variance1 + norm1.eps).rsqrt())
        scale2 = norm2.weight * (variance2 + norm2.eps).rsqrt()
        bias = ((from_bias - mean2) - inner @ mean1) * scale2 + norm2.bias
        return inner * scale * scale2[:, None], bias

    def _maximum(self, differences: Tensor, weight: Tensor, bias: Tensor, neighbors: int) -> Tensor:
        """(M, C): maximum over the K neighbours of linear2(relu(differences weight^T + bias))."""
        values = CHUNK_ON_CPU if differences.device.type == "cpu" else CHUNK
        points = max(values // (neighbors * len(weight)), 1)
        arguments = (weight, bias, self.linear2.weight, neighbors)
        parts = torch.split(differences, points * neighbors)
        if torch.is_grad_enabled() and (weight.requires_grad or differences.requires_grad):
            return torch.cat([_again(part, *arguments) for part in parts])
        return torch.cat([_maximum(part, *arguments) for part in parts])


def _maximum(differences: Tensor, weight: Tensor, bias: Tensor, outer: Tensor, neighbors: int) -> Tensor:
    hidden = functional.relu_(functional.linear(differences, weight, bias))
    return functional.linear(hidden, outer).view(len(hidden) // neighbors, neighbors, len(outer)).amax(dim=1)


def _again(differences: Tensor, weight: Tensor, bias: Tensor, outer: Tensor, neighbors: int) -> Tensor:
    """``_maximum``, keeping nothing for the backward pass but its arguments."""
    part = checkpoint(
        _maximum, differences, weight, bias, outer, neighbors, use_reentrant=False, preserve_rng_state=False
    )
    return cast(Tensor, part)


def _running(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    return cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)


def _moments(rows: Tensor, norm: nn.Module) -> Moments:
    """Mean, covariance and number of the rows (N, C); those of all processes when ``norm`` is synchronised."""
    count = _total(rows.new_tensor(len(rows)), norm)
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
def _track(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Update the running statistics as torch's batch norm does, with the unbiased variance."""
    running_mean, running_variance = _running(norm)
    momentum = cast(float, norm.momentum)
    running_mean.lerp_(mean, momentum)
    running_variance.lerp_(variance * (count / (count - 1).clamp(min=1)), momentum)
    cast(Tensor, norm.num_batches_tracked).add_(1)
