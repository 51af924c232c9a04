"""Guesses: which are sure enough, scans of two domains, and what is said of them without labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill import taxonomy as class_lists
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation import agreement as module
from lidistill.sensing.frame import Frame, Sensor
from lidistill.training.adapt import unsure
from lidistill.training.adapt_samples import class_mix, in_common, mix
from lidistill.training.guesses import LEVELS, Guessed, Guesses, levels, thresholds


def counts(*rows: dict[int, int]) -> np.ndarray:
    table = np.zeros((len(rows), LEVELS + 1), np.int64)
    for row, given in zip(table, rows, strict=True):
        for sure, number in given.items():
            row[sure] = number
    return table


def test_the_surest_share_of_every_class_is_kept() -> None:
    common, rare = {900: 50, 800: 30, 300: 20}, {400: 2, 350: 1, 200: 1}
    assert thresholds(counts(common, rare), 0.5) == (900, 400)
    assert thresholds(counts(common, rare), 0.75) == (800, 350)
    assert thresholds(counts(common, rare), 1.0) == (300, 200)
    assert thresholds(counts(common, {}), 0.5) == (900, LEVELS + 1)
    assert thresholds(counts(common, rare), 0.0) == (LEVELS + 1, LEVELS + 1)


@pytest.mark.parametrize("keep", [0.1, 0.33, 0.8])
def test_at_least_the_share_and_no_level_more(keep: float) -> None:
    sure = np.random.default_rng(0).integers(200, 1001, 500)
    table = np.bincount(sure, minlength=LEVELS + 1)[None]
    (least,) = thresholds(table, keep)
    assert (sure >= least).mean() >= keep
    assert (sure > least).mean() < keep


def test_guesses_near_certainty_are_told_apart() -> None:
    sure = levels(np.array([0.0, 0.5, 0.9, 0.99, 0.9991, 0.9995, 0.9999, 1.0]))
    assert (np.diff(sure.astype(int)) > 0).all()
    assert (sure[0], sure[2], sure[-1]) == (0, 1000, LEVELS)


def frame(labels: np.ndarray | None, intensity: tuple[float, float] | None = (10.0, 2.0), name: str = "a") -> Frame:
    angle = np.linspace(-np.pi, np.pi, 360, endpoint=False)
    points = np.column_stack([10 * np.cos(angle), 10 * np.sin(angle), 0 * angle]).astype(np.float32)
    return Frame(points, np.full(360, 12, np.float32), Sensor(name, intensity=intensity), name, labels=labels)


@dataclass(frozen=True)
class One:
    it: Frame
    spec: str = "one"
    name: str = "one"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Frame:
        return self.it


CLASSES = class_lists.load("city-16")


def test_a_target_shows_no_label_and_no_class() -> None:
    target = Unlabelled(One(frame(np.zeros(360, np.uint8))))  # type: ignore[arg-type]
    assert target[0].labels is None
    assert target.taxonomy is None
    assert (target.spec, target.name, len(target)) == ("one", "one", 1)


def test_sure_guesses_are_labels(tmp_path: Path) -> None:
    target = Unlabelled(One(frame(np.zeros(360, np.uint8))))  # type: ignore[arg-type]
    guesses = Guesses(tmp_path)
    classes, sure = np.repeat([0, 1], 180).astype(np.uint8), np.tile([900, 100], 180).astype(np.uint16)
    guesses.write(0, classes, sure)
    found = guesses.counts(1, 2)
    assert (found[0, 900], found[1, 100], found.sum()) == (90, 90, 360)
    labels = Guessed(target, guesses, (500, 1001), CLASSES)[0].labels
    assert labels is not None
    assert (labels == np.where((classes == 0) & (sure > 500), 0, 255)).all()
    guesses.write(0, classes[1:], sure[1:])
    with pytest.raises(InputError, match="360 points but 359 guesses"):
        Guessed(target, guesses, (500, 500), CLASSES)[0]
    with pytest.raises(InputError, match="could not be used"):
        guesses.read(1)


def test_scans_of_two_lidars_are_mixed_on_one_scale() -> None:
    ours = in_common(frame(np.zeros(360, np.uint8)))
    theirs = in_common(frame(np.ones(360, np.uint8), (0.0, 24.0), "b"))
    assert ours.intensity[0] == pytest.approx(1.0)
    assert theirs.intensity[0] == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    half = mix(ours, theirs, "sectors", rng)
    assert half.labels is not None
    assert (half.labels == 0).sum() == pytest.approx(180, abs=1)
    assert (half.intensity == np.where(half.labels == 0, 1.0, 0.5)).all()
    assert mix(ours, theirs, "none", rng) is ours


def test_half_of_the_classes_go_over() -> None:
    labels = np.repeat([0, 1, 2, 255], 90).astype(np.uint8)
    ours, theirs = frame(np.full(360, 9, np.uint8)), frame(labels)
    taken = set()
    for seed in range(20):
        mixed = class_mix(ours, theirs, np.random.default_rng(seed))
        assert mixed.labels is not None
        assert len(mixed) == 360 + 180
        new = set(mixed.labels[360:].tolist())
        assert len(new) == 2
        taken |= new
    assert taken == {0, 1, 2}
    bare = class_mix(ours, replace(theirs, labels=np.full(360, 255, np.uint8)), np.random.default_rng(0))
    assert len(bare) == 360


def test_agreement_is_of_the_turned_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that names the quadrant a point is in agrees nowhere, for all turn by more than one."""

    class Said:
        def __init__(self, classes: np.ndarray) -> None:
            self.classes = classes

        def prediction(self) -> np.ndarray:
            return self.classes

    def quadrant(_: object, frame: Frame, voxel: float) -> Said:
        return Said((frame.points[:, 0] > 0) + 2 * (frame.points[:, 1] > 0))

    def near(_: object, frame: Frame, voxel: float) -> Said:
        return Said(np.linalg.norm(frame.points, axis=1) > 9)

    target = Unlabelled(One(frame(None)))  # type: ignore[arg-type]
    for said, share in ((quadrant, 0.0), (near, 1.0)):
        monkeypatch.setattr(module, "look", said)
        assert module.agreement(None, target, 0.1) == share  # type: ignore[arg-type]


def test_a_damaged_scan_is_left_out_of_the_agreement() -> None:
    class Damaged(One):
        def __getitem__(self, index: int) -> Frame:
            raise InputError("damaged")

    with pytest.raises(InputError, match="damaged"):
        module.agreement(None, Unlabelled(Damaged(frame(None))), 0.1)  # type: ignore[arg-type]


def test_entropy_is_of_the_unsure_alone() -> None:
    logits = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 0.0]])
    assert float(unsure(logits, torch.tensor([255, 0, 255]))) == pytest.approx(np.log(2))
    assert float(unsure(logits, torch.tensor([0, 0, 0]))) == 0
