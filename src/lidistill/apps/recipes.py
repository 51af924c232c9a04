"""``lidistill recipes``: what recipes there are and what they say; and which one a verb follows."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from lidistill.errors import InputError
from lidistill.training.recipe import AnyRecipe, change_recipe, load_recipe
from lidistill.training.recipe_file import read_values, recipe_names, recipe_text
from lidistill.training.run import Run
from lidistill.training.run_folder import RunFolder

log = logging.getLogger("lidistill")
DISTIL, ADAPT = "scalr-plus", "muddos"
"""The recipes that pretrain and adapt follow when none is named; see ``segment.default_recipe`` for those of labels."""
HEAD = "head"
"""Folder of the head that adapt trains on the source, beside its run: ``OUT-head``."""


def recipes(name: str | None = None) -> str:
    """The built-in recipes, a line each, or one with all that it says (checked); ``InputError`` for another name.

    One that has a ``base`` is shown with what it takes over from it.
    """
    if name is not None:
        load_recipe(name)
        return _effective(name)
    known = recipe_names()
    width = max(map(len, known))
    return "\n".join(f"{one:{width}} {recipe_text(one).splitlines()[0].removeprefix('# ')}" for one in known)


def choose(
    recipe: str | None,
    default: str,
    changes: Sequence[str],
    *,
    out: str | Path,
    resume: bool,
    kind: type[RunFolder[Any]] = Run,
) -> AnyRecipe:
    """The recipe that a verb follows: the named one, or ``default``, after ``changes`` (``key=value``).

    A run that is resumed without naming a recipe follows its own; ``kind`` of run folder.
    """
    there = (Path(out) / "recipe.yaml").is_file()
    if resume and not begun(out):
        log.warning("--resume: %s holds no run to go on with; a new one starts there", out)
    if resume and recipe is None and there:
        own: AnyRecipe | None = kind.open(out).config.recipe
        if own is not None:
            return change_recipe(own.model_dump(mode="json"), changes, str(out))
    return load_recipe(recipe or default, changes)


def begun(out: str | Path) -> bool:
    """Whether ``out`` is a run, if only the head that ``adapt`` trains first."""
    return any((Path(folder) / "recipe.yaml").is_file() for folder in (out, f"{out}-{HEAD}"))


def overrides(
    *, teacher: str | None = None, student: str | None, epochs: int | None, seed: int | None, set: Sequence[str]
) -> list[str]:
    """The common options as recipe overrides; ``--set`` comes last and wins. Names of teachers are parted by commas."""
    if isinstance(set, str):
        raise InputError(f"set = {set!r}: expected a list of such texts, [{set!r}]")
    if teacher is not None and "," in teacher:
        teacher = json.dumps([name.strip() for name in teacher.split(",")])  # JSON is YAML
    options = {"teacher": teacher, "student": student, "epochs": epochs, "seed": seed}
    return [f"{key}={value}" for key, value in options.items() if value is not None] + list(set)


def differing(made: AnyRecipe, asked: AnyRecipe, *, but: Collection[str]) -> list[str]:
    """Keys in which two recipes differ, of all ``but`` those that a run has from elsewhere."""
    there, wanted = (one.model_dump(mode="json", exclude=set(but)) for one in (made, asked))
    return sorted(key for key in there | wanted if there.get(key) != wanted.get(key))


def _effective(name: str) -> str:
    text = recipe_text(name).rstrip()
    base = yaml.safe_load(text).get("base")
    if base is None:
        return text
    comments = [line for line in text.splitlines() if line.startswith("#")]
    values = yaml.safe_dump(read_values(name), sort_keys=False, default_flow_style=None, width=120)
    return "\n".join([*comments, f"# {base}, and what differs:", values]).rstrip()
