"""Learning-rate schedules: pure functions from the iteration to a factor of the base learning rate."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def warmup_cosine(iteration: int, warmup: int, total: int, lowest: float = 0.0) -> float:
    """Linear from 0 over ``warmup`` iterations, then a half cosine from 1 to ``lowest`` at ``total``.

    Iteration 0 has factor 0 when there is a warm-up, as in ScaLR (CVPR 2024).
    """
    if iteration < warmup:
        return iteration / warmup
    progress = min((iteration - warmup) / max(total - warmup, 1), 1.0)
    return lowest + (1 - lowest) / 2 * (1 + math.cos(math.pi * progress))


def warmup_rsqrt_cooldown(iteration: int, warmup: int, timescale: float, cooldown_start: int, total: int) -> float:
    """ScaLR+: linear warm-up, 1 / sqrt(1 + (iteration - warmup) / timescale), linear cool-down to 0.

    As published, the cool-down starts from 1 / sqrt(1 + cooldown_start / timescale), a small step below the curve
    before it, and reaches 0 at the last iteration (``total`` - 1).
    """
    if iteration < warmup:
        return iteration / warmup
    if iteration <= cooldown_start:
        return 1 / math.sqrt(1 + (iteration - warmup) / timescale)
    left = max(total - 1 - iteration, 0) / max(total - 1 - cooldown_start, 1)
    return left / math.sqrt(1 + cooldown_start / timescale)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CosineSchedule(_Strict):
    """Linear warm-up, then a half cosine."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(default=2.0, ge=0)
    """Length of the warm-up in epochs."""
    warmup_iterations: int | None = Field(default=None, ge=0)
    """Length of the warm-up in iterations; when given, it takes the place of ``warmup_epochs``."""
    min_lr: float = Field(default=0.0, ge=0)
    """Learning rate at the end."""

    def warmup(self, per_epoch: int) -> int:
        """Iterations of the warm-up, with ``per_epoch`` of them in an epoch."""
        return round(self.warmup_epochs * per_epoch) if self.warmup_iterations is None else self.warmup_iterations

    def factor(self, iteration: int, per_epoch: int, epochs: int, lr: float) -> float:
        """Factor of the base rate ``lr`` at ``iteration`` of ``epochs`` epochs of ``per_epoch`` iterations."""
        return warmup_cosine(iteration, self.warmup(per_epoch), epochs * per_epoch, self.min_lr / lr)


class RsqrtSchedule(_Strict):
    """Linear warm-up, inverse square root, linear cool-down to 0 (ScaLR+)."""

    kind: Literal["rsqrt"] = "rsqrt"
    warmup_epochs: float = Field(default=1.0, ge=0)
    """Length of the warm-up in epochs."""
    timescale_epochs: float = Field(default=0.45, gt=0)
    """Epochs after the warm-up at which the rate has fallen to 1 / sqrt(2)."""
    cooldown_epochs: float | None = Field(default=None, ge=0)
    """Length of the cool-down in epochs, counted from the end."""
    cooldown_start_epoch: float | None = Field(default=None, ge=0)
    """Epoch at which the cool-down starts; give this or ``cooldown_epochs``."""

    @model_validator(mode="after")
    def _one_cooldown(self) -> RsqrtSchedule:
        if (self.cooldown_epochs is None) == (self.cooldown_start_epoch is None):
            raise ValueError("give exactly one of cooldown_epochs and cooldown_start_epoch")
        return self

    def warmup(self, per_epoch: int) -> int:
        """Iterations of the warm-up, with ``per_epoch`` of them in an epoch."""
        return round(self.warmup_epochs * per_epoch)

    def factor(self, iteration: int, per_epoch: int, epochs: int, lr: float) -> float:
        """Factor of the base rate ``lr`` at ``iteration`` of ``epochs`` epochs of ``per_epoch`` iterations."""
        start = self.cooldown_start_epoch
        if start is None:
            start = epochs - (self.cooldown_epochs or 0)
        return warmup_rsqrt_cooldown(
            iteration,
            warmup=self.warmup(per_epoch),
            timescale=self.timescale_epochs * per_epoch,
            cooldown_start=max(round(start * per_epoch), 0),
            total=epochs * per_epoch,
        )
