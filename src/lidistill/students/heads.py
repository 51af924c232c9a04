"""Heads: from the student's features to outputs, point by point."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

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


class TwoViews(nn.Module):
    """Two heads, of the student's features and of what it says in the space of its teachers, that speak as one."""

    def __init__(self, width: int, space: int, config: HeadConfig) -> None:
        super().__init__()
        self.features, self.said = build_head(width, config), build_head(space, config)

    def forward(self, features: Tensor, said: Tensor) -> Tensor:
        """Logarithms (M, C) of the mean of both heads' probabilities of classes, in float32.

        ``features`` (M, width) of the backbone, ``said`` (M, space) unit vectors in the space of the teachers.
        """
        views = torch.stack([self.features(features), self.said(said)]).float()
        return views.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(views))
