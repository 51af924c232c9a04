"""Settings of adaptation by name: which data, the classes that are learned, the classes that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from lidistill.errors import InputError, nearest


@dataclass(frozen=True)
class Setting:
    """A labelled ``source`` and a ``target`` without labels.

    ``learned``: the class list that the source is read in; ``compared``: that in which predictions and labels of the
    target meet, None where it is the same one. Learned classes that have no place there are never predicted.
    """

    name: str
    source: str
    target: str
    learned: str
    compared: str | None = None

    def spec(self, part: str) -> str:
        """How the ``source`` or the ``target`` is opened, with ``{data}`` for the folder that holds all data sets."""
        template: str = _document()["data"][getattr(self, part)]
        return template

    def open(self, part: str, data: str | Path) -> str:
        """The same, below the folder ``data``."""
        return self.spec(part).format(data=data)


def setting_names() -> tuple[str, ...]:
    """All names: the published settings, then those of the synthetic city."""
    return tuple(_document()["settings"])


def load_setting(name: str) -> Setting:
    """The setting called ``name``; raises ``InputError`` with the nearest one, or all of them."""
    if name not in setting_names():
        raise InputError(f"there is no setting {name!r}{nearest(name, setting_names())}")
    return Setting(name, **_document()["settings"][name])


@cache
def _document() -> Any:
    return yaml.safe_load((resources.files("lidistill.evaluation") / "settings.yaml").read_text(encoding="utf-8"))
