"""``--labels FOLDER`` of ``probe`` and ``finetune``: a user's own labelled scans beside a rig without labels."""

from __future__ import annotations

from pathlib import Path

from lidistill.datasets.few_labels import HELD_OUT, count_labels
from lidistill.datasets.rig import Rig, labels_spec
from lidistill.datasets.source import open_source, parse_spec
from lidistill.errors import InputError


def with_labels(data: str, labels: str | Path) -> str:
    """How ``data``, a rig folder, is asked for with the label files in ``labels``."""
    name, path, _ = parse_spec(data, "rig")
    if name != "rig":
        raise InputError(f"--labels {labels}: is for a rig folder; the data set {name} brings its own labels")
    return labels_spec(str(path), str(labels))


def label_report(spec: str, classes: str | None) -> str:
    """What the labels hold and which scans are held out; every file is looked into before anything is trained.

    Raises ``InputError`` for one that cannot be used (``count_labels``).
    """
    rig = open_source(spec, classes)
    assert isinstance(rig, Rig)
    assert rig.taxonomy is not None
    counts = dict(zip(rig.taxonomy.classes, count_labels(rig).tolist(), strict=True))
    present = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    absent = ", ".join(name for name, count in counts.items() if not count)
    lines = [f"labelled points: {present}" + (f"; none of: {absent}" if absent else "")]
    held_out = [rig.stems[row] for row in rig.splits.get("val", ())]
    if held_out:
        lines.append(f"held out to evaluate on: {', '.join(held_out)}")
    else:
        lines.append(f"fewer than {HELD_OUT} labelled scans: all are learned from, so nothing will say how good it is")
    return "\n".join(lines)
