"""Pixel-to-point contrast: the loss of PPKT (Liu et al., 2021, arXiv 2104.04687)."""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.objectives.contrast import info_nce


def ppkt(points: Tensor, pixels: Tensor, temperature: float = 0.07, pairs: int = 4096) -> Tensor:
    """``info_nce`` over at most ``pairs`` of the pairs, drawn without replacement.

    ``points`` and ``pixels`` (P, D) are unit vectors, one row per pair of the whole batch; scalar, 0 without pairs.
    The draw is of torch's global CPU generator, so that it does not depend on the device; with no more than
    ``pairs`` pairs all of them count and nothing is drawn.
    """
    if len(points) > pairs:
        drawn = torch.randperm(len(points))[:pairs].to(points.device)
        points, pixels = points[drawn], pixels[drawn]
    return info_nce(points, pixels, temperature)
