"""Pictures as teachers eat them: resized, RGB, [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def resize(image: Tensor, size: tuple[int, int], antialias: bool = True) -> Tensor:
    """(3, H, W) float -> (3, h, w), bilinear with half-pixel centres; neither aspect nor content is kept by cropping.

    ``antialias`` filters before shrinking (ScaLR+); ScaLR did not.
    """
    if image.shape[-2:] == size:
        return image
    return functional.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def prepare(image: NDArray[np.uint8], size: tuple[int, int], antialias: bool = True) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, h, w) float32 in [0, 1]."""
    # Left as it lies in memory (channels last), resizing reads it once; transposing it first takes three times as long.
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return resize(pixels.float(), size, antialias).div(255).contiguous()
