"""Several teachers at once: what they say of a pixel, side by side in one vector (ScaLR's table of two teachers)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.teachers.teacher import Teacher


def join(features: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """What teachers say of the same pixels, (M, D_t) each -> (M, sum of D_t): unit vectors u_t times their weights w_t.

    One teacher's features are returned as they are: its objective normalises them, or does not.

    The similarity objective brings the whole vector to length 1 once more. As every part is a unit vector, that is a
    division by the constant W = sqrt(sum of w_t^2): no direction changes, only ratios of weights matter, and the
    cosine of a student s = (s_1, s_2, ...) is

        cos = sum of (w_t / W) (s_t . u_t) / |s|.

    So neither the number of features nor their size decides who is heard. At the optimum s is parallel to the vector
    and teacher t holds the share w_t^2 / W^2 of its square; a student that knows teacher 1 alone reaches cos = w_1 / W,
    with two equal teachers 0.71 and a loss of 0.77. The lengths of the student's parts are tied to one another: where
    one teacher cannot be foreseen from the points, a shorter part costs less, so length comes to mean certainty.
    Without the inner normalisation a teacher whose features are ten times longer would leave the other one
    1 % of the square.

    A null vector stays null, and at that pixel the other teachers count alone.
    """
    if len(features) == 1:
        return features[0]
    parts = [weight * functional.normalize(part, dim=1) for part, weight in zip(features, weights, strict=True)]
    return torch.cat(parts, 1)


def labels(teachers: Sequence[Teacher]) -> tuple[str, ...]:
    """A name for each: its own, with a number where several have it."""
    names = [teacher.name for teacher in teachers]
    before = [names[:index].count(name) for index, name in enumerate(names)]
    return tuple(f"{name} {count + 1}" if count else name for name, count in zip(names, before, strict=True))
