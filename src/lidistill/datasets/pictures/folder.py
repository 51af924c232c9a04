"""A user's own pictures and masks (``docs/reference/pictures.md``).

my_pictures/
  classes.yaml             what the ids in the masks mean: a class list, or a list of names
  images/train/0001.jpg    splits are the folders below images/; without folders all pictures are the split train
  masks/train/0001.png     optional: one channel of ids (8 or 16 bits, or a palette)
"""

from __future__ import annotations

from pathlib import Path

import yaml

from lidistill import taxonomy as class_lists
from lidistill.datasets.pictures.pictures import PictureFiles
from lidistill.datasets.source import folder
from lidistill.errors import InputError
from lidistill.taxonomy import Taxonomy

LAYOUT = "a folder with images/ (and masks/, classes.yaml)"
SUFFIXES = (".jpg", ".jpeg", ".png")


def open_picture_folder(path: Path, classes: str | None = None) -> PictureFiles:
    """Open the folder; a picture without a mask has no classes, a folder without masks none at all.

    Raises ``InputError`` when there is no picture, no mask is named like one, two pictures have one name, or masks
    are there and ``classes.yaml`` is not.
    """
    folder(path, LAYOUT)
    images = _by_stem(path, path / "images")
    if not images:
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(f"{path}: no picture found, expected {LAYOUT}; found {found}")
    masks = _by_stem(path, path / "masks")
    if masks and not masks.keys() & images.keys():
        raise InputError(
            f"{path / 'masks'}: no mask is named like a picture; expected {next(iter(images))}.png, "
            f"found {next(iter(masks.values()))}"
        )
    name = path.resolve().name
    files = tuple(
        (stem.split("/")[0] if "/" in stem else "train", f"{name}/{stem}", image, masks.get(stem, ""))
        for stem, image in images.items()
    )
    return PictureFiles(str(path), name, path, _taxonomy(path, classes) if masks else None, files)


def _by_stem(root: Path, place: Path) -> dict[str, str]:
    """Path below ``place`` without suffix -> path below ``root``, in the order of the former."""
    found: dict[str, str] = {}
    for file in sorted(place.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        stem = file.relative_to(place).with_suffix("").as_posix()
        if stem in found:
            raise InputError(f"{root / found[stem]} and {file.name} have the same name; keep one of them")
        found[stem] = str(file.relative_to(root))
    return found


def _taxonomy(root: Path, classes: str | None) -> Taxonomy:
    """The folder's own classes, or ``classes`` read from the same raw ids."""
    path = root / "classes.yaml"
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); masks need it to say what their ids mean "
            "(docs/reference/pictures.md)"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    if not isinstance(content, list):
        own = class_lists.load(str(path))
        return own if classes in (None, own.name) else class_lists.load(str(classes), own.source)
    own = class_lists.from_names([str(name) for name in content], name=root.resolve().name)
    if classes in (None, own.name):
        return own
    raise InputError(
        f"{path}: a list of names has no map to {classes!r}; write a class list (docs/reference/taxonomies.md)"
    )
