"""Recipe files: where they are, and what one says on top of the recipe that it names as its ``base``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from lidistill.errors import InputError, nearest
from lidistill.teachers.catalog import apart


def recipe_names() -> list[str]:
    """Names of the built-in recipes."""
    folder = resources.files("lidistill.training") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """The YAML text of the built-in recipe ``name`` or of the file at that path, as it is written."""
    if name in recipe_names():
        return (resources.files("lidistill.training") / "recipes" / f"{name}.yaml").read_text()
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"no recipe {name!r}{nearest(name, recipe_names())} (or give the path of a .yaml file)")
    if not path.is_file():
        raise InputError(f"recipe file {path} does not exist; built-in recipes: {', '.join(recipe_names())}")
    return path.read_text()


def read_values(name: str, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the recipe says, keys and values: those of its ``base``, if it names one, and over them its own.

    Parts (student, schedule, ...) are gone through key by key, except one of another ``kind``, which takes the
    place of the base's. A ``base`` is a built-in name or a file, from the folder of the one that names it. A recipe
    that has one may leave out its name, which is then that of its file. ``chain``: the recipes that led here.

    Raises ``InputError`` for text that is no recipe and for bases that lead back.
    """
    if name in chain:
        raise InputError(f"recipe {chain[0]}: its bases lead in a circle ({' -> '.join((*chain, name))}); remove one")
    try:
        values = yaml.safe_load(recipe_text(name))
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"recipe {name}: expected keys and values, found {type(values).__name__}")
    if "base" not in values:
        return values
    base = values.pop("base")
    if not isinstance(base, str):
        raise InputError(f"recipe {name}: base = {base!r}: expected the name of a recipe or the path of a .yaml file")
    if base not in recipe_names() and name not in recipe_names():
        base = str(Path(name).parent / base) if Path(base).suffix in {".yaml", ".yml"} else base
    return over(read_values(base, (*chain, name)), {"name": Path(name).stem, **values})


def over(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``changes`` on top of ``values``, part by part; neither is changed."""
    changed = dict(values)
    for key, new in changes.items():
        old = {"name": values[key]} if isinstance(values.get(key), str) else values.get(key)
        if not (isinstance(old, dict) and isinstance(new, dict)):
            changed[key] = named(values.get(key), new)
        elif new.get("kind", old.get("kind")) != old.get("kind"):
            changed[key] = new
        else:
            changed[key] = over(named(old, new["name"]) if "name" in new else old, new)
    return changed


def named(part: Any, value: Any) -> Any:
    """``value`` for ``part``; one that is only a name keeps what the recipe says of the part otherwise."""
    if isinstance(value, list):
        return [named(part, one) for one in value]
    if not (isinstance(part, dict) and isinstance(value, str)):
        return value
    other = {"depth", "width"} | ({"layer", "positions"} if apart(str(part.get("name")), value) else set())
    if str(part.get("name")).partition("-")[0] != value.partition("-")[0]:  # a student of another kind
        other |= {"voxels", "in_channels"}
    return {**{key: old for key, old in part.items() if key not in other}, "name": value}
