"""Self-training: pseudo-labels that are sure enough, scans of two domains, and the rounds made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from lidistill.datasets.pseudo_labels import LEVELS, UNSURE, PseudoLabelled, PseudoLabels, levels, thresholds
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation import information as module
from lidistill.evaluation.information import mutual_information
from lidistill.objectives.entropy import entropy
from lidistill.sensing.frame import Frame, Sensor
from lidistill.students.config import HeadConfig
from lidistill.training import adapt as rounds
from lidistill.training import adapt_samples as samples
from lidistill.training.adapt import Judge, SelfTraining
from lidistill.training.adapt_samples import AdaptSamples, class_mix, in_common
from lidistill.training.moving_average import MovingAverage
from lidistill.training.recipe import load_recipe
from lidistill.training.samples import SegmentBatch
from lidistill.transforms.polar_mix import polar_mix


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


def test_confidences_near_certainty_are_told_apart() -> None:
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


def test_a_target_shows_no_label_and_no_class() -> None:
    target = Unlabelled(One(frame(np.zeros(360, np.uint8))))  # type: ignore[arg-type]
    assert target[0].labels is None
    assert target.taxonomy is None
    assert (target.spec, target.name, len(target)) == ("one", "one", 1)


def test_sure_pseudo_labels_are_labels(tmp_path: Path) -> None:
    target = Unlabelled(One(frame(np.zeros(360, np.uint8))))  # type: ignore[arg-type]
    made = PseudoLabels(tmp_path)
    classes, sure = np.repeat([0, 1], 180).astype(np.uint8), np.tile([900, 100], 180).astype(np.uint16)
    made.write(0, classes, sure)
    found = made.counts(1, 2)
    assert (found[0, 900], found[1, 100], found.sum()) == (90, 90, 360)
    labels = PseudoLabelled(target, made, (500, 1001))[0].labels
    assert labels is not None
    assert (labels == np.where((classes == 0) & (sure > 500), 0, UNSURE)).all()
    made.write(0, classes[1:], sure[1:])
    with pytest.raises(InputError, match="360 points, 359 pseudo-labels"):
        PseudoLabelled(target, made, (500, 500))[0]
    with pytest.raises(InputError, match="could not be used"):
        made.read(1)


def test_scans_of_two_lidars_are_mixed_on_one_scale() -> None:
    ours = in_common(frame(np.zeros(360, np.uint8)))
    theirs = in_common(frame(np.ones(360, np.uint8), (0.0, 24.0), "b"))
    assert ours.intensity[0] == pytest.approx(1.0)
    assert theirs.intensity[0] == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    half = polar_mix(ours, theirs, rng)
    assert half.labels is not None
    assert (half.labels == 0).sum() == pytest.approx(180, abs=1)
    assert (half.intensity == np.where(half.labels == 0, 1.0, 0.5)).all()


def test_half_of_the_classes_go_over() -> None:
    labels = np.repeat([0, 1, 2, 255, UNSURE], 72).astype(np.uint8)
    ours, theirs = frame(np.full(360, 9, np.uint8)), frame(labels)
    taken = set()
    for seed in range(20):
        mixed = class_mix(ours, theirs, np.random.default_rng(seed))
        assert mixed.labels is not None
        assert len(mixed) == 360 + 144
        new = set(mixed.labels[360:].tolist())
        assert len(new) == 2
        taken |= new
    assert taken == {0, 1, 2}
    bare = class_mix(ours, replace(theirs, labels=np.full(360, 255, np.uint8)), np.random.default_rng(0))
    assert len(bare) == 360


def test_a_network_tells_much_that_is_sure_of_different_things() -> None:
    sure, other, guess = (torch.tensor([row] * 50) for row in ([1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.25] * 4))
    given = [sure, sure], [guess], [torch.cat([sure, other])], [sure, other]
    assert [mutual_information(said) for said in given] == pytest.approx([0, 0, 0.5, 0.5], abs=1e-6)
    every = torch.eye(4).repeat(20, 1)
    assert mutual_information([every]) == pytest.approx(1.0)
    assert mutual_information([0.9 * every + 0.1 / 4]) == pytest.approx(1 - 0.2516, abs=1e-4)
    assert mutual_information([torch.ones(5, 1)]) == 0.0


def test_a_damaged_scan_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(One):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Frame:
            if index != 1 or self.spec == "all":
                raise InputError(f"damaged {index}")
            return self.it

    class Said:
        outputs = 99 * torch.eye(4)

    monkeypatch.setattr(module, "look", lambda *_: Said)
    assert module.information(None, Unlabelled(Damaged(frame(None))), 0.1) == pytest.approx(1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="damaged 2"):
        module.information(None, Unlabelled(Damaged(frame(None), "all")), 0.1)  # type: ignore[arg-type]


def test_entropy_is_that_of_the_predictions() -> None:
    assert float(entropy(torch.tensor([[0.0, 0.0], [0.0, 0.0]]))) == pytest.approx(np.log(2))
    assert float(entropy(torch.tensor([[0.0, 0.0], [99.0, 0.0]]))) == pytest.approx(np.log(2) / 2)
    none = torch.zeros((0, 2), requires_grad=True)
    entropy(none).backward()
    assert none.grad is not None


class Shift(nn.Module):
    """A network that is one number; what it says of points is that class 1 is likelier by so much."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), value))
        self.tokenizer = None
        self.head_config = HeadConfig(kind="probe", outputs=2)

    def forward(self, points: object) -> torch.Tensor:
        return torch.stack([torch.zeros(3), self.weight.expand(3)], 1)

    def freeze(self) -> None:
        pass


