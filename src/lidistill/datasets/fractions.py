"""Label fractions: the 1, 5, 10, 25 and 50 % of a training split that the literature trains on.

A fraction is a rule on the rows of ``train``, so a part of a data set has fractions too: those of what is there. The
lists of SemanticKITTI, whose rows are known in full, are stored beside the code and used when nothing is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path

from lidistill.checksums import read_verified

DATA = Path(__file__).parent / "data"

PERCENTS = (1, 5, 10, 25, 50)
"""Shares of ``train`` in percent; each is 1/step of it for a whole step."""

Rule = Callable[[Sequence[int], int], tuple[int, ...]]
"""(rows of ``train``, percent) -> the rows that are kept, in the same order."""


def strided(rows: Sequence[int], percent: int) -> tuple[int, ...]:
    """Every (100 / ``percent``)-th row, starting with the first: ScaLR's SemanticKITTI rule (rows in path order)."""
    return tuple(rows[:: 100 // percent])


def scene_strided(scenes: Sequence[Hashable], percent: int) -> tuple[int, ...]:
    """Positions in ``scenes`` (the scene of each training frame) of the frames of every (100 / ``percent``)-th scene.

    SLidR's nuScenes rule: scenes are counted from 1 in the order in which they first appear, which must be that of
    the data set's scene table; a scene is kept with all its frames when its count is a multiple of the step. Fewer
    scenes than the step leave nothing.
    """
    step = 100 // percent
    kept = set(list(dict.fromkeys(scenes))[step - 1 :: step])
    return tuple(position for position, scene in enumerate(scenes) if scene in kept)


def by_scene(scenes: Sequence[Hashable]) -> Rule:
    """``scene_strided`` as a rule on rows; ``scenes`` holds the scene of every row of the data set."""
    return lambda rows, percent: tuple(rows[i] for i in scene_strided([scenes[row] for row in rows], percent))


def with_fractions(splits: Mapping[str, tuple[int, ...]], rule: Rule) -> dict[str, tuple[int, ...]]:
    """``splits`` and the fractions of ``train``: ``train-1`` ... ``train-50``; those without a row are left out."""
    rows = splits.get("train", ())
    fractions = {f"train-{percent}": rule(rows, percent) for percent in PERCENTS}
    return {**splits, **{name: kept for name, kept in fractions.items() if kept}}


@cache
def listed(name: str, percent: int) -> frozenset[tuple[str, str]]:
    """(sequence, stem) of the scans in a stored list of the data set ``name``, after its checksum was found right."""
    sequences = json.loads(read_verified(DATA / f"{name}-fractions.json"))[str(percent)]
    return frozenset((sequence, f"{number:06d}") for sequence, numbers in sequences.items() for number in numbers)
