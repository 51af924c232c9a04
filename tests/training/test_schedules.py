"""Learning rates of the reference recipes."""

import json
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from lidistill.training.recipe import load_recipe
from lidistill.training.schedules import (
    CosineSchedule,
    RsqrtSchedule,
    warmup_cosine,
    warmup_rsqrt_cooldown,
)


@pytest.fixture(scope="module")
def reference(parity):
    return json.loads(parity("05_downstream/lr_schedules.json").read_text())


def test_reference_rates(reference):
    for name, case in reference.items():
        for step, lr in zip(case["steps"], case["lr"], strict=True):
            if "timescale" in case:
                factor = warmup_rsqrt_cooldown(
                    step, case["warmup_end"], case["timescale"], case["cooldown_start"], case["max_iter"]
                )
            else:
                factor = warmup_cosine(step, case["warmup_end"], case["max_iter"], case["factor_min"])
            assert case["base_lr"] * factor == pytest.approx(lr, rel=1e-9, abs=0), (name, step)


@pytest.mark.parametrize(
    ("name", "schedule", "epochs"),
    [
        ("pretrain_scalr_merged_bs8", CosineSchedule(warmup_iterations=3500, min_lr=1e-5), 25),
        ("linprob_nuscenes", CosineSchedule(warmup_epochs=2, min_lr=1e-5), 20),
        ("finetune_nuscenes_100p", CosineSchedule(warmup_epochs=2), 25),
        ("pretrain_scalrplus_bs8", RsqrtSchedule(cooldown_start_epoch=63), 65),
        ("pretrain_scalrplus_bs8", RsqrtSchedule(cooldown_epochs=2), 65),
    ],
)
def test_reference_rates_from_the_recipes(reference, name, schedule, epochs):
    case = reference[name]
    for step, lr in zip(case["steps"], case["lr"], strict=True):
        factor = schedule.factor(step, case["iterations_per_epoch"], epochs, case["base_lr"])
        assert case["base_lr"] * factor == pytest.approx(lr, rel=1e-9, abs=0), step


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("pretrain_scalr_merged_bs8", "scalr"),
        ("pretrain_scalrplus_bs8", "scalr-plus"),
        ("linprob_nuscenes", "linear-probe"),
        ("linprob_nuscenes", "probe-nuscenes"),
        ("finetune_nuscenes_100p", "finetune"),
        ("finetune_nuscenes_100p", "finetune-nuscenes"),
        ("finetune_semantic_kitti_100p", "finetune-kitti"),
    ],
)
def test_the_built_in_recipes_have_the_reference_rates(reference, name, recipe):
    case, said = reference[name], load_recipe(recipe)
    assert said.epochs * case["iterations_per_epoch"] == case["max_iter"]
    assert said.lr == case["base_lr"]
    for step, lr in zip(case["steps"], case["lr"], strict=True):
        factor = said.schedule.factor(step, case["iterations_per_epoch"], said.epochs, said.lr)
        assert said.lr * factor == pytest.approx(lr, rel=1e-9, abs=0), step


def test_shape_of_the_cosine():
    factors = [warmup_cosine(i, warmup=10, total=110, lowest=0.1) for i in range(130)]
    assert factors[0] == 0
    assert factors[10] == max(factors) == 1
    assert factors[60] == pytest.approx(0.55)
    assert factors[110:] == pytest.approx([0.1] * 20)
    assert sorted(factors[10:], reverse=True) == factors[10:]


def test_shape_of_the_inverse_square_root():
    factors = [warmup_rsqrt_cooldown(i, warmup=10, timescale=20, cooldown_start=90, total=100) for i in range(120)]
    assert factors[0] == 0
    assert factors[10] == max(factors) == 1
    assert factors[30] == pytest.approx(0.5**0.5)
    assert factors[99:] == [0] * 21
    assert sorted(factors[10:], reverse=True) == factors[10:]


@pytest.mark.parametrize("total", [1, 2, 3])
def test_runs_shorter_than_the_schedule(total):
    for schedule in (
        CosineSchedule(),
        CosineSchedule(warmup_epochs=0),
        RsqrtSchedule(cooldown_epochs=9),
        RsqrtSchedule(warmup_epochs=0, cooldown_epochs=0),
    ):
        for step in range(total):
            assert 0 <= schedule.factor(step, per_epoch=1, epochs=total, lr=1e-3) <= 1


def test_configuration_is_strict_and_discriminated():
    adapter = TypeAdapter(Annotated[CosineSchedule | RsqrtSchedule, Field(discriminator="kind")])
    assert isinstance(adapter.validate_python({"kind": "cosine", "warmup_epochs": 1}), CosineSchedule)
    assert isinstance(adapter.validate_python({"kind": "rsqrt", "cooldown_epochs": 2}), RsqrtSchedule)
    for wrong in (
        {"kind": "cosine", "cooldown_epochs": 2},
        {"kind": "rsqrt"},
        {"kind": "rsqrt", "cooldown_epochs": 2, "cooldown_start_epoch": 3},
        {"kind": "step"},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)
