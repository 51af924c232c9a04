"""The page about recipes: every key and every built-in recipe is on it, and its defaults are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.recipe import DistilRecipe, SegmentRecipe, load_recipe
from lidistill.training.recipe_file import recipe_names
from lidistill.training.schedules import CosineSchedule, RsqrtSchedule

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/recipes.md").read_text()
ROWS = [re.split(r" *\| *", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| `")]
DEFAULTS = {}
for row in ROWS:
    keys = re.findall(r"`(\w+)`", row[0])
    values = re.split(r",(?![^[]*\])", row[1])  # not those within a list
    DEFAULTS |= dict(zip(keys, [value.strip(" `") for value in values] + [""] * len(keys), strict=False))


@pytest.mark.parametrize("kind", [SegmentRecipe, DistilRecipe, ImageRecipe])
def test_every_key_has_a_row_with_its_default(kind: type[BaseModel]) -> None:
    for key, field in kind.model_fields.items():
        assert key in DEFAULTS, f"docs/reference/recipes.md has no row for {key}"
        if not field.is_required() and key != "kind":
            said = yaml.safe_load(DEFAULTS[key])
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            assert said == ("none" if default is None else default), key


def test_every_key_of_a_schedule_is_there() -> None:
    keys = {*CosineSchedule.model_fields, *RsqrtSchedule.model_fields}
    assert {key for key in keys if key not in PAGE} == set()


def test_every_recipe_is_there() -> None:
    plain = {name.removeprefix("scalr-plus-") for name in recipe_names()}
    assert {name for name in plain if f"`{name}`" not in PAGE} == set()


def test_the_example_of_a_base_is_a_recipe(tmp_path: Path) -> None:
    text = next(block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "base:" in block)
    (tmp_path / "mine.yaml").write_text(text)
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert isinstance(recipe, SegmentRecipe)
    assert (recipe.epochs, recipe.fraction, recipe.layer_decay) == (90, 0.01, 0.95)
    assert (recipe.student.name, recipe.student.drop_path) == ("waffleiron-48-256", 0.2)
