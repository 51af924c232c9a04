"""``lidistill evaluate --corruptions``: every figure of the card, going on after an interruption, two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lidistill.apps import exam as exams
from lidistill.apps.robustness import SEED, chosen_corruptions, doubts, reference
from lidistill.cli import main
from lidistill.evaluation.card import Card, Metric, read_card, write_card
from lidistill.evaluation.inference import evaluate
from lidistill.evaluation.robustness import BASELINES
from lidistill.training.data import open_split
from lidistill.training.run import Run
from lidistill.transforms.corruptions import NAMES, Corrupted

PROBE = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "4", "--set", "student.cell=2"]
PROBE += ["--set", "batch_size=1", "--set", "points=500", "--set", "workers=0"]
TWO = ("beam-missing", "crosstalk")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig, a probed run and its card of two corruptions."""
    folder = tmp_path_factory.mktemp("corruptions")
    rig = tiny_rig(folder / "rig", frames=4, images=False)
    (rig / "splits.yaml").write_text("train: ['000000', '000001']\nval: ['000002', '000003']\n")
    assert main(["probe", "--data", str(rig), "--out", str(folder / "run"), *PROBE]) == 0
    assert evaluated(folder, "--corruptions", ",".join(TWO)) == 0
    return folder


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the parts that are evaluated."""
    titles: list[str] = []
    act = exams.Exam.take

    def take(self: exams.Exam, source: object, title: str = "evaluate") -> object:
        titles.append(title)
        return act(self, source, title)

    monkeypatch.setattr(exams.Exam, "take", take)
    return titles


def evaluated(place: Path, *options: str, out: str = "out") -> int:
    return main(["evaluate", str(place / "run"), "--data", str(place / "rig"), "--out", str(place / out), *options])


def card(place: Path, name: str = "rig-val-corruptions-beam-missing-crosstalk.json") -> Card:
    return read_card(place / "out" / name)


def figure(found: Card, name: str) -> float:
    value = found.metrics[name].mean
    assert value is not None
    return value


def test_every_figure_is_that_of_the_corrupted_scans(place: Path) -> None:
    found = card(place)
    network, model = Run.open(place / "run").load_network()
    source = open_split(str(place / "rig"), "val", model.sensors)
    for name in TWO:
        for severity in (1, 2, 3):
            alone = evaluate(network, Corrupted(source, name, severity, SEED), model.classes or (), model.voxel)
            assert figure(found, f"miou/{name}/{severity}") == alone.confusion.miou()
    clean = read_card(place / "run" / "card.json")
    assert all(found.metrics[name] == metric for name, metric in clean.metrics.items())
    levels = {name: [figure(found, f"miou/{name}/{i}") for i in (1, 2, 3)] for name in TWO}
    rates = [sum(values) / 3 / figure(found, "miou") for values in levels.values()]
    assert figure(found, "mrr") == pytest.approx(sum(rates) / 2)
    assert [figure(found, f"rr/{name}") for name in TWO] == pytest.approx(rates)
    assert figure(found, "miou_corrupted") == pytest.approx(sum(map(sum, levels.values())) / 6)
    assert "mce" not in found.metrics
    assert found.recipe["evaluation"] == {"corruptions": list(TWO), "seed": SEED}


def test_what_is_finished_is_not_repeated(place: Path, taken: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = card(place)
    assert evaluated(place, "--corruptions", "crosstalk, beam-missing") == 0
    assert taken == []
    assert card(place).metrics == before.metrics
    assert evaluated(place, "--corruptions", "crosstalk,cross-sensor") == 0
    assert taken == [f"cross-sensor {level} [{i}/7]" for i, level in enumerate(("light", "moderate", "heavy"), 5)]
    shown = capsys.readouterr().out
    assert "6 scans, " in shown  # only those that were evaluated are timed
    assert figure(card(place, "rig-val-corruptions-crosstalk-cross-sensor.json"), "miou/crosstalk/2") == figure(
        before, "miou/crosstalk/2"
    )


def test_going_on_after_an_interruption(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act, calls = exams.Exam.take, []

    def stops(self: exams.Exam, source: object, title: str = "evaluate") -> object:
        calls.append(title)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return act(self, source, title)

    monkeypatch.setattr(exams.Exam, "take", stops)
    options = ["--corruptions", ",".join(TWO)]
    assert evaluated(place, *options, out="stopped") == 130
    assert not list((place / "stopped").glob("*.json"))
    assert evaluated(place, *options, out="stopped") == 0
    assert len(calls) == 4 + 4  # of seven, three were there
    (found,) = (place / "stopped").glob("*.json")
    assert read_card(found).metrics == card(place).metrics


def test_other_poses_or_weights_are_evaluated_anew(place: Path, taken: list[str]) -> None:
    assert evaluated(place, "--corruptions", "crosstalk", "--tta", "2") == 0
    assert len(taken) == 4
    assert figure(card(place, "rig-val-tta2-corruptions-crosstalk.json"), "miou") != figure(card(place), "miou")
    weights = place / "run" / "model.safetensors"
    kept = weights.read_bytes()
    try:
        run = Run.open(place / "run")
        network, _ = run.load_network()
        network.head.output.bias.data[:] = 0
        network.head.output.bias.data[3] = 100
        run.save_network(network)
        taken.clear()
        assert evaluated(place, "--corruptions", "crosstalk") == 0
    finally:
        weights.write_bytes(kept)
    assert len(taken) == 4
    assert figure(card(place, "rig-val-corruptions-crosstalk.json"), "miou/crosstalk/1") < 0.1
    (place / "out" / "rig-val-corruptions.parts").unlink()
    assert evaluated(place, "--corruptions", ",".join(TWO)) == 0


def test_errors_against_a_card_and_a_published_baseline(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = card(place)
    path = place / "worse.json"
    worse = {f"miou/{name}": Metric.of([figure(ours, f"miou/{name}") / 2]) for name in TWO}
    write_card(ours.model_copy(update={"name": "worse", "metrics": worse}), path)
    assert evaluated(place, "--corruptions", ",".join(TWO), "--baseline", str(path)) == 0
    found = card(place)
    expected = [(1 - figure(ours, f"miou/{n}")) / (1 - figure(ours, f"miou/{n}") / 2) for n in TWO]
    assert [figure(found, f"ce/{n}") for n in TWO] == pytest.approx(expected)
    assert figure(found, "mce") == pytest.approx(sum(expected) / 2)
    assert found.recipe["evaluation"]["baseline"]["title"] == "worse"
    assert "of the errors of worse" in capsys.readouterr().out
    own = place / "out" / "rig-val-corruptions-beam-missing-crosstalk.json"
    assert evaluated(place, "--corruptions", "crosstalk", "--baseline", str(own)) == 0
    assert figure(card(place, "rig-val-corruptions-crosstalk.json"), "mce") == pytest.approx(1)
    assert evaluated(place, "--corruptions", "crosstalk", "--baseline", "nuscenes-c") == 0
    found = card(place, "rig-val-corruptions-crosstalk.json")
    assert figure(found, "mce") == pytest.approx((1 - figure(found, "miou/crosstalk")) / (1 - 0.2658))


def test_a_baseline_that_is_no_measure_is_named(place: Path) -> None:
    ours = card(place)
    path = place / "other.json"
    assert ours.software["corruptions"]
    evaluation = {"corruptions": list(TWO), "seed": SEED + 1, "tta": 8}
    other = {
        "data": ours.data.model_copy(update={"checksum": "0"}),
        "recipe": {**ours.recipe, "evaluation": evaluation, "model": {"classes": ["car", "bus"]}},
        "software": {"corruptions": "another"},
    }
    write_card(ours.model_copy(update=other), path)
    said = "; ".join(doubts(str(path), ours))
    for why in ("other scans", "other classes", "another seed", "other poses", "other code of the corruptions"):
        assert why in said
    write_card(ours, path)
    assert doubts(str(path), ours) == []


def test_a_published_baseline_does_not_hold_for_our_corruptions(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert evaluated(place, "--corruptions", "crosstalk", "--baseline", "nuscenes-c") == 0
    assert "baseline nuscenes-c: is published for the released scans, not for those that are corrupted" in caplog.text


def test_names() -> None:
    assert chosen_corruptions("all") == NAMES
    assert chosen_corruptions("snow, fog,snow") == ("fog", "snow")
    assert [reference(name, NAMES).scores for name in BASELINES] == [known.scores for known in BASELINES.values()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--corruptions", "fogg"], "there is no corruption 'fogg'; did you mean 'fog'"),
        (["--corruptions", "fog", "--baseline", "nuscenes"], "did you mean 'nuscenes-c'"),
        (["--corruptions", "fog", "--baseline", "{run}/card.json"], "has no mIoU under 'fog'; evaluate that run with"),
        (["--baseline", "nuscenes-c"], "add --corruptions all"),
        (["--released", "nuscenes-c:/data"], "add --corruptions all"),
        (["--outside", "miss"], "only a --map has an outside"),
        (["--devices", "0"], "expected at least 1"),
        (["--corruptions", "fog", "--map", "kitti-10"], "cannot be joined with --corruptions"),
    ],
)
def test_faults_come_before_the_work(
    place: Path, taken: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(place, *(option.format(run=place / "run") for option in options), out="faults") == 2
    assert message in capsys.readouterr().err
    assert taken == []
    assert not (place / "faults").exists()


def test_two_processes_share_the_scans(place: Path) -> None:
    arguments = ["evaluate", "run", "--data", "rig", "--out", "two", "--corruptions", ",".join(TWO), "--devices", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lidistill", *arguments]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mRR") == 1
    (found,) = (place / "two").glob("*.json")
    ours, alone = read_card(found).metrics, card(place).metrics  # the latter perhaps with errors against a baseline
    assert ours == {name: alone[name] for name in ours}
