"""Which module reads and writes which suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lidistill.errors import InputError, nearest
from lidistill.sensing.files import binary, las, numpy_files, pcd, ply
from lidistill.sensing.files.atomic import write_atomically
from lidistill.sensing.files.cloud import PointFile

READERS: dict[str, Callable[[Path], PointFile]] = {
    ".bin": binary.read,
    ".npy": numpy_files.read,
    ".npz": numpy_files.read,
    ".pcd": pcd.read,
    ".ply": ply.read,
    ".las": las.read,
    ".laz": las.read,
}
WRITERS: dict[str, Callable[[Path, PointFile], None]] = {
    ".bin": binary.write,
    ".npy": numpy_files.write_npy,
    ".npz": numpy_files.write_npz,
    ".pcd": pcd.write,
    ".ply": ply.write,
    ".las": las.write,
    ".laz": las.write,
}
SUFFIXES = tuple(READERS)


@np.errstate(invalid="ignore", over="ignore")  # damaged values become NaN, infinite or an InputError
def read_points(path: str | Path, columns: int | None = None) -> PointFile:
    """Read one point file by its suffix. ``columns`` (4 or 5) concerns ``.bin`` alone; None finds out.

    What the file holds is returned as it is, NaN included (``PointFile.finite``). Raises ``InputError``, naming
    the file, when it is missing, empty, truncated, of another format, or of an unknown suffix.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown point file {path.suffix!r}{nearest(path.suffix.lower(), SUFFIXES)}")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty, expected points; copy it again")
        return binary.read(path, columns) if reader is binary.read else reader(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None


def write_points(path: str | Path, cloud: PointFile) -> None:
    """Write one point file by its suffix, whole or not at all (``write_atomically``).

    ``.bin`` holds x y z intensity and ring alone; every other format holds all columns.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"{path}: unknown point file {path.suffix!r}{nearest(path.suffix.lower(), WRITERS)}")
    write_atomically(path, lambda temporary: writer(temporary, cloud))
