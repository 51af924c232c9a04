"""Recipes: the published ones are right, faults are sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lidistill.errors import InputError
from lidistill.training.recipe import DistilRecipe, SegmentRecipe, load_recipe, parse_recipe
from lidistill.training.recipe_file import recipe_names
from lidistill.training.schedules import CosineSchedule


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


PUBLISHED = {
    # lr, weight decay, layer decay, drop path, epochs, warm-up, lowest rate, fraction, half of the field of view
    "probe-nuscenes": (1e-3, 3e-3, None, 0, 20, 2, 1e-5, 1, None),
    "probe-kitti": (1e-3, 3e-3, None, 0, 20, 2, 1e-5, 1, None),
    "probe-pandaset": (1e-3, 3e-3, None, 0, 50, 2, 1e-5, 1, 128),
    "finetune-nuscenes": (2e-3, 0, 0.99, 0.2, 25, 2, 0, 1, None),
    "finetune-nuscenes-10": (2e-3, 0, 0.95, 0.2, 45, 4, 0, 0.1, None),
    "finetune-nuscenes-1": (2e-3, 0, 0.95, 0.2, 45, 4, 0, 0.01, None),
    "finetune-kitti": (2e-3, 0, 0.99, 0.2, 10, 1, 0, 1, None),
    "finetune-kitti-1": (2e-3, 0, 0.95, 0.2, 45, 4, 0, 0.01, None),
    "finetune-pandaset": (2e-3, 0, 0.99, 0.2, 25, 2, 0, 1, 128),
    "finetune-pandaset-gt": (2e-3, 0, 0.99, 0.2, 25, 2, 0, 1, 96),
    "scalr-plus-probe-nuscenes": (1e-3, 3e-3, None, 0, 20, 2, 0, 1, None),
    "scalr-plus-probe-kitti": (1e-3, 3e-3, None, 0, 20, 2, 0, 1, None),
    "scalr-plus-probe-pandaset": (1e-3, 3e-3, None, 0, 50, 2, 0, 1, 128),
    "scalr-plus-finetune-nuscenes": (1e-4, 0, 0.99, 0.2, 25, 2, 0, 1, None),
    "scalr-plus-finetune-nuscenes-10": (1e-4, 0, 0.99, 0.2, 45, 4, 0, 0.1, None),
    "scalr-plus-finetune-nuscenes-1": (1e-4, 0, 0.99, 0.2, 45, 4, 0, 0.01, None),
    "scalr-plus-finetune-kitti": (1e-4, 0, 0.99, 0.2, 25, 2, 0, 1, None),
    "scalr-plus-finetune-kitti-1": (1e-4, 0, 0.99, 0.2, 45, 4, 0, 0.01, None),
    "scalr-plus-finetune-pandaset": (1e-4, 0, 0.99, 0.2, 25, 2, 0, 1, 128),
    "scalr-plus-finetune-pandaset-gt": (1e-4, 0, 0.99, 0.2, 25, 2, 0, 1, 96),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_of_probing_and_finetuning(name: str) -> None:
    lr, weight_decay, layer_decay, drop_path, epochs, warmup, lowest, fraction, half = PUBLISHED[name]
    recipe = load_recipe(name)
    assert isinstance(recipe, SegmentRecipe)
    assert isinstance(recipe.schedule, CosineSchedule)
    assert (recipe.lr, recipe.weight_decay, recipe.layer_decay) == (lr, weight_decay, layer_decay)
    assert (recipe.student.drop_path, recipe.epochs, recipe.schedule.warmup_epochs) == (drop_path, epochs, warmup)
    assert (recipe.schedule.min_lr, recipe.fraction) == (lowest, fraction)
    assert (recipe.batch_size, recipe.points, recipe.lovasz, recipe.voxel) == (8, 20_000, 1.0, 0.1)
    assert recipe.frozen == ("probe" in name)
    assert recipe.fov == (half and ((-half, half), (-half, half), (-8, 8)))
    assert recipe.student.activation == ("gelu" if name.startswith("scalr-plus") else "relu")


@pytest.mark.parametrize("name", ["few-labels", "few-labels-probe"])
def test_a_handful_of_scans_is_seen_for_hundreds_of_iterations(name: str) -> None:
    """An epoch of eight scans is one iteration with the published batch: too few epochs teach nothing."""
    recipe = load_recipe(name)
    assert isinstance(recipe, SegmentRecipe)
    assert recipe.frozen == ("probe" in name)
    assert recipe.fraction == 1
    assert 500 <= 8 // recipe.batch_size * recipe.epochs <= 2000


SLIDR = {
    # frozen, lr, rate of the head, batch, fraction
    "slidr-probe": (True, 0.05, None, 16, 1),
    "slidr-finetune": (False, 0.02, 2.0, 16, 1),
    "slidr-finetune-nuscenes-1": (False, 0.02, 2.0, 16, 0.01),
    "slidr-finetune-kitti-1": (False, 0.05, 2.0, 10, 0.01),
    "slidr-from-scratch": (False, 0.05, None, 16, 1),
}


@pytest.mark.parametrize("name", SLIDR)
def test_published_values_of_slidr_on_labels(name: str) -> None:
    recipe = load_recipe(name)
    assert isinstance(recipe, SegmentRecipe)
    assert (recipe.frozen, recipe.lr, recipe.head_lr, recipe.batch_size, recipe.fraction) == SLIDR[name]
    assert (recipe.optimizer, recipe.epochs, recipe.weight_decay) == ("sgd", 100, 1e-4)
    assert recipe.student.name == "minkunet-34-96"


@pytest.mark.parametrize(("name", "batch"), [("ppkt", 4), ("slidr", 4), ("st-slidr", 16), ("seal", 4)])
def test_published_values_of_the_contrastive_methods(name: str, batch: int) -> None:
    recipe = load_recipe(name)
    assert isinstance(recipe, DistilRecipe)
    assert (recipe.objective, recipe.batch_size, recipe.epochs) == (name, batch, 50)
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.image_head) == ("sgd", 0.5, 1e-4, 64)
    assert (recipe.cameras, recipe.crop, recipe.drop_cuboid, recipe.occlusion) == ("all", True, True, False)
    assert (recipe.teachers[0].name, recipe.teachers[0].image_size) == ("resnet50-moco", (224, 416))
    voxels = recipe.student.voxels
    assert voxels is not None
    assert (voxels.shape, voxels.size, voxels.degrees, voxels.closed) == ("cylindrical", 0.1, 1.0, False)
    assert (recipe.student.name, recipe.student.in_channels) == ("minkunet-34-96", 1)


def test_every_published_recipe_is_in_a_table_above() -> None:
    found = {name for name in recipe_names() if "finetune-" in name or "probe-" in name or name.startswith("slidr-")}
    assert found == {*PUBLISHED, *SLIDR}


def test_a_fraction_names_its_split() -> None:
    said = [load_recipe("finetune", [f"fraction={text}"]) for text in ("1", "0.5", "0.25", "0.1", "0.05", "0.01")]
    splits = [recipe.split for recipe in said if isinstance(recipe, SegmentRecipe)]
    assert splits == ["train", "train-50", "train-25", "train-10", "train-5", "train-1"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fraction=0.02", "fraction = 0.02: there are lists for 0.01, 0.05, 0.1, 0.25, 0.5, 1"),
        ("fraction=1.5", "fraction = 1.5"),
        ("polar_mix=2", "polar_mix = 2"),
        ("paste=0.5", "paste needs paste_classes"),
        ("paste_class=[car]", "did you mean 'paste_classes'"),
        ("layer_decay=1.5", "layer_decay = 1.5"),
    ],
)
def test_faults_of_segment_recipes_are_sentences(override: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_recipe("finetune", [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("warmup_epochs=3", "unknown key 'warmup_epochs'; did you mean 'schedule.warmup_epochs'?"),
        ("schedule.warmup=3", "unknown key 'schedule.warmup'; did you mean 'warmup_epochs'?"),
        ("lrr=3", "unknown key 'lrr'; did you mean 'lr'?"),
        ("reads=both", "unknown key 'reads'; it is one of recipes of kind segment"),
    ],
)
def test_a_key_is_suggested_where_it_stands(override: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        load_recipe("city", [override])
