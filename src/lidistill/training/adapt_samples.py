"""Samples of self-training: scans made of two domains, labels of the one and sure pseudo-labels of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lidistill.datasets.pseudo_labels import UNSURE, PseudoLabelled
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.sensing.frame import IGNORE, Frame, Sensor
from lidistill.students.batch import Tokenizer
from lidistill.training.recipe import AdaptRecipe
from lidistill.training.samples import Collate, SegmentSample, Skip, train_sample
from lidistill.transforms.polar_mix import joined, polar_mix

COMMON = Sensor("two domains", intensity=(0.0, 1.0))


class AdaptSamples(Dataset[SegmentSample | Skip]):
    """Training samples asked for as (pass, index): made of that target scan and of a drawn one of ``source``.

    By chance a target scan into which something of the source was put, or the other way round; the one scan or the
    other where nothing is mixed, so that a pass then shows half of the target.
    """

    def __init__(
        self, source: Source, target: PseudoLabelled, recipe: AdaptRecipe, tokenizer: Tokenizer, number: int
    ) -> None:
        self.source, self.target, self.recipe, self.tokenizer, self.round = source, target, recipe, tokenizer, number
        self.collate = Collate(tokenizer)
        self.names: tuple[str, ...] = (target.name,)
        self.sizes: tuple[int, ...] = (len(target),)

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, key: tuple[int, int]) -> SegmentSample | Skip:
        number, index = key
        rng = np.random.default_rng([self.recipe.seed, self.round, number, index])
        try:
            return train_sample(self._frame(index, rng), self.recipe, self.tokenizer, rng)
        except InputError as error:
            return Skip(f"{self.names[0]}[{index}]", str(error))

    def _frame(self, index: int, rng: np.random.Generator) -> Frame:
        drawn = rng.permutation(len(self.source))[:10]
        target_first = rng.random() < 0.5
        if self.recipe.mixing == "none":
            return in_common(self.target[index] if target_first else _first_whole(self.source, drawn))
        there, here = in_common(self.target[index]), in_common(_first_whole(self.source, drawn))
        first, second = (there, here) if target_first else (here, there)
        return MIXINGS[self.recipe.mixing](first, second, rng)


def _first_whole(source: Source, drawn: NDArray[np.int64]) -> Frame:
    """Of the ``drawn`` frames the first that is not damaged; those were counted when the head was trained."""
    for index in drawn.tolist():
        try:
            frame = source[index]
        except InputError:
            continue
        if frame.labels is not None:
            return frame
    raise InputError(f"{source.spec}: none of ten drawn frames is whole and has labels; examine it with the doctor")


def in_common(frame: Frame) -> Frame:
    """``frame`` with intensities on a scale that all sensors share: mean 0, deviation 1."""
    mean, deviation = frame.sensor.intensity or (0.0, 1.0)
    return replace(frame, intensity=(frame.intensity - np.float32(mean)) / np.float32(deviation or 1), sensor=COMMON)


def class_mix(frame: Frame, other: Frame, rng: np.random.Generator) -> Frame:
    """``frame`` and on top of it all points of a drawn half of the classes that ``other`` has (CoSMix, ECCV 2022)."""
    assert other.labels is not None
    there = np.setdiff1d(other.labels, (IGNORE, UNSURE))
    chosen = rng.permutation(there)[: (len(there) + 1) // 2]
    return joined(frame, other.select(np.isin(other.labels, chosen)))


MIXINGS: dict[str, Callable[[Frame, Frame, np.random.Generator], Frame]] = {"sectors": polar_mix, "classes": class_mix}
"""By their names in recipes: a frame with half of another one, half of the circle or half of its classes."""
