"""Recipes with one teacher or several."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lidistill.apps.pretrain import head, overrides
from lidistill.errors import InputError
from lidistill.students.config import HeadConfig
from lidistill.training.recipe import DistilRecipe, load_recipe, parse_recipe


def recipe(name: str, teacher: str | None, *more: str) -> DistilRecipe:
    said = load_recipe(name, overrides(teacher=teacher, student=None, epochs=None, seed=None, set=more))
    assert isinstance(said, DistilRecipe)
    return said


def test_names_by_commas() -> None:
    one, other = recipe("scalr", "dinov2-vitl14, maskclip-vitb16").teachers
    assert (one.name, other.name) == ("dinov2-vitl14", "maskclip-vitb16")
    assert one == recipe("scalr", "dinov2-vitl14").teacher == load_recipe("scalr").teacher
    assert other == recipe("scalr", "maskclip-vitb16").teacher
    assert one.image_size == other.image_size == (224, 448)
    # the recipe's layer and positions are those of DINOv2
    assert (one.layer, other.layer, other.positions) == ("pre-norm", "auto", "auto")
    assert not other.antialias


@pytest.mark.parametrize("name", ["dinov2-vits14", "facebook/dinov2-small", "/models/mine"])
def test_settings_stay_with_names_that_are_not_known_to_be_of_another_kind(name: str) -> None:
    said = recipe("scalr-plus", name).teacher
    assert (said.layer, said.positions) == ("pre-norm", "antialias")


def test_options_of_all_and_of_one() -> None:
    one, other = recipe(
        "city", "a,b", "teacher.image_size=[48, 96]", "teacher.1.weight=2", "teacher.0.grid=origin"
    ).teachers
    assert one.image_size == other.image_size == (48, 96)
    assert (one.weight, other.weight, one.grid, other.grid) == (1, 2, "origin", "auto")


def test_a_list_in_a_file(tmp_path: Path) -> None:
    values = yaml.safe_load(yaml.safe_dump(load_recipe("city").model_dump(mode="json")))
    values["teacher"] = ["city", {"name": "other.pt2", "image_size": [64, 128], "weight": 0.5}]
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(values))
    said = recipe(str(path), None, "teacher.antialias=false")
    assert [(t.name, t.image_size, t.weight, t.antialias) for t in said.teachers] == [
        ("city", (224, 448), 1, False),
        ("other.pt2", (64, 128), 0.5, False),
    ]
    assert parse_recipe(yaml.safe_load(yaml.safe_dump(said.model_dump(mode="json"))), "again") == said


def test_one_stays_a_mapping() -> None:
    """As in the run folders of before there were several."""
    values = load_recipe("city").model_dump(mode="json")
    assert values["teacher"]["name"] == "city"
    del values["teacher"]["weight"]
    assert parse_recipe(values, "old") == load_recipe("city")
    assert parse_recipe({**values, "teacher": ["city"]}, "list of one") == load_recipe("city")


@pytest.mark.parametrize(
    ("teacher", "override", "said"),
    [
        ("city,city", "", "teacher city is there twice"),
        ("city,city", "teacher.1.weight=2", "teacher city is there twice"),
        ("city,", "", "teacher.1.name = ''"),
        ("a,b", "teacher.1.weight=0", "teacher.1.weight = 0"),
        ("a,b", "teacher.1.weight=.nan", "teacher.1.weight = nan"),
        ("a,b", "teacher.1.wieght=2", "unknown key 'teacher.1.wieght'; did you mean 'weight'"),
        ("a,b", "teacher.2.weight=2", "there are 2, counted from 0"),
        ("a,b", "teacher.1.image_size=[1, 2]", "teacher.1.image_size = [1, 2]"),
        ("a", "teacher=[]", "name at least one teacher"),
        ("a", "teacher=[a, 3]", "teacher.1 = 3"),
    ],
)
def test_faults_of_several_teachers_are_sentences(teacher: str, override: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        recipe("city", teacher, *([override] if override else []))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_same_network_asked_in_two_ways_is_two() -> None:
    assert len(recipe("scalr", "dinov2-vitl14,dinov2-vitl14", "teacher.1.layer=post-norm").teachers) == 2


def test_heads() -> None:
    linear, wide = recipe("scalr", None), recipe("scalr-plus", None)
    assert head(linear, [1024]) == HeadConfig(kind="linear", outputs=1024, hidden=None)
    assert head(wide, [1024]) == HeadConfig(kind="mlp", outputs=1024, hidden=2048)
    # two layers, no narrower than the student (768) and what it is to say
    assert head(linear, [1024, 512]) == HeadConfig(kind="mlp", outputs=1536, hidden=1536)
    assert head(linear, [64, 64]) == HeadConfig(kind="mlp", outputs=128, hidden=768)
    assert head(wide, [1024, 512]) == HeadConfig(kind="mlp", outputs=1536, hidden=2048)
