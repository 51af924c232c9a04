"""nuImages: pictures with instance masks of things and masks of the driveable surface, put into one map of classes.

Licence of the data: CC BY-NC-SA 4.0 (Motional), terms of use of nuscenes.org; nothing of it comes with this package.

    nuimages/
      v1.0-train/    sample.json sample_data.json category.json object_ann.json surface_ann.json
      v1.0-val/      likewise; v1.0-test/ has no annotations, v1.0-mini/ is a small part of the others
      samples/CAM_FRONT/*.jpg, and five more cameras (the key pictures; sweeps/ is not needed)

Splits are the versions that are there: train, val, test, mini. The tables are parsed at the first opening and then
memory-mapped (``index.py``). A map is painted in this order: nothing (ignored), surfaces in the order of their table
(the car itself, ``vehicle.ego``, is ignored), then objects from the largest mask to the smallest, equal ones by token.
Pixels between the annotations are ignored: nothing is said about them. Pictures are used as they were taken, distorted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill import taxonomy as class_lists
from lidistill.datasets.index import Index, open_index
from lidistill.datasets.pictures.nuimages_tables import ANNOTATIONS, LAYOUT_VERSION, NEEDED, read_tables
from lidistill.datasets.pictures.pictures import Picture, PictureSource, rows_by_split, take_pictures
from lidistill.datasets.pictures.run_length import decode_runs, pixels_of
from lidistill.datasets.scans import read_image
from lidistill.datasets.source import folder
from lidistill.errors import InputError
from lidistill.taxonomy import Taxonomy

log = logging.getLogger("lidistill")

NAME = "nuimages"
LAYOUT = "nuImages: v1.0-train/ (or -val, -test, -mini) with its tables, beside samples/"
VERSIONS = ("train", "val", "test", "mini")


@dataclass(frozen=True, eq=False)
class NuImages:
    """Key pictures in the order of the versions and of their tables; ``rows`` holds (version, row of its index)."""

    spec: str
    root: Path
    taxonomy: Taxonomy
    indices: tuple[Index, ...]
    versions: tuple[str, ...]
    rows: NDArray[np.int32]
    name: str = NAME

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The versions that have a picture here."""
        return rows_by_split([self.versions[version] for version in self.rows[:, 0].tolist()])

    def split(self, name: str) -> PictureSource:
        """The pictures of one version."""
        return take_pictures(self, name)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Picture:
        version, row = self.rows[index].tolist()
        columns = self.indices[version]
        height, width = columns["image_size"][row].tolist()
        path = str(self.root / columns.text("image_file", row))
        classes = None
        if columns["annotated"]:
            classes = self.taxonomy.apply(self._raw(version, row, height, width))
        token = f"{NAME}/{self.versions[version]}/{columns.text('image_token', row)}"
        return Picture(token, partial(read_image, path, height, width), classes)

    def _raw(self, version: int, row: int, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width) raw ids: 0 = nothing, then surfaces, then objects, the smallest last."""
        columns = self.indices[version]
        first, end = columns["mask_start"][row : row + 2].tolist()
        masks = [self._mask(version, number, height, width) for number in range(first, end)]
        # Surfaces (rank 0) keep their order; among objects a small one in front of a large one must stay visible.
        is_object, token = columns["mask_object"][first:end], columns["mask_token"][first:end]
        size = np.array([len(mask) for mask in masks])
        order = np.lexsort((np.where(is_object, token, b""), np.where(is_object, -size, 0), is_object))
        raw = np.zeros(height * width, np.uint8)
        for number in order.tolist():
            raw[masks[number]] = columns["mask_raw"][first + number]
        return raw.reshape(height, width)

    def _mask(self, version: int, number: int, height: int, width: int) -> NDArray[np.int64]:
        """Places of the pixels of one mask."""
        columns = self.indices[version]
        table = ANNOTATIONS[int(columns["mask_object"][number])]
        where = f"{self.root}/v1.0-{self.versions[version]}/{table}.json: row {columns.text('mask_token', number)!r}"
        if columns["mask_size"][number].tolist() != [height, width]:
            found = " x ".join(map(str, columns["mask_size"][number].tolist()))
            raise InputError(f"{where}: the mask is {found}, its picture {height} x {width}; copy the table again")
        first, end = columns["text_start"][number : number + 2].tolist()
        try:
            return pixels_of(decode_runs(columns["text"][first:end].tobytes()), height, width)
        except ValueError as error:
            raise InputError(f"{where}: the mask is damaged: {error}; copy the table again") from None


def open_nuimages(path: Path, classes: str | None = None) -> NuImages:
    """Open the folder that holds ``v1.0-train`` or another version; pictures whose file is missing are left out.

    Raises ``InputError`` when there is no version, a table is missing or damaged, or no picture is there.
    """
    folder(path, LAYOUT)
    versions = tuple(name for name in VERSIONS if (path / f"v1.0-{name}").is_dir())
    if not versions:
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(f"{path}: no version found, expected {LAYOUT}; found {found}")
    indices = tuple(_index(path, version) for version in versions)
    rows, missing = [], 0
    for version, columns in enumerate(indices):
        there = _there(path, columns)
        rows += [(version, row) for row in np.flatnonzero(there).tolist()]
        missing += int((~there).sum())
    if not rows:
        example = indices[0].text("image_file", 0) if len(indices[0]["image_file"]) else "samples/CAM_FRONT/*.jpg"
        raise InputError(f"{path}: no picture is there, expected {example} and others; unpack the samples beside them")
    if missing:
        log.info("%s: %d of %d pictures have no file and are left out", path, missing, missing + len(rows))
    taxonomy = class_lists.load(classes or "nuscenes-16", "nuscenes")
    return NuImages(f"{NAME}:{path}", path, taxonomy, indices, versions, np.array(rows, np.int32))


def _index(root: Path, version: str) -> Index:
    tables = root / f"v1.0-{version}"
    inputs = [tables / f"{name}.json" for name in NEEDED]
    inputs += [path for name in ANNOTATIONS if (path := tables / f"{name}.json").exists() or version != "test"]
    return open_index(f"{NAME}-{version}", root, inputs, LAYOUT_VERSION, partial(read_tables, tables))


def _there(root: Path, columns: Index) -> NDArray[np.bool_]:
    """Which pictures have a file; folders are listed once, 67 000 questions to a network disk take minutes."""
    listing = cache(lambda place: frozenset(p.name for p in place.iterdir()) if place.is_dir() else frozenset())
    files = [root / name.decode() for name in columns["image_file"].tolist()]
    return np.array([file.name in listing(file.parent) for file in files], bool)
