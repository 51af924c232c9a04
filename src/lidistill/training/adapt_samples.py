"""Samples of self-training: scans made of two domains, labels of the one and sure guesses of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.sensing.frame import IGNORE, Frame, Sensor
from lidistill.students.batch import Tokenizer
from lidistill.training.guesses import Guessed
from lidistill.training.recipe import AdaptRecipe
from lidistill.training.samples import Collate, SegmentSample, Skip, train_sample
from lidistill.transforms.polar_mix import joined, polar_mix

Mixing = Literal["none", "sectors", "classes"]
COMMON = Sensor("two domains", intensity=(0.0, 1.0))


class AdaptSamples(Dataset[SegmentSample | Skip]):
    """Training samples asked for as (pass over the target, index): each of a target scan and a drawn one of ``source``.

    By chance a target scan into which something of the source was put, or the other way round.
    """

    def __init__(self, source: Source, target: Guessed, recipe: AdaptRecipe, tokenizer: Tokenizer, turn: int) -> None:
        self.source, self.target, self.recipe, self.tokenizer, self.turn = source, target, recipe, tokenizer, turn
        self.collate = Collate(tokenizer)
        self.names: tuple[str, ...] = (target.name,)
        self.sizes: tuple[int, ...] = (len(target),)

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, key: tuple[int, int]) -> SegmentSample | Skip:
        number, index = key
        rng = np.random.default_rng([self.recipe.seed, self.turn, number, index])
        try:
            there = in_common(self.target[index])
            here = in_common(_drawn(self.source, rng))
            first, second = (there, here) if rng.random() < 0.5 else (here, there)
            return train_sample(mix(first, second, self.recipe.mixing, rng), self.recipe, self.tokenizer, rng)
        except InputError as error:
            return Skip(f"{self.names[0]}[{index}]", str(error))


def _drawn(source: Source, rng: np.random.Generator) -> Frame:
    """A drawn frame; of damaged ones another, for they were counted when the head was trained."""
    for index in rng.permutation(len(source))[:10].tolist():
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


def mix(frame: Frame, other: Frame, how: Mixing, rng: np.random.Generator) -> Frame:
    """``frame`` with half of ``other``: half of the circle, or half of its classes; ``none``: ``frame`` alone."""
    ways: dict[Mixing, Callable[[Frame, Frame, np.random.Generator], Frame]] = {
        "none": lambda frame, *_: frame,
        "sectors": polar_mix,
        "classes": class_mix,
    }
    return ways[how](frame, other, rng)


def class_mix(frame: Frame, other: Frame, rng: np.random.Generator) -> Frame:
    """``frame`` and on top of it all points of a drawn half of the classes that ``other`` has (CoSMix, ECCV 2022)."""
    assert other.labels is not None
    there = np.setdiff1d(other.labels, IGNORE)
    chosen = rng.permutation(there)[: (len(there) + 1) // 2]
    return joined(frame, other.select(np.isin(other.labels, chosen)))
