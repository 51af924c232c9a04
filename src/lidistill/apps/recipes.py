"""``lidistill recipes``: what recipes there are and what they say."""

from __future__ import annotations

from lidistill.training.recipe import load_recipe, recipe_names, recipe_text


def recipes(name: str | None = None) -> str:
    """The built-in recipes, a line each, or the full text of one (checked). Raises ``InputError`` for another name."""
    if name is not None:
        load_recipe(name)
        return recipe_text(name).rstrip()
    lines = []
    for known in recipe_names():
        what = recipe_text(known).splitlines()[0].removeprefix("# ")
        lines.append(f"{known:14} {what}")
    return "\n".join(lines)
