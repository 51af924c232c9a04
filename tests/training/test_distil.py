"""Several teachers: who is shown what, what is remembered, whose loss is whose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lidistill.datasets.source import open_source
from lidistill.objectives.similarity import similarity
from lidistill.sensing.frame import Frame
from lidistill.sensing.pairing import Pairs, pair
from lidistill.students.registry import build_student
from lidistill.teachers.colors import ColorMatch, ColorStatistics
from lidistill.teachers.joint import join
from lidistill.teachers.teacher import Teacher
from lidistill.training import distil_samples
from lidistill.training.data import open_mixture
from lidistill.training.distil import FeatureMaps, by_teacher, measure_colors, teacher_features
from lidistill.training.distil_samples import DistilBatch, DistilSample, PairMemory, distil_sample
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.samples import Collate, TrainSamples

SMALL, LARGE = (24, 48), (48, 160)
PLAIN = {"name": "a", "image_size": list(SMALL)}
OTHERS = [{**PLAIN, "name": "b"}, {"name": "c", "image_size": list(LARGE)}, {**PLAIN, "name": "d", "antialias": False}]
COLORS = ColorStatistics((100.0, 110.0, 120.0), (40.0, 50.0, 60.0))


def recipe(*teachers: dict) -> DistilRecipe:
    said = load_recipe("city", ["student=waffleiron-1-8", "min_pairs=8", "voxel=0.02", f"teacher={list(teachers)}"])
    assert isinstance(said, DistilRecipe)
    return said


TOKENIZER = build_student(recipe(PLAIN).student).tokenizer


class Means(Teacher):
    """Mean colour of every cell times ``gain``; counts the pictures that it is shown."""

    def __init__(self, name: str, stride: int, gain: float = 1.0) -> None:
        super().__init__(name=name, dim=3, stride=stride, grid="centers")
        self.gain, self.seen = gain, 0

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return self.gain * torch.nn.functional.avg_pool2d(images, self.stride)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    return tiny_rig(tmp_path_factory.mktemp("teachers") / "rig", frames=4)


@pytest.fixture
def frame(rig: Path) -> Frame:
    return open_source(str(rig))[0]


def draw(frame: Frame, said: DistilRecipe, *colors: ColorMatch | None) -> DistilSample:
    return distil_sample(frame, said, TOKENIZER, np.random.default_rng(0), colors or None)


def batch_of(rig: Path, said: DistilRecipe) -> DistilBatch:
    samples = TrainSamples(open_source(str(rig)), said, TOKENIZER)
    batch = Collate(TOKENIZER)([samples[(0, index)] for index in range(3)]).batch
    assert isinstance(batch, DistilBatch)
    return batch


def test_every_teacher_is_shown_its_own_picture(frame: Frame) -> None:
    decoded = []

    def load() -> np.ndarray:
        decoded.append(1)
        return frame.views[0].load()

    counted = replace(frame, views=(replace(frame.views[0], load=load),))
    sample = draw(counted, recipe(PLAIN, *OTHERS))
    assert len(decoded) == 1
    assert sample.shown == (0, 0, 1, 2)
    assert [tuple(one.shape) for one in sample.images] == [(1, 3, *SMALL), (1, 3, *LARGE), (1, 3, *SMALL)]
    assert not torch.equal(sample.images[0], sample.images[2])
    for teacher, number in zip((PLAIN, *OTHERS), sample.shown, strict=True):
        alone = draw(frame, recipe(teacher))
        assert torch.equal(sample.images[number], alone.images[0])
        assert torch.equal(sample.pixels[number], alone.pixels[0])
        assert np.array_equal(sample.cloud["coords"], alone.cloud["coords"])


def test_other_colours_are_another_picture(frame: Frame) -> None:
    said = recipe(PLAIN, OTHERS[0], {**PLAIN, "name": "e"})
    match = ColorMatch(ColorStatistics((90.0, 90.0, 90.0), (30.0, 30.0, 30.0)), COLORS)
    sample = draw(frame, said, None, match, match)
    assert sample.shown == (0, 1, 1)
    assert torch.equal(sample.images[1], match(sample.images[0][0])[None])


def test_colours_are_measured_once_for_those_who_ask(rig: Path) -> None:
    source = open_source(str(rig))
    picky, easy = Means("picky", 8), Means("easy", 8)
    assert measure_colors(source, [easy, easy]) == {}
    picky.color_statistics = COLORS
    ((spec, (first, second)),) = measure_colors(source, [easy, picky]).items()
    assert spec == source.spec
    assert first is None
    assert second is not None
    assert second.target == COLORS


def test_features_are_read_in_every_teachers_own_picture(rig: Path) -> None:
    said = recipe(PLAIN, OTHERS[1])
    batch = batch_of(rig, said)
    assert [tuple(one.shape) for one in batch.images] == [(3, 3, *SMALL), (3, 3, *LARGE)]
    teachers = [Means("fine", 1), Means("coarse", 4)]
    found = teacher_features(FeatureMaps(teachers, 0), batch)
    u, v = batch.pixels[0].long().T
    assert torch.allclose(found[0], batch.images[0][batch.image_index, :, v, u], atol=1e-6)
    for teacher, config, features in zip(teachers, (PLAIN, OTHERS[1]), found, strict=True):
        (alone,) = teacher_features(FeatureMaps([teacher], 0), batch_of(rig, recipe(config)))
        assert torch.equal(features, alone)


@pytest.mark.parametrize("pictures", [0, 2, 10])
def test_maps_are_remembered_for_all_teachers_or_none(rig: Path, pictures: int) -> None:
    batch = batch_of(rig, recipe(PLAIN, OTHERS[1]))
    teachers = [Means("a", 8), Means("c", 4)]
    plain = FeatureMaps(teachers, 0)(batch)
    size = sum(one[0].numel() * 4 for one in plain)
    for teacher in teachers:
        teacher.seen = 0
    maps = FeatureMaps(teachers, (pictures + 0.5) * size / 2**30)
    for _ in range(3):
        assert all(torch.equal(one, other) for one, other in zip(maps(batch), plain, strict=True))
    again = max(3 - pictures, 0)
    assert [teacher.seen for teacher in teachers] == [3 + 2 * again] * 2


def test_pictures_of_the_same_name_are_told_apart(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    """Two rigs called alike, as two drives in folders of their own may be."""
    rigs = [tiny_rig(tmp_path / name / "rig", frames=1, splits=False, seed=seed) for seed, name in enumerate("ab")]
    for path, gray in zip(rigs, (40, 200), strict=True):
        picture = next((path / "images/front").iterdir())
        Image.new("RGB", (192, 96), (gray, gray, gray)).save(picture)
    source = open_mixture([str(path) for path in rigs], "train")
    samples = TrainSamples(source, recipe(PLAIN).model_copy(update={"teacher_memory": 1.0}), TOKENIZER)
    maps = FeatureMaps([Means("a", 8)], 1.0)
    said = []
    for _ in range(2):
        for index in range(2):
            batch = Collate(TOKENIZER)([samples[(0, index)]]).batch
            assert isinstance(batch, DistilBatch)
            said.append(float(maps(batch)[0].mean()))
    assert said[:2] == said[2:]
    assert said[1] > 4 * said[0]
    assert len(samples.pairs) == 2


def test_pairs_are_remembered_while_there_is_room(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*given: object, **options: object) -> Pairs:
        asked.append(given)
        return pair(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(distil_samples, "pair", counted)
    size = 40 * len(pair(frame, frame.views[0]))
    for gigabytes, times in ((0.0, 3), (0.5 * size / 2**30, 3), (2 * size / 2**30, 1)):
        memory = PairMemory(True, gigabytes)
        found = [memory(frame, frame.views[0]) for _ in range(3)]
        assert len(asked) == times
        assert all(np.array_equal(one.rows, found[0].rows) for one in found)
        asked.clear()


def test_every_teachers_loss_is_that_of_its_part() -> None:
    torch.manual_seed(0)
    teachers = [Means("a", 8), Means("b", 8), Means("a", 8)]
    features, said = torch.randn(20, 9), [torch.randn(20, 3) for _ in teachers]
    target = join(said, [1.0, 2.0, 0.5])
    found = by_teacher(similarity, teachers, features, target)
    assert list(found) == ["loss/teacher a", "loss/teacher b", "loss/teacher a 2"]
    for index, value in enumerate(found.values()):
        assert torch.allclose(value, similarity(features[:, 3 * index : 3 * index + 3], said[index]))
    assert by_teacher(similarity, teachers[:1], features[:, :3], said[0]) == {}
