"""What makes a student feature good: one file per method, found by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lidistill.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    Objective = Callable[[Tensor, Tensor], Tensor]

BUILT_IN = {
    "similarity": "lidistill.objectives.similarity:similarity",
    "ppkt": "lidistill.objectives.ppkt:ppkt",
}
OF_SUPERPIXELS = ("slidr", "st-slidr", "seal")
"""Those that compare superpixels, not pixels: the training loop calls them."""
OF_CLASSES = ("fskd",)
"""Those that compare what a classifier reads from the features, too: the training loop calls them."""
OF_SWEEPS = ("seal",)
"""Those that compare two sweeps of a drive."""
UNIT = {"ppkt", *OF_SUPERPIXELS}
"""Those that want unit vectors."""
GROUP = "lidistill.objectives"


def names() -> tuple[str, ...]:
    """Names that ``load`` knows: the built-in objectives and those of installed plug-ins."""
    plug_ins = (point.name for point in entry_points(group=GROUP))
    return tuple(sorted({*BUILT_IN, *OF_SUPERPIXELS, *OF_CLASSES, *plug_ins}))


def load(name: str) -> Objective:
    """Return the distillation objective called ``name``: (student (P, D), teacher (P, D)) -> scalar loss.

    Third parties add one through an entry point of the group ``lidistill.objectives``. Raises ``InputError``
    naming the nearest known objective when there is none of this name.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        built_in: Objective = getattr(import_module(module), attribute)
        return built_in
    for point in entry_points(group=GROUP, name=name):
        plug_in: Objective = point.load()
        return plug_in
    raise InputError(f"there is no objective {name!r}{nearest(name, names())}")
