"""``Teacher``: a frozen image network that turns pictures into feature maps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lidistill.errors import InputError
from lidistill.teachers.colors import ColorStatistics

Grid = Literal["corners", "centers", "origin"]
"""Where the cells of a feature map lie in the picture; the formulas stand in ``sampling.sample``."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """The last, linear layer of an image network that knows classes: features @ ``weight``.T + ``bias`` are scores.

    ``weight`` (C, D) and ``bias`` (C,) float32, one row for each of ``classes``, those of the class list ``taxonomy``
    (None: of no known one).
    """

    classes: tuple[str, ...]
    taxonomy: str | None
    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features (..., D) -> scores (..., C), on the device of the features."""
        return functional.linear(features, self.weight.to(features), self.bias.to(features))


class Teacher(nn.Module):
    """Base of every image teacher; a new one implements ``encode``.

    ``name``; ``dim`` = D features; ``stride``: pixels from one cell to the next, picture height and width must be
    multiples of it; ``grid``: where the cells lie; ``color_statistics``: the colours that pictures should be brought to
    before they come here (see ``colors.ColorMatch``), None = leave them as they are; ``classifier``: what reads classes
    from its features, None where it knows none.

    A teacher never learns: its parameters take no gradient, ``train()`` leaves it in evaluation mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        name: str,
        dim: int,
        stride: int,
        grid: Grid,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.name, self.dim, self.stride = name, dim, stride
        self.grid: Grid = grid
        self.color_statistics: ColorStatistics | None = None
        self.classifier: Classifier | None = None
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(1, 3, 1, 1), persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) -> (B, D, H / stride, W / stride)."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) float32 RGB in [0, 1] -> features (B, D, H / stride, W / stride) float32.

        Raises ``InputError`` when H or W is no multiple of ``stride``.
        """
        height, width = images.shape[-2:]
        check_size(self.name, self.stride, (height, width))
        weight = next((p for p in self.parameters() if p.is_floating_point()), self.mean)
        normal = (images.float() - self.mean.float()) / self.std.float()
        return self.encode(normal.to(weight.dtype)).float()

    def fingerprint(self) -> str:
        """The first digits of a SHA-256 of what it says: weights, classifier, grid and colours; 1 GB takes a second."""
        known = self.classifier
        parts = {**self.state_dict(), "mean": self.mean, "std": self.std}
        parts |= {} if known is None else {"classifier.weight": known.weight, "classifier.bias": known.bias}
        told = (self.stride, self.grid, self.color_statistics, known and (known.classes, known.taxonomy))
        found = hashlib.sha256(repr(told).encode())
        for name, tensor in sorted(parts.items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()[:12]

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode whatever is asked: statistics and dropout of a teacher are frozen."""
        return super().train(False)

    def freeze(self) -> Teacher:
        """Evaluation mode, no gradients; returns itself."""
        self.requires_grad_(False)
        return self.eval()


def check_size(name: str, stride: int, size: tuple[int, int]) -> None:
    """Raise ``InputError`` with the nearest size that fits when (height, width) is no multiple of ``stride``."""
    if any(n < stride or n % stride for n in size):
        fits = " x ".join(str(max(round(n / stride), 1) * stride) for n in size)
        raise InputError(
            f"teacher {name}: the image size {size[0]} x {size[1]} must be a multiple of its stride {stride} "
            f"in both directions; try {fits}"
        )
