"""Recipes that say what differs from another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lidistill.apps.recipes import recipes
from lidistill.errors import InputError
from lidistill.training.recipe import SegmentRecipe, load_recipe
from lidistill.training.recipe_file import read_values, recipe_names


def write(folder: Path, **texts: str) -> str:
    """Write files ``NAME.yaml``; the path of the first."""
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{next(iter(texts))}.yaml")


def test_what_is_not_said_is_the_base(tmp_path: Path) -> None:
    mine = load_recipe(write(tmp_path, mine="base: finetune\nlr: 0.5\nschedule: {warmup_epochs: 7}\n"))
    theirs = load_recipe("finetune")
    schedule = theirs.schedule.model_copy(update={"warmup_epochs": 7.0})
    assert mine == theirs.model_copy(update={"name": "mine", "lr": 0.5, "schedule": schedule})


def test_parts_go_key_by_key_and_a_name_keeps_the_rest(tmp_path: Path) -> None:
    values = read_values(write(tmp_path, a="base: scalr-plus\nstudent: waffleiron-6-64\nteacher: {layer: auto}\n"))
    theirs = read_values("scalr-plus")
    assert values["student"] == {**theirs["student"], "name": "waffleiron-6-64"}
    assert values["teacher"] == {**theirs["teacher"], "layer": "auto"}
    named = read_values(write(tmp_path, b="base: linear-probe\nstudent: {drop_path: 0.1}\n"))
    assert named["student"] == {"name": "waffleiron-48-768", "drop_path": 0.1}


def test_another_kind_of_part_takes_the_place_of_the_base(tmp_path: Path) -> None:
    text = "base: finetune\nschedule: {kind: rsqrt, cooldown_epochs: 2}\n"
    assert read_values(write(tmp_path, a=text))["schedule"] == {"kind": "rsqrt", "cooldown_epochs": 2}
    load_recipe(str(tmp_path / "a.yaml"))  # no key of the cosine is left to complain of


def test_a_chain_of_files_is_followed_from_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, b="base: deep/c.yaml\nlr: 0.1\n")
    write(tmp_path / "deep", c="base: d.yaml\nlr: 0.2\nepochs: 3\n", d="base: finetune\nlr: 0.3\nepochs: 4\nseed: 5\n")
    recipe = load_recipe(write(tmp_path, a="base: b.yaml\nname: other\n"), ["batch_size=2"])
    assert (recipe.name, recipe.lr, recipe.epochs, recipe.seed, recipe.batch_size) == ("other", 0.1, 3, 5, 2)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"a": "base: a.yaml"}, "a circle"),
        ({"a": "base: b.yaml", "b": "base: c.yaml", "c": "base: b.yaml"}, "b.yaml -> "),
        ({"a": "base: finetun"}, "did you mean 'finetune'"),
        ({"a": "base: nowhere.yaml"}, "nowhere.yaml does not exist"),
        ({"a": "base: [finetune]"}, "expected the name of a recipe"),
        ({"a": "base: b.yaml", "b": "lr: ["}, "b.yaml: not valid YAML"),
        ({"a": "base: b.yaml", "b": "[1]"}, "b.yaml: expected keys and values"),
        ({"a": "base: finetune\nlrr: 1"}, "did you mean 'lr'"),
    ],
)
def test_faults_are_sentences(texts: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_recipe(write(tmp_path, **texts))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", recipe_names())
def test_what_is_shown_is_the_recipe(name: str, tmp_path: Path) -> None:
    """Saved, it is the same recipe, without a base."""
    shown = recipes(name)
    assert "base" not in yaml.safe_load(shown)
    assert load_recipe(write(tmp_path, saved=shown)) == load_recipe(name)


def test_the_list_has_a_line_for_each() -> None:
    lines = recipes().splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert all(len(line.split()) > 4 for line in lines)


def test_the_short_names_are_the_published_ones_of_nuscenes() -> None:
    for short, full in (("finetune", "finetune-nuscenes"), ("linear-probe", "probe-nuscenes")):
        recipe = load_recipe(short)
        assert isinstance(recipe, SegmentRecipe)
        assert recipe.model_copy(update={"name": full}) == load_recipe(full)
