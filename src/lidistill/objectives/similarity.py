"""Pointwise similarity: the loss of ScaLR (CVPR 2024, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_NORM = 1e-12


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean distance of unit vectors: 1/P sum_p || s_p / |s_p| - t_p / |t_p| ||_2 = 1/P sum_p sqrt(2 - 2 cos).

    ``student`` and ``teacher`` are (P, D), one row per pair; the loss is a scalar, 0 without pairs. A null vector
    stays null, at distance 1 of every unit vector. The gradient is finite everywhere: 0 for null vectors and for
    pairs that agree to rounding, where the distance has a kink.
    """
    difference = _unit(student) - _unit(teacher)
    distance = torch.linalg.vector_norm(difference, dim=1)
    # Two equal directions differ by rounding only; without this their gradient would be noise of full length.
    rounding = 8 * torch.finfo(distance.dtype).eps
    distance = torch.where(distance > rounding, distance, distance.detach())
    return distance.sum() / max(len(distance), 1)


def _unit(vectors: Tensor) -> Tensor:
    """(P, D) divided by their lengths, in float32 at least; a null vector stays null and passes no gradient."""
    vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    # Clamping the length alone would send a gradient of 1 / SMALLEST_NORM through a null vector.
    kept = torch.where(length > SMALLEST_NORM, vectors, torch.zeros_like(vectors))
    unit: Tensor = kept / length.clamp(min=SMALLEST_NORM)
    return unit
