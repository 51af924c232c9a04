"""``.label``: one uint32 per point, the class in the low 16 bits, the instance in the high ones (SemanticKITTI)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.files.atomic import write_atomically


def read_labels(path: str | Path) -> NDArray[np.uint32]:
    """Read (N,) uint32. Raises ``InputError`` when the file is missing or its size is no multiple of 4."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size % 4:
            raise InputError(f"{path}: {size} bytes, expected a multiple of 4 (uint32 a point); copy the file again")
        return np.fromfile(path, "<u4")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def write_labels(path: str | Path, labels: NDArray[Any]) -> None:
    """Write (N,) labels of any integer type as uint32, whole or not at all."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: labels must be (N,) integers, found {labels.dtype} of shape {labels.shape}")
    write_atomically(path, lambda temporary: temporary.write_bytes(labels.astype("<u4").tobytes()))
