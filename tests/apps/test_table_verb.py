"""``lidistill table``: seeds come together, experiments and data stay apart, every format, errors in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lidistill.apps.table import find_cards, rows, table
from lidistill.cli import main
from lidistill.evaluation.card import Card, Data, Hardware, Metric, write_card


def write(path: Path, miou: float, seed: int, **changes: Any) -> Path:
    values = {
        "name": path.parent.name,
        "verb": "probe",
        "recipe": {"recipe": {"lr": 0.001, "seed": seed}, "parent": f"somewhere/{seed}"},
        "data": Data(spec="city", split="val", frames=2, checksum="0"),
        "seeds": (seed,),
        "metrics": {"miou": Metric.of([miou]), "iou/car": Metric.of([miou / 2]), "iou/bus": Metric.of([None])},
        "hardware": Hardware(cpu="a", cores=1, device="cpu", threads=1),
        "software": {},
        "created": "2026-01-01T00:00:00+00:00",
        **changes,
    }
    write_card(Card(**values), path)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, miou in enumerate((0.5, 0.6)):
        write(tmp_path / f"wide/seed-{seed}/card.json", miou, seed, recipe={"width": 64, "seed": seed})
    write(tmp_path / "narrow/seed-0/card.json", 0.3, 0, recipe={"width": 32, "seed": 0})
    return tmp_path


def test_seeds_come_together(runs: Path) -> None:
    assert rows(find_cards([runs]), ("miou", "iou/*")) == [
        {"run": "narrow", "miou": "30.0", "iou/car": "15.0", "iou/bus": "-", "seeds": 1},
        {"run": "wide", "miou": "55.0 ± 7.1", "iou/car": "27.5 ± 3.5", "iou/bus": "-", "seeds": 2},
    ]


def test_backbones_of_other_runs_stay_apart(tmp_path: Path) -> None:
    """Probes by one recipe differ by nothing but the run whose backbone they took."""
    for name, miou in (("dino", 0.5), ("mae", 0.3)):
        for seed in (0, 1):
            recipe = {"recipe": {"lr": 0.001, "seed": seed}, "parent": f"runs/{name}/seed-{seed}"}
            write(tmp_path / f"{name}/seed-{seed}/card.json", miou, seed, recipe=recipe)
    write(tmp_path / "random/card.json", 0.1, 2, recipe={"recipe": {"lr": 0.001, "seed": 2}, "parent": None})
    shown = rows(find_cards([tmp_path]), ("miou",))
    assert [(row["run"], row["miou"], row["seeds"]) for row in shown] == [
        ("dino", "50.0 ± 0.0", 2),
        ("mae", "30.0 ± 0.0", 2),
        ("random", "10.0", 1),
    ]


def test_a_run_that_was_evaluated_again_counts_once(runs: Path) -> None:
    recipe = {"width": 32, "seed": 0}
    later = {"recipe": recipe, "created": "2026-01-02T00:00:00+00:00"}
    write(runs / "narrow/seed-0/evaluations/city-val.json", 0.4, 0, **later)
    shown = {row["run"]: row for row in rows(find_cards([runs]), ("miou",))}
    assert [(row["miou"], row["seeds"]) for row in shown.values()] == [("40.0", 1), ("55.0 ± 7.1", 2)]


def test_other_data_is_another_row(runs: Path) -> None:
    other = Data(spec="kitti", split="val", frames=1, checksum="1")
    write(runs / "wide/seed-0/evaluations/kitti-val.json", 0.2, 0, recipe={"width": 64, "seed": 0}, data=other)
    shown = rows(find_cards([runs / "wide"]), ("miou",))
    assert [(row["run"], row["data"], row["miou"]) for row in shown] == [
        ("wide", "city (val)", "55.0 ± 7.1"),
        ("kitti-val", "kitti (val)", "20.0"),
    ]


def test_figures_by_other_rules_say_so(runs: Path) -> None:
    """One network on one split: as it is, in 8 poses, in the classes of a map, and the clean scans beside fog."""
    rules = {"tta8": {"tta": 8}, "map": {"map": "kitti-10", "outside": "miss"}, "fog": {"corruptions": ["fog"]}}
    for name, rule in rules.items():
        recipe = {"width": 32, "seed": 0, "evaluation": rule}
        write(runs / f"narrow/seed-0/evaluations/{name}.json", 0.2, 0, recipe=recipe)
    assert [row["data"] for row in rows(find_cards([runs / "narrow"]), ("miou",))] == [
        "city (val)",
        "city (val), with corruptions",
        "city (val), map kitti-10, outside miss",
        "city (val), tta 8",
    ]


def test_a_damaged_card_in_a_folder_is_left_out(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    (runs / "narrow/seed-0/card.json").write_text("{")
    assert [row["run"] for row in rows(find_cards([runs]), ("miou",))] == ["wide"]
    assert "left out: " in caplog.text


@pytest.mark.parametrize(("format", "start"), [("markdown", "| run"), ("html", "<table>"), ("latex", r"\begin")])
def test_command(runs: Path, format: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "table"
    assert main(["table", str(runs), "--format", format, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(start)
    assert out.read_text().startswith(start)


def test_a_folder_of_committed_cards(tmp_path: Path) -> None:
    write(tmp_path / "results/all/spinning.json", 0.5, 0)
    write(tmp_path / "results/one/spinning.json", 0.25, 0, recipe={"other": 1})
    assert [line.split() for line in table([tmp_path / "results"]).splitlines()[2:]] == [
        ["all/spinning", "50.0", "1"],
        ["one/spinning", "25.0", "1"],
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.json"], "cannot be read as a result card"),
        (["{runs}", "--metric", "mious"], "no card has a metric 'mious'; did you mean 'miou'?"),
        (["{runs}/empty"], "holds no result card"),
    ],
)
def test_errors(runs: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "empty").mkdir()
    assert main(["table", *(a.format(runs=runs) for a in arguments)]) == 2
    assert said in capsys.readouterr().err


def test_a_seed_that_comes_twice_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(runs / "copy/card.json", 0.5, 0, recipe={"width": 64, "seed": 0})
    assert main(["table", str(runs)]) == 2
    said = capsys.readouterr().err
    assert "so they would repeat a seed; name the runs" in said
    assert str(runs / "copy/card.json") in said
