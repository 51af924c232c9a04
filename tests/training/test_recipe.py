"""Recipes: the published ones are right, faults are sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lidistill.errors import InputError
from lidistill.training.recipe import DistilRecipe, SegmentRecipe, load_recipe, parse_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_built_in_recipes_survive_a_round_trip(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    again = parse_recipe(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json"))), name)
    assert again == recipe


def test_published_values_of_scalr() -> None:
    recipe = load_recipe("scalr")
    assert isinstance(recipe, DistilRecipe)
    assert (recipe.student.depth, recipe.student.width, recipe.student.norm) == (48, 768, "layer")
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (25, 8, 2e-3, 0.03)
    assert recipe.teacher.image_size == (224, 448)
    assert recipe.head_hidden is None
    # 172 000 iterations: half-way through the warm-up, at its end, at the end
    rates = [recipe.schedule.factor(i, 6887, 25, recipe.lr) * recipe.lr for i in (1750, 3500, 6887 * 25)]
    assert rates == pytest.approx([1e-3, 2e-3, 1e-5])


def test_published_values_of_scalr_plus() -> None:
    recipe = load_recipe("scalr-plus")
    assert isinstance(recipe, DistilRecipe)
    assert (recipe.student.activation, recipe.student.drop_path, recipe.head_hidden) == ("gelu", 0.2, 2048)
    assert recipe.teacher.image_size == (448, 896)
    assert recipe.schedule.factor(65 * 100 - 1, 100, 65, recipe.lr) == 0


def test_overrides_reach_every_level() -> None:
    recipe = load_recipe(
        "scalr-plus",
        ["lr=1e-4", "student=waffleiron-6-64", "student.cell=1.0", "teacher=city", "schedule.warmup_epochs=2"],
    )
    assert isinstance(recipe, DistilRecipe)
    assert (recipe.lr, recipe.student.depth, recipe.student.width, recipe.student.cell) == (1e-4, 6, 64, 1.0)
    assert recipe.student.activation == "gelu"  # the recipe's, not the student's default
    assert recipe.student.norm == "batch"  # by width
    assert recipe.teacher.name == "city"
    assert recipe.schedule.warmup_epochs == 2


def test_a_segment_recipe_is_one() -> None:
    assert isinstance(load_recipe("linear-probe"), SegmentRecipe)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("student.wdth=3", "did you mean 'width'"),
        ("epochs=many", "epochs = 'many'"),
        ("epochs=0", "epochs = 0"),
        ("epochs=-3", "epochs = -3"),
        ("lr=0", "lr = 0"),
        ("lr=.nan", "lr = nan"),
        ("lr=.inf", "lr = inf"),
        ("lr=1000", "lr = 1000"),
        ("batch_size=0", "batch_size = 0"),
        ("batch_size=2.5", "batch_size = 2.5"),
        ("voxel=-0.1", "voxel = -0.1"),
        ("points=1", "points = 1"),
        ("precision=64", "precision = 64"),
        ("student=waffleiron-48", "waffleiron-48"),
        ("student=minkunet", "minkunet"),
        ("student.drop_path=1.5", "drop_path"),
        ("student.cell=0", "cell"),
        ("schedule.kind=step", "schedule"),
        ("schedule.warmup_epochs=-1", "warmup_epochs = -1"),
        ("bad_frames=2", "bad_frames = 2"),
        ("lr.base=1", "has no parts"),
        ("lr={", "not a YAML value"),
    ],
)
def test_faults_are_sentences(override: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_recipe("scalr", [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1, 2]", "lr: [", "kind: distil", ""])
def test_a_broken_file_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_recipe(str(path))
