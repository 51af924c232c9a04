"""Training scans made of two: which recipe asks for what, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Frame
from lidistill.taxonomy import Taxonomy
from lidistill.training.recipe import SegmentRecipe
from lidistill.transforms.paste import paste
from lidistill.transforms.polar_mix import polar_mix


@dataclass(frozen=True)
class Mixing:
    """``polar_mix`` and ``paste``: probabilities; ``classes``: train ids of what is pasted."""

    polar_mix: float
    paste: float
    classes: tuple[int, ...]

    @classmethod
    def of(cls, recipe: SegmentRecipe, taxonomy: Taxonomy | None) -> Mixing | None:
        """What the recipe asks for, None when nothing; raises ``InputError`` for a class that the data do not have."""
        if not (recipe.polar_mix or recipe.paste):
            return None
        known = () if taxonomy is None else taxonomy.classes
        for name in recipe.paste_classes:
            if name not in known:
                raise InputError(f"paste_classes: the data have no class {name!r}{nearest(name, known)}")
        return cls(recipe.polar_mix, recipe.paste, tuple(known.index(name) for name in recipe.paste_classes))

    def __call__(self, frame: Frame, read: Callable[[], Frame], rng: np.random.Generator) -> Frame:
        """``frame`` mixed with the one that ``read`` brings, each way with its probability.

        ``frame`` alone when the other one is of another sensor, has no labels or cannot be read: that is counted when
        its own turn comes.
        """
        swaps, pastes = rng.random(2) < (self.polar_mix, self.paste)
        try:
            if swaps or pastes:
                other = read()
                mixed = polar_mix(frame, other, rng) if swaps else frame
                return paste(mixed, other, self.classes, rng) if pastes else mixed
        except InputError:
            pass
        return frame
