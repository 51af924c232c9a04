"""Heads: from the student's features to outputs, point by point."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from lidistill.students.config import HeadConfig


def build_head(width: int, config: HeadConfig) -> nn.Sequential:
    """Build a head for features (M, width); it returns (M, config.outputs). The last layer is called ``output``."""
    if config.hidden is not None:
        return nn.Sequential(
            OrderedDict(
                hidden=nn.Linear(width, config.hidden),
                activation=nn.ReLU(),
                output=nn.Linear(config.hidden, config.outputs),
            )
        )
    output = nn.Linear(width, config.outputs)
    if config.kind == "linear":
        return nn.Sequential(OrderedDict(output=output))
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(width), output=output))
