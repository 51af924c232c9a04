"""The pictures of a rig folder, where they have masks: ``masks/CAMERA/000000.png`` beside ``images/CAMERA/000000.jpg``.

A mask has one channel of the raw ids that the folder's label files have; ``lidistill simulate --masks`` writes such.
Classes, splits and cameras are those of the rig (``docs/reference/rig-folder.md``).
"""

from __future__ import annotations

from pathlib import Path

from lidistill.datasets.pictures.pictures import PictureFiles
from lidistill.datasets.rig import open_rig
from lidistill.errors import InputError

SPLITS = ("train", "val", "test")


def open_rig_pictures(path: Path, classes: str | None = None) -> PictureFiles:
    """Open a rig folder as pictures, camera by camera; those of scans in none of train, val and test are left out.

    Raises ``InputError`` when the rig is faulty, has no picture, no mask that is named like one, or no class list.
    """
    rig = open_rig(path, classes)
    split_of = {row: split for split in SPLITS for row in rig.splits.get(split, ())}
    files = []
    for camera in rig.cameras:
        for row, stem in enumerate(rig.stems):
            if row not in split_of or not camera.files[row]:
                continue
            image, mask = f"images/{camera.name}/{camera.files[row]}", f"masks/{camera.name}/{stem}.png"
            there = mask if (rig.root / mask).is_file() else ""
            files.append((split_of[row], f"{rig.name}/{stem}/{camera.name}", image, there))
    if not any(mask for *_, mask in files):
        raise InputError(
            f"{path}: no picture of this rig has a mask, expected masks/CAMERA/000000.png for "
            "images/CAMERA/000000.jpg (lidistill simulate --masks writes them)"
        )
    if rig.taxonomy is None:
        raise InputError(f"{path / 'rig.yaml'}: has no classes, which say what the ids in the masks mean; add them")
    return PictureFiles(str(path), rig.name, rig.root, rig.taxonomy, tuple(files))
