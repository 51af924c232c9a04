"""Heads: from the student's features to outputs, point by point."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from lidistill.students.config import HeadConfig


def build_head(width: int, config: HeadConfig) -> nn.Sequential:
    """Build a head for features (M, width); it returns (M, config.outputs). The last layer is called ``output``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if config.kind == "probe":
        layers["norm"] = nn.BatchNorm1d(width)
    if config.hidden is not None:
        layers |= {"hidden": nn.Linear(width, config.hidden), "activation": nn.ReLU()}
    output = layers["output"] = nn.Linear(config.hidden or width, config.outputs)
    if config.kind == "probe":
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
    return nn.Sequential(layers)
