"""The optimizer that a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import SGD, AdamW, Optimizer

from lidistill.training.recipe import AnyRecipe


def build_optimizer(groups: Sequence[dict[str, Any]], recipe: AnyRecipe) -> Optimizer:
    """AdamW (ScaLR) or SGD with momentum (SLidR) over parameter ``groups``, which may have rates of their own."""
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=0.9, dampening=0.1, weight_decay=recipe.weight_decay)
    return AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
