"""The nearest point of a cloud."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError


def nearest(points: NDArray[np.floating[Any]], queries: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """(Q,) int64: for every one of ``queries`` (Q, 3) the row of the nearest of ``points`` (N, 3).

    Of several equally near points any one may be returned. Raises ``InputError`` when there are no points.
    """
    if len(points) == 0:
        raise InputError("there is no point to be nearest to; the cloud is empty after sampling and cropping")
    from scipy.spatial import cKDTree  # half a second to import

    rows: NDArray[np.int64] = cKDTree(points).query(queries)[1].astype(np.int64, copy=False)
    return rows
