"""``PictureSource``: pictures with a class for every pixel, to teach an image network what the classes are.

Zero-shot distillation (FSKD) needs no lidar here: a network learns the classes on such pictures, then teaches a lidar
network through the cameras of another data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lidistill.datasets.scans import image_size, read_image
from lidistill.datasets.source import check_options, parse_spec
from lidistill.errors import InputError, nearest
from lidistill.taxonomy import Taxonomy

BUILTIN = {
    "folder": "folder:open_picture_folder",
    "rig": "rig:open_rig_pictures",
    "cityscapes": "cityscapes:open_cityscapes",
    "nuimages": "nuimages:open_nuimages",
}
"""Name -> module in this room and the function that opens it."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture: ``classes`` (height, width) uint8 train ids, 255 = ignore, or None; ``token`` unique and stable."""

    token: str
    load: Callable[[], NDArray[np.uint8]]
    classes: NDArray[np.uint8] | None = None

    def image(self) -> NDArray[np.uint8]:
        """Decode the picture: (height, width, 3) uint8 RGB."""
        return self.load()


class PictureSource(Protocol):
    """Pictures by number, read when asked for; cheap to pickle.

    ``spec`` is how it was asked for, ``name`` what tables call it, ``taxonomy`` the classes (None: no picture has
    any), ``splits`` picture numbers by split name. Reading a damaged picture or mask raises ``InputError`` naming the
    file.
    """

    @property
    def spec(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def taxonomy(self) -> Taxonomy | None: ...  # noqa: D102
    @property
    def splits(self) -> Mapping[str, tuple[int, ...]]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Picture: ...
    def split(self, name: str, /) -> PictureSource: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Pictures that are image files with mask files: ``files`` holds (split, token, image, mask or "")."""

    spec: str
    name: str
    root: Path
    taxonomy: Taxonomy | None
    files: tuple[tuple[str, str, str, str], ...]

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """By the folders that the pictures lie in."""
        return rows_by_split([split for split, *_ in self.files])

    def split(self, name: str) -> PictureSource:
        """The pictures of one split."""
        return take_pictures(self, name)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Picture:
        _, token, image, mask = self.files[index]
        path = str(self.root / image)
        size = image_size(path)
        classes = None
        if mask and self.taxonomy is not None:
            classes = self.taxonomy.apply(read_mask(self.root / mask, *size))
        return Picture(token, partial(read_image, path, *size), classes)


@dataclass(frozen=True, eq=False)
class PictureSplit:
    """The pictures of ``source`` that one of its splits names, in that order."""

    source: PictureSource
    part: str
    rows: tuple[int, ...]

    @property
    def spec(self) -> str:
        """How the whole was asked for."""
        return self.source.spec

    @property
    def name(self) -> str:
        """Name of the whole."""
        return self.source.name

    @property
    def taxonomy(self) -> Taxonomy | None:
        """Classes of the pixels."""
        return self.source.taxonomy

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """Itself alone."""
        return {self.part: tuple(range(len(self.rows)))}

    def split(self, name: str) -> PictureSource:
        """The split itself, by its own name."""
        return take_pictures(self, name)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Picture:
        return self.source[self.rows[index]]


def open_pictures(spec: str, classes: str | None = None) -> PictureSource:
    """Open ``nuimages:/path``, ``cityscapes:/path``, or a plain path: a folder of images and masks, or a rig folder.

    ``classes`` names another class list to map the raw ids to. No picture is read. Raises ``InputError`` for an
    unknown name or option, a path that is not there, and a folder of another layout.
    """
    name, path, options = parse_spec(spec, "rig" if (Path(spec) / "rig.yaml").is_file() else "folder")
    if name not in BUILTIN:
        raise InputError(f"unknown pictures {name!r}{nearest(name, BUILTIN)}")
    module, function = BUILTIN[name].split(":")
    opener: Callable[..., PictureSource] = getattr(import_module(f"lidistill.datasets.pictures.{module}"), function)
    check_options(spec, name, opener, options)
    return opener(path, classes, **options)


def with_masks(pictures: PictureSource) -> PictureSource:
    """Without the pictures that have no mask, where their files tell so before one is read."""
    if not isinstance(pictures, PictureSplit) or not isinstance(pictures.source, PictureFiles):
        return pictures
    files = pictures.source.files
    return PictureSplit(pictures.source, pictures.part, tuple(row for row in pictures.rows if files[row][3]))


def take_pictures(source: PictureSource, name: str) -> PictureSplit:
    """The pictures of one split; raises ``InputError`` naming the splits that there are."""
    splits = source.splits
    if name not in splits:
        there_are = ", ".join(f"{split} ({len(rows)} pictures)" for split, rows in splits.items())
        raise InputError(f"{source.spec}: no split {name!r}; there are: {there_are or 'none'}")
    return PictureSplit(source, name, splits[name])


def rows_by_split(names: list[str]) -> dict[str, tuple[int, ...]]:
    """Numbers by split name, given the split of every picture."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return {name: tuple(rows) for name, rows in found.items()}


def read_mask(path: Path, height: int, width: int) -> NDArray[np.generic]:
    """Raw ids (height, width) of an image of one channel (8 or 16 bits) or with a palette, whose colours are not used.

    Raises ``InputError`` when the file is damaged, has colours, or another size than its picture.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "1", "I", "I;16"):
                raise InputError(
                    f"{path}: the mask has mode {image.mode}, expected one channel of class ids (8 or 16 bits, or a "
                    "palette); write ids, not colours"
                )
            if image.size != (width, height):
                raise InputError(
                    f"{path}: the mask is {image.height} x {image.width}, its picture {height} x {width} (height x "
                    "width); scale one of them (masks by nearest neighbour)"
                )
            return np.array(image, np.uint8) if image.mode == "1" else np.array(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged or no image"
        raise InputError(f"{path}: the mask cannot be read ({reason}); copy the file again or remove it") from None
