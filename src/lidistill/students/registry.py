"""Students by name: ``waffleiron-48-768`` is a WaffleIron of depth 48 and width 768."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lidistill.errors import InputError, nearest
from lidistill.students.config import StudentConfig

if TYPE_CHECKING:
    from lidistill.students.student import Student

GROUP = "lidistill.students"
"""Entry points of third parties: kind of student -> function (StudentConfig) -> Student."""

NAME = re.compile(r"(?P<kind>[a-z][a-z0-9_]*)-(?P<depth>\d+)-(?P<width>\d+)")
VOXEL_KINDS, VOXEL_DEPTHS = ("minkunet", "spvcnn"), (18, 34)
LAYER_NORM_FROM = 768
"""Batch norm is numerically unstable in models of this width and beyond (ScaLR, section 4.1)."""


def student_kinds() -> tuple[str, ...]:
    """Kinds that ``student_config`` knows: built-in and those of installed plug-ins."""
    return tuple(sorted({"waffleiron", *VOXEL_KINDS, *(point.name for point in entry_points(group=GROUP))}))


def student_config(name: str, **overrides: Any) -> StudentConfig:
    """Describe the student called ``name``: ``KIND-DEPTH-WIDTH``; ``overrides`` are fields of ``StudentConfig``.

    ``norm`` is ``batch`` below a width of 768 and ``layer`` from there on, as published, unless it is given.
    Raises ``InputError`` for another name, an unknown field or a value out of range.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"student {name!r}: expected KIND-DEPTH-WIDTH, for example waffleiron-48-768 or waffleiron-6-64"
        )
    kind, depth, width = match["kind"], int(match["depth"]), int(match["width"])
    if kind not in student_kinds():
        raise InputError(f"student {name!r}: there is no kind {kind!r}{nearest(kind, student_kinds())}")
    for field in overrides:
        if field not in StudentConfig.model_fields:
            raise InputError(f"student {name}: unknown key {field!r}{nearest(field, StudentConfig.model_fields)}")
    if kind in VOXEL_KINDS and depth not in VOXEL_DEPTHS:
        raise InputError(f"student {name}: a {kind} is {' or '.join(map(str, VOXEL_DEPTHS))} deep")
    given = {"norm": "layer" if width >= LAYER_NORM_FROM else "batch", **overrides}
    try:
        return StudentConfig(**{"kind": kind, "depth": depth, "width": width, **given})
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        raise InputError(f"student {name}: {field}{': ' if field else ''}{message[0].lower()}{message[1:]}") from None


def build_student(config: StudentConfig) -> Student:
    """Build the student that ``config`` describes, with random weights."""
    if config.kind == "waffleiron":
        from lidistill.students.waffleiron import WaffleIron

        return WaffleIron(config)
    if config.kind in VOXEL_KINDS:
        from lidistill.students.minkunet import MinkUNet

        return MinkUNet(config)
    for point in entry_points(group=GROUP, name=config.kind):
        plug_in: Callable[[StudentConfig], Student] = point.load()
        return plug_in(config)
    raise InputError(f"there is no kind of student {config.kind!r}{nearest(config.kind, student_kinds())}")
