"""SynLiDAR, full or sub-set: synthetic 64-beam scans with labels, no pictures; any part of it is a data set.

Licence of the data: the terms of its download page (NTU Singapore); none of it comes with this package.

    SynLiDAR/                             or SubDataset/, with or without sequences/ below
      00/velodyne/000000.bin              float32 x y z intensity; sequences 00 to 12
      00/labels/000000.label              uint32 class 0-32, no instances

There is no official validation split. What differs from the published loaders: by default every scan is ``train``;
``split=pseudo-val`` keeps sequence 08 as ``val`` (SALUDA, TTYD). CoSMix drew a tenth of every sequence at random for
training and a hundredth of the rest for validation, once, which no rule reproduces: ``frames=FILE`` reads such a list.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from lidistill import taxonomy as class_lists
from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.fractions import strided, with_fractions
from lidistill.datasets.source import folder
from lidistill.errors import InputError, nearest
from lidistill.sensing.sensors import sensor

NAME = "synlidar"
LAYOUT = "SynLiDAR: 00/velodyne/000000.bin, or sequences/00/... (and labels/ beside velodyne/)"
SEQUENCES = tuple(f"{sequence:02d}" for sequence in range(13))
PSEUDO_VAL = "08"
CHOICES = ("all", "pseudo-val")


def open_synlidar(
    path: Path, classes: str | None = None, *, split: str = "all", frames: str = "", reach: str = ""
) -> kitti.Sequences:
    """Open ``path`` or the sub-set in it; classes ``synlidar-19`` (those of SemanticKITTI) unless others are asked for.

    ``split``: ``all`` scans are ``train``, or ``pseudo-val``: sequence 08 is ``val``. ``frames``: a JSON file
    ``{"train": {"00": [249, ...]}, "validation": {...}}`` of scan numbers instead. ``reach``: points farther from
    the lidar than so many metres are left out. Raises ``InputError`` when no scan is found, and for an unknown option,
    a damaged list, or a ``reach`` that is no length.
    """
    folder(path, LAYOUT)
    given = {"split": split * (split != "all"), "frames": quote(frames), "reach": reach}
    query = "&".join(f"{key}={value}" for key, value in given.items() if value)
    spec = f"{NAME}:{path}" + f"?{query}" * bool(query)
    if split not in CHOICES:
        raise InputError(f"{spec}: unknown split {split!r}{nearest(split, CHOICES)}")
    metres = kitti.parse_reach(spec, reach)
    places = [path / below for below in ("", "sequences", "SubDataset", "SubDataset/sequences")]
    root, scans = kitti.find_sequences(path, places, SEQUENCES, LAYOUT)
    val = PSEUDO_VAL if split == "pseudo-val" else None
    parts = {"train": [s for s in SEQUENCES if s != val], "val": [s for s in SEQUENCES if s == val]}
    splits = _listed(Path(frames).expanduser(), scans) if frames else kitti.splits_by_sequence(scans, parts)
    return kitti.Sequences(
        spec=spec,
        name=NAME,
        root=root,
        sensor=sensor("synlidar-64"),
        taxonomy=class_lists.load(classes or "synlidar-19", NAME),
        frames=scans,
        splits=with_fractions(splits, strided),
        reach=metres,
    )


def _listed(file: Path, scans: kitti.Names) -> dict[str, tuple[int, ...]]:
    """The splits of a list, as far as their scans are here, in the order of the data set."""
    try:
        document = json.loads(file.read_bytes())
        wanted = {
            split: {(sequence, int(number)) for sequence, numbers in document[key].items() for number in numbers}
            for split, key in (("train", "train"), ("val", "validation"))
        }
    except OSError as error:
        raise InputError(f"{file}: the list cannot be read ({error.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{file}: not a list of scans ({type(error).__name__}: {error}); expected {{"train": {{"00": [249, ...]}}, '
            '"validation": {...}} in JSON'
        ) from None
    numbered = [(sequence, int(stem)) if stem.isdecimal() else None for sequence, stem in scans]
    found = {split: tuple(i for i, key in enumerate(numbered) if key in keys) for split, keys in wanted.items()}
    if not any(found.values()):
        raise InputError(f"{file}: none of the scans it lists is here; check that the list belongs to this data set")
    return {split: rows for split, rows in found.items() if rows}
