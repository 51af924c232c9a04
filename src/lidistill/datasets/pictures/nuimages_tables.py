"""From the JSON tables of nuImages to the columns of an index: key pictures and the masks on them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import taxonomy as class_lists
from lidistill.datasets.json_table import Row, known_token, look_up, read_table, stream_table, values
from lidistill.errors import InputError, nearest

LAYOUT_VERSION = 1
"""Of the columns below; raise it when they change."""

NEEDED = ("sample", "sample_data", "category")
KEY_FRAME = re.compile(r'"is_key_frame"\s*:\s*true')
ANNOTATIONS = ("surface_ann", "object_ann")

Columns = dict[str, NDArray[Any]]


def read_tables(folder: Path) -> Columns:
    """Columns of the P key pictures of the version in ``folder`` and of the M masks on them.

    ``image_file``, ``image_token``, ``image_size`` (height, width) by row of ``sample``. The masks of picture i are
    ``mask_start[i]`` to ``mask_start[i + 1]``, surfaces first, each kind in the order of its table: ``mask_raw`` (the
    raw id of nuScenes with the category's name), ``mask_object`` (surface 0, object 1), ``mask_token``, ``mask_size``
    (height, width); its compressed runs are the bytes ``text_start[m]`` to ``text_start[m + 1]`` of ``text``.
    ``annotated`` is False where the version has no annotations at all, as the test set. Raises ``InputError`` for a
    table that is missing, damaged, or refers to a row that is not there.
    """
    samples = values(
        read_table(folder / "sample.json"), folder / "sample.json", lambda row: str(row["key_camera_token"])
    )
    columns = _pictures(folder / "sample_data.json", samples, folder / "sample.json")
    pictures = {token: number for number, token in enumerate(samples)}
    categories = _categories(folder / "category.json")
    parts = [
        part
        for number, name in enumerate(ANNOTATIONS)
        if (folder / f"{name}.json").exists()
        for part in _masks(folder / f"{name}.json", number, pictures, categories)
    ]
    names = ("picture", "raw", "object", "token", "size", "length")
    merged = {name: np.concatenate([part[0][name] for part in parts]) for name in names} if parts else _no_masks()
    order = np.argsort(merged["picture"], kind="stable")
    texts = [text for _, found in parts for text in found]
    return columns | {
        "annotated": np.array(len(order) > 0),
        "mask_start": np.searchsorted(merged["picture"][order], np.arange(len(samples) + 1)),
        **{f"mask_{name}": merged[name][order] for name in ("raw", "object", "token", "size")},
        "text_start": np.append(0, np.cumsum(merged["length"][order])),
        "text": np.frombuffer(b"".join(texts[number] for number in order.tolist()), np.uint8),
    }


def _no_masks() -> Columns:
    kinds = {"picture": "i4", "raw": "u1", "object": "?", "token": "S1", "length": "i8"}
    return {name: np.zeros(0, kind) for name, kind in kinds.items()} | {"size": np.zeros((0, 2), np.int32)}


def _pictures(path: Path, tokens: list[str], asked_by: Path) -> Columns:
    """The rows ``tokens`` of ``sample_data.json``, which has twelve more pictures and 13 scans for each of them."""
    wanted = {token: number for number, token in enumerate(tokens)}
    found: dict[int, tuple[bytes, int, int]] = {}

    for rows in stream_table(path, lambda text: KEY_FRAME.search(text) is not None):
        for token, *picture in values(
            rows,
            path,
            lambda row: (row["token"], row["filename"].encode(), int(row["height"] or 0), int(row["width"] or 0)),
        ):
            if token in wanted:
                found[wanted[token]] = (picture[0], picture[1], picture[2])
    missing = next((token for token, number in wanted.items() if number not in found), None)
    if missing is not None:
        raise InputError(
            f"{path}: no key picture {missing!r}, which {asked_by.name} refers to; the tables are damaged or not "
            "of one version, copy them again"
        )
    files = [found[number] for number in range(len(tokens))]
    return {
        "image_file": np.array([file for file, _, _ in files], "S"),
        "image_token": np.array([token.encode() for token in tokens], "S"),
        "image_size": np.array([size for _, *size in files], np.int32).reshape(-1, 2),
    }


def _categories(path: Path) -> dict[str, int]:
    """Category token -> raw id of nuScenes."""
    raw = {name: number for number, name in class_lists.raw_names("nuscenes-16", "nuscenes").items()}
    rows = values(read_table(path), path, lambda row: (row["token"], str(row["name"])))
    unknown = next((name for _, name in rows if name not in raw), None)
    if unknown is not None:
        raise InputError(f"{path}: category {unknown!r} is none of nuScenes{nearest(unknown, raw)}")
    return {token: raw[name] for token, name in rows}


def _masks(
    path: Path, kind: int, pictures: Mapping[str, int], categories: Mapping[str, int]
) -> list[tuple[Columns, list[bytes]]]:
    """Columns and compressed runs of the annotations that have a mask, piece by piece."""
    parts = []
    for rows in stream_table(path, lambda text: True):
        masked = [row for row in rows if row.get("mask") is not None]
        texts = values(masked, path, _runs)
        columns = {
            "picture": [look_up(pictures, row, "sample_data_token", path, "sample") for row in masked],
            "raw": [categories[known_token(categories, row, "category_token", path, "category")] for row in masked],
            "object": [kind] * len(masked),
            "size": values(masked, path, _size),
            "length": [len(text) for text in texts],
        }
        kinds = {"picture": "i4", "raw": "u1", "object": "?", "size": "i4", "length": "i8"}
        arrays = {name: np.array(column, kinds[name]) for name, column in columns.items()}
        arrays["token"] = np.array(values(masked, path, lambda row: row["token"].encode()), "S32")
        arrays["size"] = arrays["size"].reshape(-1, 2)
        parts.append((arrays, texts))
    return parts


def _size(row: Row) -> tuple[int, int]:
    height, width = row["mask"]["size"]
    return int(height), int(width)


def _runs(row: Row) -> bytes:
    try:
        return base64.b64decode(row["mask"]["counts"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the mask is no base64 text ({error})") from None
