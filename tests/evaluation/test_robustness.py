import json

import pytest

from lidistill.errors import InputError
from lidistill.evaluation.robustness import (
    BASELINES,
    corruption_errors,
    mean_corruption_error,
    mean_resilience_rate,
    resilience_rates,
)
from lidistill.transforms.corruptions import NAMES

LEVELS = ("light", "moderate", "heavy")
MINKUNET = BASELINES["nuscenes-c"]


def ours(name):
    """Published spelling -> ours."""
    plain = name.lower().replace(" ", "-")
    return "crosstalk" if plain == "cross-talk" else plain


def test_two_corruptions_by_hand():
    scores = {"fog": (50.0, 40.0, 30.0), "snow": 80.0}
    baseline = {"fog": (60.0, 60.0, 60.0), "snow": (90.0, 60.0, 60.0), "crosstalk": 10.0}
    assert corruption_errors(scores, baseline) == {"fog": pytest.approx(150.0), "snow": pytest.approx(100 * 20 / 30)}
    assert mean_corruption_error(scores, baseline) == pytest.approx((150 + 200 / 3) / 2)
    assert resilience_rates(scores, 80.0) == {"fog": pytest.approx(50.0), "snow": pytest.approx(100.0)}
    assert mean_resilience_rate(scores, 80.0) == pytest.approx(75.0)


@pytest.mark.parametrize(("data", "mrr"), [("semantic-kitti-c", 81.90), ("nuscenes-c", 74.44), ("wod-c", 91.22)])
def test_the_baselines_are_the_published_ones(data, mrr):
    baseline = BASELINES[data]
    assert tuple(baseline.scores) == NAMES
    assert mean_resilience_rate(baseline.scores, baseline.clean) == pytest.approx(mrr, abs=0.01)
    assert mean_corruption_error(baseline.scores, baseline.scores) == pytest.approx(100)


def test_published_row_of_seal_on_nuscenes():
    scores = dict(zip(NAMES, (72.66, 74.31, 66.22, 66.14, 65.96, 57.44, 59.87, 39.85), strict=True))
    assert mean_corruption_error(scores, MINKUNET.scores) == pytest.approx(92.63, abs=0.01)


@pytest.mark.parametrize("data", ["SemanticKITTI-C", "nuScenes-C"])
def test_averaged_tables_give_the_published_means(parity, data):
    table = json.loads(parity("07_robo3d/mce_mrr_tables.json").read_text())[data]
    baseline = BASELINES[data.lower().replace("semantickitti", "semantic-kitti")].scores
    for model in table["models"].values():
        scores = {ours(name): miou for name, miou in model["corruptions"].items()}
        assert set(scores) == set(NAMES)
        assert mean_corruption_error(scores, baseline) == pytest.approx(model["mCE"], abs=0.01)
        assert mean_resilience_rate(scores, model["clean"]) == pytest.approx(model["mRR"], abs=0.01)


def test_tables_by_severity_give_the_published_figures(parity):
    tables = json.loads(parity("07_robo3d/mce_mrr_tables.json").read_text())["SemanticKITTI-C_per_severity"]
    levels = {
        model: {ours(name): [row[level] for level in LEVELS] for name, row in table["corruptions"].items()}
        for model, table in tables.items()
    }
    baseline = levels["MinkUNet-18_cr1.0"]
    for model, table in tables.items():
        errors = corruption_errors(levels[model], baseline)
        rates = resilience_rates(levels[model], table["clean"])
        rows = {ours(name): row for name, row in table["corruptions"].items()}
        assert errors == pytest.approx({name: row["CE"] for name, row in rows.items()}, abs=0.03), model
        assert rates == pytest.approx({name: row["RR"] for name, row in rows.items()}, abs=0.02), model
        printed = sum(row["CE"] for row in rows.values()) / len(rows)
        assert mean_corruption_error(levels[model], baseline) == pytest.approx(printed, abs=0.02), model
        assert mean_resilience_rate(levels[model], table["clean"]) == pytest.approx(table["recomputed_mRR"], abs=0.02)


def test_a_copied_row_of_the_published_tables(parity):
    rows = json.loads(parity("07_robo3d/mce_mrr_tables.json").read_text())["SemanticKITTI-C_per_severity"]
    rows = {ours(name): row for name, row in rows["WaffleIron"]["corruptions"].items()}
    assert [rows["incomplete-echo"][level] for level in LEVELS] == [rows["wet-ground"][level] for level in LEVELS]


@pytest.mark.parametrize(
    ("scores", "baseline", "what"),
    [
        ({}, {"fog": 50.0}, "no corruption"),
        ({"fog": 50.0}, {"frog": 50.0}, "did you mean 'frog'"),
        ({"fog": (50.0, float("nan"))}, {"fog": 50.0}, "percent"),
        ({"fog": ()}, {"fog": 50.0}, "percent"),
        ({"fog": 150.0}, {"fog": 50.0}, "percent"),
        ({"fog": 50.0}, {"fog": 100.0}, "no errors"),
    ],
)
def test_what_cannot_be_compared_is_said(scores, baseline, what):
    with pytest.raises(InputError, match=what):
        mean_corruption_error(scores, baseline)


@pytest.mark.parametrize("clean", [0.0, 101.0, float("nan")])
def test_clean_score_must_be_a_percentage(clean):
    with pytest.raises(InputError, match="clean"):
        mean_resilience_rate({"fog": 50.0}, clean)
