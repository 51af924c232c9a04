"""``lidistill recipes``: what recipes there are and what they say."""

from __future__ import annotations

import yaml

from lidistill.training.recipe import load_recipe
from lidistill.training.recipe_file import read_values, recipe_names, recipe_text


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


def _effective(name: str) -> str:
    text = recipe_text(name).rstrip()
    base = yaml.safe_load(text).get("base")
    if base is None:
        return text
    comments = [line for line in text.splitlines() if line.startswith("#")]
    values = yaml.safe_dump(read_values(name), sort_keys=False, default_flow_style=None, width=120)
    return "\n".join([*comments, f"# {base}, and what differs:", values]).rstrip()
