"""SemanticPOSS: campus scans of a 40-beam Pandora with labels, no pictures; any part of it is a data set.

Licence of the data: the terms of its download page (POSS group, Peking University); none of it comes with this package.

    SemanticPOSS/
      sequences/00/velodyne/000001.bin    float32 x y z intensity (0-255); sequences 00 to 05, numbers from 1
      sequences/00/labels/000001.label    uint32: class in the low 16 bits, instance in the high ones
      sequences/00/tag/000001.tag         not read

A scan lists returns alone: the cells of the 40 x 1800 range image that have one are marked in ``tag``, so nothing is
padded. What differs from the published loaders: they replace the intensity by ones; here it is as recorded.
"""

from __future__ import annotations

from pathlib import Path

from lidistill import taxonomy as class_lists
from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.fractions import strided, with_fractions
from lidistill.datasets.source import folder
from lidistill.sensing.sensors import sensor

NAME = "semantic-poss"
LAYOUT = "SemanticPOSS: sequences/00/velodyne/000001.bin (and labels/ beside velodyne/)"
SPLITS = {"train": ("00", "01", "02", "04", "05"), "val": ("03",)}


def open_semantic_poss(path: Path, classes: str | None = None) -> kitti.Sequences:
    """Open ``path``, ``path/dataset`` or ``path/dataset/sequences``; classes ``poss-13`` unless others are asked for.

    Raises ``InputError`` when no scan is found.
    """
    folder(path, LAYOUT)
    places = (path / "dataset" / "sequences", path / "sequences", path)
    root, frames = kitti.find_sequences(path, places, sorted(sum(SPLITS.values(), ())), LAYOUT)
    return kitti.Sequences(
        spec=f"{NAME}:{path}",
        name=NAME,
        root=root,
        sensor=sensor("pandora"),
        taxonomy=class_lists.load(classes or "poss-13", NAME),
        frames=frames,
        splits=with_fractions(kitti.splits_by_sequence(frames, SPLITS), strided),
    )
