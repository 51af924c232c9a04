"""Options that several verbs share: their types and what the help says of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import UseAppendAction


def _behaviour(default: str) -> str:
    """What follows an option's sentence: its default, unless the sentence or being a switch says it."""
    if default in {"None", "False"}:
        return ""
    return f"(default: {default})" if default else "(repeatable)"


arg = partial(tyro.conf.arg, help_behavior_hint=_behaviour)

Out = Annotated[Path, arg(metavar="FOLDER", help="Folder to write; made if it does not exist.")]
Set = UseAppendAction[Annotated[tuple[str, ...], arg(metavar="KEY=VALUE", help="Override any key of the recipe.")]]
Overwrite = Annotated[bool, arg(help="Replace what an earlier run left in the folder.")]
Resume = Annotated[bool, arg(help="Go on with the interrupted run in --out, by its own recipe unless one is named.")]
Data = Annotated[str, arg(metavar="SOURCE", help="Rig folder, or NAME:/path such as semantic-kitti:/data/kitti.")]
RunFolder = Annotated[Path, arg(metavar="RUN", help="Folder of a run.")]
Seed = Annotated[int | None, arg(metavar="N", help="Seed of everything random; default: the recipe's.")]
Split = Annotated[str, arg(help="Split of the data.")]
Fraction = Annotated[
    float | None,
    arg(metavar="SHARE", help="Learn from 0.01, 0.05, 0.1, 0.25 or 0.5 of the training scans; default: the recipe's."),
]
Labels = Annotated[
    Path | None, arg(metavar="FOLDER", help="Your own .label files for some scans of a rig: those alone are used.")
]
Classes = Annotated[
    str | None,
    arg(metavar="NAME", help="Class list to read the labels with, a name or a .yaml file; default: its own."),
]
