"""Which classes of a class list are flat ground, which are vehicles: by name, for every list that comes with us."""

from __future__ import annotations

from collections.abc import Sequence

from lidistill.errors import InputError
from lidistill.sensing.frame import Frame

GROUND = {
    *("driveable surface", "driveable surface / road", "driveable ground", "road", "road marking", "parking"),
    *("driveway", "sidewalk", "other flat", "other ground", "ground"),
}
"""Flat and sealed: no terrain, no vegetation."""
VEHICLES = {
    *("bicycle", "bike", "bus", "car", "caravan", "construction vehicle", "motorcycle", "other vehicle"),
    *("oth. vehicle", "trailer", "train", "truck", "2 wheeled", "4 wheeled"),
}
"""Also two-wheelers, as in Robo3D."""


def ids_of(kind: set[str], what: str, frame: Frame, classes: Sequence[str] | None) -> tuple[int, ...]:
    """Train ids of the ``classes`` that are in ``kind``.

    Raises ``InputError``, calling them ``what``, when the frame has no labels or none of the classes is one.
    """
    if frame.labels is None or classes is None:
        raise InputError(
            f"{frame.token}: this corruption must know which points are {what}, but there are no labels; "
            "leave it out or take labelled scans"
        )
    ids = tuple(i for i, name in enumerate(classes) if _plain(name) in kind)
    if not ids:
        raise InputError(f"{frame.token}: none of the classes is known as {what} ({', '.join(classes)}); leave it out")
    return ids


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")
