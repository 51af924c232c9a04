"""The mean teacher: a network and the moving average of what it has been."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lidistill.students.batch import PointBatch
from lidistill.students.network import Network


class MovingAverage(nn.Module):
    """A ``network`` that learns and its exponential moving ``average`` (mean teacher, Tarvainen and Valpola, 2017).

    The average is the plain mean of what the network was at its start and after each step, until ``decay`` forgets
    more slowly than that: a short training is not left with the weights that it began with.
    """

    counted: Tensor

    def __init__(self, network: Network, decay: float) -> None:
        super().__init__()
        self.network, self.decay = network, decay
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))

    def forward(self, points: PointBatch) -> Tensor:
        """Outputs (M, C) of the network, which the average has followed."""
        self.follow()
        outputs: Tensor = self.network(points)
        return outputs

    @torch.no_grad()
    def follow(self) -> None:
        """Take over what the last step changed: at the next step, or once more when there is none."""
        stays = min(self.decay, float(self.counted) / (float(self.counted) + 1))
        for slow, fast in zip(_floating(self.average), _floating(self.network), strict=True):
            slow.lerp_(fast, 1 - stays)
        self.counted += 1


def _floating(network: Network) -> list[Tensor]:
    return [value for value in network.state_dict().values() if value.dtype.is_floating_point]
