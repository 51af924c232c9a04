"""Mixed training samples: still a function of (seed, epoch, index), labels beside their points, one sensor only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lidistill.datasets.concat import Concat
from lidistill.datasets.source import Source, open_source
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame
from lidistill.students.registry import build_student
from lidistill.taxonomy import load
from lidistill.training.mixing import Mixing
from lidistill.training.recipe import SegmentRecipe, load_recipe
from lidistill.training.samples import SegmentSample, TrainSamples, train_sample


def recipe(*overrides: str) -> SegmentRecipe:
    said = load_recipe("city-probe", ["student=waffleiron-1-8", "voxel=0.02", *overrides])
    assert isinstance(said, SegmentRecipe)
    return said


PLAIN, SWAP = recipe(), recipe("polar_mix=1")
BOTH = recipe("polar_mix=0.5", "paste=0.5", "paste_classes=[car, pedestrian]")
TOKENIZER = build_student(PLAIN.student).tokenizer


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Source:
    return open_source(str(tiny_rig(tmp_path_factory.mktemp("mixing") / "rig", frames=5, images=False)))


class Reads:
    """A source that notes which frames are read; of another sensor, or damaged, from some frame on."""

    def __init__(self, source: Source, *, foreign: int = 99, damaged: int = 99) -> None:
        self.source, self.foreign, self.damaged, self.read = source, foreign, damaged, list[int]()

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        self.read.append(index)
        frame = self.source[index]
        if index >= self.damaged:
            raise InputError(f"{frame.token} is damaged")
        return replace(frame, sensor=replace(frame.sensor, name="foreign")) if index >= self.foreign else frame


def same(one: object, other: object) -> bool:
    assert isinstance(one, SegmentSample)
    assert isinstance(other, SegmentSample)
    return np.array_equal(one.cloud["coords"], other.cloud["coords"]) and np.array_equal(one.labels, other.labels)


def test_a_mixed_sample_is_a_function_of_seed_epoch_and_index(source: Source) -> None:
    first, second = TrainSamples(source, BOTH, TOKENIZER), TrainSamples(source, BOTH, TOKENIZER)
    keys = [(epoch, index) for epoch in range(3) for index in range(4)]
    forwards = {key: first[key] for key in keys}
    assert all(same(forwards[key], second[key]) for key in reversed(keys))
    assert not same(forwards[(0, 1)], forwards[(1, 1)])


def test_without_mixing_the_sample_is_as_ever(source: Source) -> None:
    sample = TrainSamples(source, PLAIN, TOKENIZER)[(2, 1)]
    assert same(sample, train_sample(source[1], PLAIN, TOKENIZER, np.random.default_rng([PLAIN.seed, 2, 1])))
    reads = Reads(source)
    _ = TrainSamples(reads, PLAIN, TOKENIZER)[(2, 1)]
    assert reads.read == [1]


def test_labels_stay_beside_their_points(source: Source) -> None:
    mean, std = source.sensor.intensity or (0, 1)
    for mixing in (SWAP, recipe("paste=1", "paste_classes=[car]")):
        sample = TrainSamples(source, mixing, TOKENIZER)[(0, 0)]
        assert isinstance(sample, SegmentSample)
        # the rig writes 3 x label into the intensity, which no augmentation touches
        raw = np.round((sample.cloud["features"][:, 0] * std + mean) / 3).astype(int)
        assert (load("city-16").apply(raw) == sample.labels.numpy()).mean() > 0.99


def test_half_of_the_points_are_of_the_other_scan(source: Source) -> None:
    frame, other = source[0], source[1]
    mixing = Mixing.of(SWAP, source.taxonomy)
    assert mixing is not None
    mixed = mixing(frame, lambda: other, np.random.default_rng(0))
    own = {tuple(point) for point in frame.points.tolist()}
    foreign = np.array([tuple(point) not in own for point in mixed.points.tolist()])
    assert 0.3 < foreign.mean() < 0.7


def test_more_cars_when_cars_are_pasted(source: Source) -> None:
    car = 3
    mixing = Mixing.of(recipe("paste=1", "paste_classes=[car]"), source.taxonomy)
    assert mixing is not None
    frame = source[0]
    counts = [(mixing(frame, lambda: source[1], np.random.default_rng(s)).labels == car).sum() for s in range(20)]
    assert max(counts) > (frame.labels == car).sum()


def test_the_other_scan_is_another_one_of_the_same_data_set(source: Source) -> None:
    first, second = Reads(source.split("train")), Reads(source.split("train"))
    samples = TrainSamples(Concat([first, second]), SWAP, TOKENIZER)
    others = []
    for epoch in range(20):
        _ = samples[(epoch, 5)]
        own, other = second.read[-2:]
        assert own == 1
        others.append(other)
    assert first.read == []
    assert set(others) == {0, 2, 3}


def test_scans_that_do_not_fit_leave_a_scan_alone(source: Source) -> None:
    """Of another sensor, damaged, without labels, or the only one: nothing is mixed and nothing is skipped."""
    alone = train_sample(source[0], SWAP, TOKENIZER, np.random.default_rng([SWAP.seed, 0, 0]))
    for reads in (Reads(source, foreign=1), Reads(source, damaged=1)):
        sample = TrainSamples(reads, SWAP, TOKENIZER)[(0, 0)]
        assert isinstance(sample, SegmentSample)
        mean, std = source.sensor.intensity or (0, 1)
        assert set(np.round(sample.cloud["features"][:, 0] * std + mean, 1)) <= set(np.round(source[0].intensity, 1))
        assert len(sample.cloud["coords"]) == len(alone.cloud["coords"])


def test_probabilities_are_probabilities(source: Source) -> None:
    reads = Reads(source)
    samples = TrainSamples(reads, recipe("polar_mix=0.3"), TOKENIZER)
    for epoch in range(60):
        _ = samples[(epoch, 0)]
    assert 0.15 < (len(reads.read) - 60) / 60 < 0.45


def test_a_class_that_is_not_there_is_a_sentence(source: Source) -> None:
    with pytest.raises(InputError, match=r"no class 'pedestrain'; did you mean 'pedestrian'"):
        TrainSamples(source, recipe("paste=1", "paste_classes=[pedestrain]"), TOKENIZER)
