"""``.npy``: rows x y z [intensity [ring [time]]] or a structured array. ``.npz``: the same, or named columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files.cloud import PointFile, from_columns, to_columns

ORDER = ("x", "y", "z", "intensity", "ring", "time")


def read(path: Path) -> PointFile:
    """Read ``.npy`` or ``.npz``; a file with Python objects in it is refused, never unpickled."""
    try:
        with open(path, "rb") as file:  # np.load leaves a damaged .npz open
            content = np.load(file, allow_pickle=False)
            arrays = {"rows": content} if isinstance(content, np.ndarray) else dict(content)
    except OSError:
        raise
    except Exception as error:  # a damaged header ends in numpy, zipfile, tokenize or out of memory
        reason = " ".join(str(error).split())
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "it holds pickled Python objects or is no numpy file"
        raise InputError(f"{path}: not a {path.suffix} file of numbers ({reason}); save it as float32 rows") from None
    return _from_arrays(arrays, path)


def _from_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> PointFile:
    if len(arrays) == 1:
        return _from_array(next(iter(arrays.values())), path)
    points = arrays.pop("points", None)
    columns = {} if points is None else _columns(points, path)
    colors = arrays.pop("colors", None)
    if colors is not None and colors.ndim == 2 and colors.shape[1] == 3:
        columns |= dict(zip(("red", "green", "blue"), colors.T, strict=True))
    columns |= arrays
    lengths = {name: column.shape for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise InputError(f"{path}: expected columns of one length, found {lengths}")
    return from_columns(columns, path)


def _from_array(array: NDArray[Any], path: Path) -> PointFile:
    return from_columns(_columns(array, path), path)


def _columns(array: NDArray[Any], path: Path) -> dict[str, NDArray[Any]]:
    """Named columns of a structured array, or of rows in the documented order."""
    if array.dtype.names and array.ndim == 1:
        return {name: array[name] for name in array.dtype.names}
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected numbers, found type {array.dtype}; save it again as float32 rows")
    if array.ndim != 2 or not 3 <= array.shape[1] <= len(ORDER):
        raise InputError(
            f"{path}: expected rows of 3 to {len(ORDER)} columns ({' '.join(ORDER)}), found shape {array.shape}; "
            "name the columns in a structured array or in an .npz file if there are others"
        )
    return dict(zip(ORDER, array.T, strict=False))


def write_npz(path: Path, cloud: PointFile) -> None:
    """Write every column under its name."""
    np.savez(path, **to_columns(cloud))  # type: ignore[arg-type]


def write_npy(path: Path, cloud: PointFile) -> None:
    """Write every column into a structured array."""
    columns = to_columns(cloud)
    array = np.empty(len(cloud), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        array[name] = column
    content = io.BytesIO()  # np.save writes to real files with a call that does not say when the disk is full
    np.save(content, array)
    path.write_bytes(content.getbuffer())
