"""How a network stands corruption: the figures of Robo3D (Kong et al., ICCV 2023).

A network's scores are a mapping corruption -> mIoU in percent: one figure per severity, or their average, which gives
the same results, since every severity weighs the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lidistill.errors import InputError, nearest
from lidistill.transforms.corruptions import NAMES

Scores = Mapping[str, float | Sequence[float]]
"""Corruption -> mIoU in percent: of its severities, or their average."""


@dataclass(frozen=True)
class Baseline:
    """What another network reached: mIoU in percent on ``clean`` scans, and its average by corruption."""

    title: str
    clean: float
    scores: Mapping[str, float]


def _minkunet(data: str, clean: float, *scores: float) -> Baseline:
    return Baseline(f"MinkUNet-18 (channel ratio 1.0), {data}", clean, dict(zip(NAMES, scores, strict=True)))


# The tables of Robo3D's repository; in the order of NAMES. Whoever adds rows of other networks from there: in that of
# WaffleIron on SemanticKITTI-C, "incomplete echo" repeats "wet ground" figure by figure, so that its mCE is wrong.
BASELINES = {
    "semantic-kitti-c": _minkunet(
        "SemanticKITTI-C", 62.76, 55.87, 53.99, 53.28, 32.92, 56.32, 58.34, 54.43, 46.05
    ),  # its mRR: 81.90
    "nuscenes-c": _minkunet("nuScenes-C", 75.76, 53.64, 73.91, 40.35, 73.39, 68.54, 26.58, 63.83, 50.95),  # 74.44
    "wod-c": _minkunet("WOD-C", 69.06, 66.99, 60.99, 57.75, 68.92, 64.15, 65.37, 63.36, 56.44),  # 91.22
}
"""The published baselines by data set. They hold for the released data, not for corruptions that we make."""


def corruption_errors(ours: Scores, baseline: Scores) -> dict[str, float]:
    """CE of each corruption, percent of the baseline's errors: sum of (100 - mIoU) over the severities, by its sum.

    ``baseline`` may know more corruptions than ``ours``. Raises ``InputError`` for one that it lacks, for scores that
    are no percentages, and where the baseline makes no errors.
    """
    errors = {}
    for name, miou in _averages(ours, "scores").items():
        if name not in baseline:
            raise InputError(f"baseline: no score for {name!r}{nearest(name, baseline)}; evaluate it on that one too")
        reference = _average(name, baseline[name], "baseline")
        if reference == 100:
            raise InputError(
                f"baseline: {name} has an mIoU of 100, so there are no errors to compare with; take another"
            )
        errors[name] = 100 * (100 - miou) / (100 - reference)
    return errors


def mean_corruption_error(ours: Scores, baseline: Scores) -> float:
    """MCE: the mean of ``corruption_errors``; 100 = as the baseline, less is better."""
    return float(np.mean(list(corruption_errors(ours, baseline).values())))


def resilience_rates(ours: Scores, clean: float) -> dict[str, float]:
    """RR of each corruption: its mIoU in percent of the ``clean`` mIoU (percent)."""
    if not 0 < clean <= 100:
        raise InputError(f"clean: expected an mIoU above 0 in percent, found {clean}; evaluate clean scans first")
    return {name: 100 * miou / clean for name, miou in _averages(ours, "scores").items()}


def mean_resilience_rate(ours: Scores, clean: float) -> float:
    """MRR: the mean of ``resilience_rates``; 100 = corruption does no harm."""
    return float(np.mean(list(resilience_rates(ours, clean).values())))


def _averages(scores: Scores, what: str) -> dict[str, float]:
    if not scores:
        raise InputError(f"{what}: no corruption at all; expected some of {', '.join(NAMES)}")
    return {name: _average(name, values, what) for name, values in scores.items()}


def _average(name: str, values: float | Sequence[float], what: str) -> float:
    average = float(np.mean(values)) if np.size(values) else math.nan
    if not 0 <= average <= 100:
        raise InputError(f"{what}: {name}: expected mIoUs in percent (0 to 100), found {values}")
    return average
