"""WaffleIron (ICCV 2023), the student of ScaLR (CVPR 2024) and ScaLR+, on packed clouds.

Tokens are rows (M, C). Every layer mixes them in space, through a 2D image of one of three planes, and then over
channels. Batch-norm statistics are those of real points: there is no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lidistill.students.batch import PointBatch
from lidistill.students.config import StudentConfig
from lidistill.students.embedding import Embedding
from lidistill.students.norms import build_norm, rowwise
from lidistill.students.packing import Packing
from lidistill.students.planes import Plane
from lidistill.students.student import Student
from lidistill.students.tokenizer import PLANES, PlaneTokenizer


class WaffleIron(Student):
    """An embedding and ``depth`` layers; layer d flattens onto plane d mod 3."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = PlaneTokenizer.of(config)
        self.embedding = Embedding(config.in_channels, config.width, per_cloud=config.norm == "instance")
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))

    def forward(self, batch: PointBatch) -> Tensor:
        """Features (M, width) of the M packed points, in their order and in the type of ``batch.features``."""
        dtype = batch.features.dtype
        # Under autocast the sum over all layers stays in full precision; it costs a layer norm no memory.
        tokens = self.embedding(batch.features, batch.prepared["neighbors"], batch.offsets).to(dtype)
        planes = [Plane.of(batch.prepared, plane, dtype) for plane in range(len(PLANES))]
        packing = batch.packing
        again = self.config.checkpointing and torch.is_grad_enabled()
        for depth, layer in enumerate(self.layers):
            plane = planes[depth % len(planes)]
            if again:
                tokens = checkpoint(layer, tokens, plane, packing, use_reentrant=False, context_fn=_contexts(layer))
            else:
                tokens = layer(tokens, plane, packing)
        return cast(Tensor, tokens)


class Layer(nn.Module):
    """Both mixers, each added to its input (WaffleIron, equations 1 and 2)."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.drop_path = config.drop_path
        self.spatial = SpatialMix(config)
        self.channel = ChannelMix(config)

    def forward(self, tokens: Tensor, plane: Plane, packing: Packing) -> Tensor:
        """``tokens`` (M, C), packed points of the clouds in ``packing``; returns tokens (M, C)."""
        tokens = tokens + self._drop(self.spatial(tokens, plane, packing), packing)
        return tokens + self._drop(self.channel(tokens, packing), packing)

    def _drop(self, branch: Tensor, packing: Packing) -> Tensor:
        """In training leave the branch (M, C) out for whole clouds, at random, and scale those kept (drop path)."""
        if not (self.training and self.drop_path):
            return branch
        keep = 1 - self.drop_path
        factor = torch.rand(packing.clouds, device=branch.device).lt(keep).to(branch.dtype) / keep
        return branch * factor[packing.index, None]


class SpatialMix(nn.Module):
    """Norm, mean per cell, two depthwise 3 x 3 convolutions, scale, every point reads its cell."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = build_norm(config.norm, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.activation = _activation(config)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.scale = _layer_scale(width)

    def forward(self, tokens: Tensor, plane: Plane, packing: Packing) -> Tensor:
        """(M, C) -> (M, C)."""
        image = self.activation(self.conv1(plane.flatten(rowwise(self.norm, tokens, packing))))
        # scaling the small weights instead of the image saves a pass over it and its copy for the backward pass
        weight = self.conv2.weight * self.scale[:, None, None, None]
        bias = cast(Tensor, self.conv2.bias) * self.scale
        image = functional.conv2d(image, weight, bias, padding=1, groups=len(weight))
        return plane.inflate(image)


class ChannelMix(nn.Module):
    """Norm, two linear layers of the same width, scale."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = build_norm(config.norm, width)
        self.linear1 = nn.Linear(width, width)
        self.activation = _activation(config)
        self.linear2 = nn.Linear(width, width)
        self.scale = _layer_scale(width)

    def forward(self, tokens: Tensor, packing: Packing) -> Tensor:
        """(M, C) -> (M, C)."""
        hidden = self.activation(self.linear1(rowwise(self.norm, tokens, packing)))
        return functional.linear(hidden, self.linear2.weight * self.scale[:, None], self.linear2.bias * self.scale)


def _activation(config: StudentConfig) -> nn.Module:
    return nn.ReLU(inplace=True) if config.activation == "relu" else nn.GELU()


def _layer_scale(width: int) -> nn.Parameter:
    """U(-1, 1), torch's default for the depthwise 1 x 1 convolution that the published code uses."""
    return nn.Parameter(torch.empty(width).uniform_(-1, 1))


def _contexts(layer: nn.Module) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """Contexts of a checkpointed layer: first computation, second computation."""
    return lambda: (nullcontext(), _kept_statistics(layer))


@contextmanager
def _kept_statistics(layer: nn.Module) -> Iterator[None]:
    """The second computation of the same batch must not count again in the running statistics."""
    norms = [(m, m.momentum, m.num_batches_tracked) for m in layer.modules() if isinstance(m, _BatchNorm)]
    counts = [None if count is None else count.clone() for _, _, count in norms]
    for norm, _, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for (norm, momentum, count), before in zip(norms, counts, strict=True):
            norm.momentum = momentum
            if count is not None and before is not None:
                count.copy_(before)
