"""``ClassMap``: where the classes of a network and the labels of other data meet: a class list for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lidistill import taxonomy as class_lists
from lidistill.errors import InputError
from lidistill.evaluation.inference import Ids, Scanned
from lidistill.sensing.frame import IGNORE
from lidistill.taxonomy import Taxonomy

Outside = Literal["forbid", "miss"]
"""What becomes of a predicted class that has no place in the common list.

``forbid``: it is never predicted, the largest output among the other classes decides (TTYD). ``miss``: the prediction
stands and counts as wrong, a false negative of the true class.
"""


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The common ``classes`` (K names), and what goes to them.

    ``table`` (C,) uint8 takes the network's classes there, 255 = outside; ``labels`` (L,) uint8 the train ids of the
    data, None where the data is read in the common classes already.
    """

    name: str
    classes: tuple[str, ...]
    table: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None
    outside: Outside

    def read(self, item: Scanned) -> tuple[Ids, Ids]:
        """Truth and prediction (N,) of a scan as ids of the common classes; 255 = none of them."""
        truth = item.labels.numpy()
        if self.labels is not None:
            truth = np.append(self.labels, np.uint8(IGNORE))[np.minimum(truth, len(self.labels))]
        allowed = self.table != IGNORE if self.outside == "forbid" else None
        return truth, self.table[item.prediction(allowed)]

    def members(self, classes: Sequence[str]) -> dict[str, list[str]]:
        """Common class -> those of the network's ``classes`` (C names) that go there; at last those ``outside``."""
        places = [*self.classes, "outside"]
        names = [places[min(place, len(self.classes))] for place in self.table.tolist()]
        return {place: [c for c, name in zip(classes, names, strict=True) if name == place] for place in places}


def direct(name: str, data: Taxonomy) -> bool:
    """Whether the class list ``name`` can be read from the raw ids of the data, without its own classes between."""
    return data.source in class_lists.sources(name)


def class_map(
    name: str, classes: Sequence[str], learned: str | None, data: Taxonomy, outside: Outside = "forbid"
) -> ClassMap:
    """The map into class list ``name`` (built in, or a YAML file) of a network and of ``data``.

    The network has ``classes``, which are those of the list ``learned``. Raises ``InputError`` when the list has no
    table for one of the two, or one with other names, or no class of the network is inside.
    """
    common = class_lists.load(name)
    table = merges(name, classes, learned or "unnamed", "the run")
    if (table == IGNORE).all():
        raise InputError(f"map {name}: none of the run's classes has a place in it; choose another map")
    labels = None if direct(name, data) else merges(name, data.classes, data.name, "the data")
    return ClassMap(common.name, common.classes, table, labels, outside)


def merges(name: str, classes: Sequence[str], listed: str, whose: str) -> NDArray[np.uint8]:
    """(C,) uint8: the ids in class list ``name`` of the ``classes`` (C names) of the list ``listed``, 255 = none."""
    if class_lists.load(name).classes == tuple(classes):
        return np.arange(len(classes), dtype=np.uint8)
    try:
        rows = class_lists.raw_names(name, listed)
        table = class_lists.load(name, listed).apply(np.arange(len(classes)))
    except InputError as error:
        raise InputError(
            f"{error}; {whose} has the classes of {listed!r}: add a source {listed!r} to the map, a row "
            "`id: [class there, class or ignore]` for each of them"
        ) from None
    for number, row in rows.items():
        if number >= len(classes) or classes[number] != row:
            found = f"is {classes[number]!r}" if number < len(classes) else f"is not there ({len(classes)} classes)"
            raise InputError(
                f"map {name}: source {listed!r} calls class {number} {row!r}, but in {whose} it {found}; correct the "
                "map or choose another one"
            )
    return table


def maps_between(learned: str | None, data: Taxonomy) -> list[str]:
    """The built-in class lists that predictions of the list ``learned`` and the data can both be read in."""

    def reads(name: str) -> bool:
        try:
            class_lists.load(name, learned or "unnamed")
        except InputError:
            return name == learned
        return True

    return [name for name in class_lists.names() if direct(name, data) and reads(name)]