def test_the_average_follows_every_step() -> None:
    """Start and steps count alike at first, then what is old is forgotten."""
    network = Shift()
    average = MovingAverage(network, 0.6)  # type: ignore[arg-type]
    seen = []
    for _ in range(4):
        average(None)  # type: ignore[arg-type]
        seen.append(float(average.average.weight.detach()))
        with torch.no_grad():
            network.weight += 6
    assert seen == pytest.approx([0.0, 3.0, 0.6 * 3 + 0.4 * 12, 0.6 * 6.6 + 0.4 * 18])
    average.follow()
    assert float(average.average.weight.detach()) == pytest.approx(0.6 * 11.16 + 0.4 * 24)


@dataclass(frozen=True)
class Record:
    """Stands for a run: keeps what is saved."""

    path: Path
    saved: list[float]
    config: object = None

    def save_network(self, network: Shift) -> None:
        self.saved.append(float(network.weight.detach()))

    def load_network(self) -> tuple[Shift, None]:
        return Shift(self.saved[-1]), None

    def rewind_metrics(self, step: int) -> None:
        pass

    def log(self, **_: object) -> None:
        pass


@pytest.mark.parametrize(("judged", "kept"), [((0.1, 0.2, 0.15), 5.0), ((0.1, 0.1, 0.0), 0.0), ((0.1, 0.2, 0.3), 10.0)])
def test_every_round_starts_from_the_average_that_the_last_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: tuple[float, ...], kept: float
) -> None:
    """Two steps of 5 a round leave (0 + 5 + 10) / 3 more than the teacher had; the best judged is written."""
    asked, parts = [], {}

    def part(fabric: Fabric, kind: type, path: Path, *_: object, **__: object) -> Record:
        return parts.setdefault(path.name, Record(path, []))

    def fit(fabric: Fabric, run: Record, learning: MovingAverage, *_: object) -> None:
        for _step in range(2):
            learning(None)  # type: ignore[arg-type]
            with torch.no_grad():
                learning.network.weight += 5  # type: ignore[operator]

    def ask(teacher: Shift, folder: Path, share: tuple[int, int]) -> PseudoLabels:
        asked.append((float(teacher.weight.detach()), folder.parent.name, share))
        return PseudoLabels(folder)

    monkeypatch.setattr(rounds, "shared_run", part)
    monkeypatch.setattr(rounds, "fit", fit)
    figures = iter(judged)
    recipe = load_recipe("city-muddos", ["rounds=2", "ema=0.9"])
    run, target = Record(tmp_path, []), Unlabelled(One(frame(None)))  # type: ignore[arg-type]
    training = SelfTraining(
        Fabric(accelerator="cpu", devices=1),
        run,
        One(frame(None)),
        target,
        recipe,
        ask,
        Judge("dice", lambda _: {"dice": next(figures)}),
    )  # type: ignore[arg-type]
    found = training.adapt(Shift())  # type: ignore[arg-type]
    assert asked == [(0.0, "1", (0, 1)), (5.0, "2", (0, 1))]
    assert [parts[name].saved for name in "12"] == [[5.0], [10.0]]
    assert (float(found.network.weight.detach()), found.number) == (kept, kept / 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["none", "sectors", "classes"])
def test_samples_are_of_both_domains(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of the source and pseudo-labels of the target, on one scale; without mixing one scan is read, not two."""
    seen, read = [], []

    class Noted(One):
        def __getitem__(self, index: int) -> Frame:
            read.append(self.name)
            return self.it

    source = Noted(frame(np.zeros(360, np.uint8)), name="source")
    target = Noted(frame(np.ones(360, np.uint8), (0.0, 24.0), "b"), name="target")
    monkeypatch.setattr(samples, "train_sample", lambda made, *_: seen.append(made))
    recipe = load_recipe("city-muddos", [f"mixing={how}"])
    made = AdaptSamples(source, target, recipe, None, 1)  # type: ignore[arg-type]
    for turn in range(40):
        made[turn, 0]
    shares = np.array([(one.labels == 0).mean() for one in seen])
    assert 0.3 < shares.mean() < 0.7
    assert all((one.intensity == np.where(one.labels == 0, 1.0, 0.5)).all() for one in seen)
    assert len(read) == (40 if how == "none" else 80)
    assert read.count("source") == (int(shares.sum()) if how == "none" else 40)
    if how == "none":
        assert set(shares) == {0.0, 1.0}
    assert draws(made, 1) != draws(made, 2)


def draws(made: AdaptSamples, number: int) -> bytes:
    """What of the source the samples of a round have."""
    seen: list[Frame] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "train_sample", lambda one, *_: seen.append(one))
        other = AdaptSamples(made.source, made.target, made.recipe, made.tokenizer, number)
        for turn in range(40):
            other[turn, 0]
    return b"".join(one.labels.tobytes() for one in seen if one.labels is not None)


def test_entropy_is_of_the_target_alone() -> None:
    """Of points of the target that are not sure, not of those of the source that have no class."""
    recipe = load_recipe("city-muddos", ["entropy=0.5", "lovasz=0"])
    loss = SelfTraining(None, None, None, None, recipe, None, None)._loss  # type: ignore[arg-type]
    for labels, expected in (([0, 255, 255], None), ([0, 255, UNSURE], np.log(2)), ([255, 255, 0], None)):
        batch = SegmentBatch(None, torch.tensor(labels), torch.arange(3), None, ())  # type: ignore[arg-type]
        found = loss(Shift(), batch)
        sure = np.log(2)  # cross entropy of two classes that are alike
        assert float(found["loss"].detach()) == pytest.approx(sure + 0.5 * (expected or 0))
