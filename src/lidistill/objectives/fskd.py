"""Feature and soft-label distillation: the losses of FSKD (ICRA 2025, arXiv 2509.00379).

The paper names a feature loss and a KL divergence through the classifier of the image network, which it shares with the
lidar network; forms, weights and temperature are not published and chosen here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.objectives.contrast import in_single


def feature_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of features (P, D), in units of the teacher's mean squared length; scalar, 0 without rows.

    Not of unit vectors as ``similarity``: a classifier reads the length, too. A student that says 0 everywhere has 1.
    """
    student, teacher = in_single(student), in_single(teacher)
    size = teacher.square().sum().clamp(min=torch.finfo(teacher.dtype).tiny)
    return (student - teacher).square().sum() / size


def soft_labels(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence of the student's class probabilities from the teacher's, times ``temperature`` squared.

    ``student`` and ``teacher`` (P, C) are scores, divided by ``temperature`` before the softmax (Hinton et al., 2015:
    the square keeps the size of the gradient). Mean over the rows, a scalar, 0 without rows.
    """
    said, heard = (in_single(scores) / temperature for scores in (teacher, student))
    divergence = functional.kl_div(heard.log_softmax(1), said.log_softmax(1), reduction="sum", log_target=True)
    return divergence * temperature**2 / max(len(said), 1)
