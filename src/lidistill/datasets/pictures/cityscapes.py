"""Cityscapes, and data sets in its layout: pictures and masks of label ids.

Licence of the data: Cityscapes terms (non-commercial research); nothing of it comes with this package.

    cityscapes/
      leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png        train, val, test (and train_extra)
      gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png         optional; gtCoarse with ?labels=gtCoarse

A picture without a mask has no classes. Splits are the folders below ``leftImg8bit``.
"""

from __future__ import annotations

from pathlib import Path

from lidistill import taxonomy as class_lists
from lidistill.datasets.pictures.pictures import PictureFiles
from lidistill.datasets.source import folder
from lidistill.errors import InputError, nearest

NAME = "cityscapes"
LAYOUT = "Cityscapes: leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png beside gtFine/"
IMAGES = "leftImg8bit"
LABELS = ("gtFine", "gtCoarse")


def open_cityscapes(path: Path, classes: str | None = None, *, labels: str = "gtFine") -> PictureFiles:
    """Open the folder that holds ``leftImg8bit``; ``labels`` is ``gtFine`` or ``gtCoarse``.

    Raises ``InputError`` when there is no picture, or the folder of labels is there and none of them fits a picture.
    """
    if labels not in LABELS:
        raise InputError(
            f"{NAME}:{path}: labels={labels}: expected one of {', '.join(LABELS)}{nearest(labels, LABELS)}"
        )
    folder(path, LAYOUT)
    files = []
    for image in sorted((path / IMAGES).glob(f"*/*/*_{IMAGES}.png")):
        split, city = image.relative_to(path / IMAGES).parts[:2]
        stem = image.name.removesuffix(f"_{IMAGES}.png")
        mask = Path(labels, split, city, f"{stem}_{labels}_labelIds.png")
        files.append(
            (split, f"{NAME}/{split}/{stem}", str(image.relative_to(path)), str(mask) if (path / mask).exists() else "")
        )
    if not files:
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(f"{path}: no picture found, expected {LAYOUT}; found {found}")
    if (path / labels).is_dir() and not any(mask for *_, mask in files):
        raise InputError(
            f"{path / labels}: no mask belongs to a picture; expected {mask} for {image.relative_to(path)}"
        )
    taxonomy = class_lists.load(classes or "cityscapes-19", NAME)
    spec = f"{NAME}:{path}" + f"?labels={labels}" * (labels != LABELS[0])
    return PictureFiles(spec, NAME, path, taxonomy, tuple(files))
