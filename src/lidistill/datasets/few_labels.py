"""A few labelled scans: a folder of ``.label`` files beside recordings that have no labels, or others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets.scans import CLASS_BITS
from lidistill.datasets.source import folder
from lidistill.errors import InputError, nearest
from lidistill.sensing.files import read_labels
from lidistill.sensing.frame import IGNORE

if TYPE_CHECKING:
    from lidistill.datasets.rig import Rig

LAYOUT = "a folder of .label files that are named like scans (uint32 a point, the class in the low 16 bits)"
HELD_OUT = 5
"""Without a labelled validation scan every fifth labelled scan is held out."""


def label_files(path: Path, stems: Sequence[str]) -> tuple[int, ...]:
    """Positions in ``stems`` (names of all scans, sorted) of those with a file in ``path``.

    Raises ``InputError`` when there is no folder, no label file in it, or one that is named like no scan.
    """
    names = {entry.stem for entry in folder(path, LAYOUT).iterdir() if entry.suffix == ".label"}
    if not names:
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(f"{path}: no label file, expected {LAYOUT}; found {found}")
    strange = sorted(names.difference(stems))
    if strange:
        near = nearest(strange[0], stems)
        hint = near if "did you mean" in near else f"; scans are called like {stems[0]!r}"
        raise InputError(f"{path / strange[0]}.label: no scan is called {strange[0]!r}{hint}")
    return tuple(row for row, stem in enumerate(stems) if stem in names)


def labelled_splits(splits: Mapping[str, tuple[int, ...]], labelled: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The splits of the ``labelled`` rows alone.

    ``val`` and ``test`` keep what they have, ``train`` takes all else. Without a ``val`` that has labels, every fifth
    of the others is held out as ``val``, from the fifth on; fewer than five are all for training.
    """
    kept = {name: tuple(row for row in splits.get(name, ()) if row in labelled) for name in ("val", "test")}
    kept = {name: rows for name, rows in kept.items() if rows}
    rest = tuple(row for row in labelled if row not in kept.get("val", ()) + kept.get("test", ()))
    if "val" not in kept and len(rest) >= HELD_OUT:
        kept["val"] = rest[HELD_OUT - 1 :: HELD_OUT]
        rest = tuple(row for row in rest if row not in kept["val"])
    return {"train": rest, **kept}


def count_labels(rig: Rig) -> NDArray[np.int64]:
    """(C,) labelled points of each class in the splits ``train`` and ``val``, after looking into every file.

    A raw id that the class list does not know is an error here, unless it is 255 (no class): with few labels, points
    that are lost silently are many. Raises ``InputError`` for such an id, a scan or label file that cannot be read, as
    many labels as the scan has points, and a file that labels nothing.
    """
    taxonomy = rig.taxonomy
    assert taxonomy is not None
    counts = np.zeros(len(taxonomy.classes), np.int64)
    for row in sorted({*rig.splits["train"], *rig.splits.get("val", ())}):
        path = rig.label_file(row)
        frame = rig[row]
        ids, points = np.unique(read_labels(path) & CLASS_BITS, return_counts=True)
        for raw, many in zip(ids.tolist(), points.tolist(), strict=True):
            if raw not in taxonomy.ids and raw != IGNORE:
                raise InputError(
                    f"{path}: {many} points have the id {raw}, which the class list {taxonomy.name!r} does not know "
                    f"(ids {_ranges(taxonomy.ids)}; 255 = no class); correct it, or name another list with --classes"
                )
        assert frame.labels is not None
        here = np.bincount(frame.labels[frame.labels != IGNORE], minlength=len(counts))
        if not here.any():
            raise InputError(f"{path}: none of its {len(frame)} points has a class; label some, or move the file away")
        counts += here
    return counts


def _ranges(ids: frozenset[int]) -> str:
    """``{0, 1, 2, 5}`` -> ``"0-2, 5"``."""
    said: list[list[int]] = []
    for number in sorted(ids):
        if said and number == said[-1][1] + 1:
            said[-1][1] = number
        else:
            said.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in said)
