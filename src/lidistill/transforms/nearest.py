"""The nearest points of a cloud: exact, by nanoflann when the extra ``fast`` is installed, else by scipy."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

LEAF = {"nanoflann": 14, "scipy": 24}
"""Points of a tree's leaf, the fastest on scans."""


def nearest(points: NDArray[np.floating[Any]], queries: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """(Q,) int64: for every one of ``queries`` (Q, 3) the row of the nearest of ``points`` (N, 3).

    Of several equally near points any one may be returned. Raises ``InputError`` when there are no points.
    """
    if len(points) == 0:
        raise InputError("there is no point to be nearest to; the cloud is empty after sampling and cropping")
    return k_nearest(points, queries, 1)[:, 0]


def nearest_kept(points: NDArray[np.floating[Any]], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) int64: for every one of ``points`` (N, 3) the place in ``kept`` (K rows) of the nearest kept point.

    A kept point is its own nearest, so only the others are searched for. Raises ``InputError`` when none is kept.
    """
    places = np.full(len(points), -1)
    places[kept] = np.arange(len(kept))
    others = np.flatnonzero(places < 0)
    places[others] = nearest(points.take(kept, axis=0), points.take(others, axis=0))
    return places


def k_nearest(points: NDArray[np.floating[Any]], queries: NDArray[np.floating[Any]], count: int) -> NDArray[np.int64]:
    """(Q, count) int64: the rows of the ``count`` nearest of ``points`` (N, 3), nearest first; count <= N.

    Distances are those of doubles; equally near points come in any order. Queries that follow each other in space are
    faster. Raises ``ValueError`` for coordinates that are not finite.
    """
    # nanoflann reads other layouts wrongly and answers nan with rows that do not exist
    points, queries = (np.asarray_chkfinite(array, np.float64, "C") for array in (points, queries))
    nanoflann = _nanoflann()
    if nanoflann is not None:
        tree = nanoflann.KDTree(n_neighbors=count, metric="L2", leaf_size=LEAF["nanoflann"])
        tree.fit(points)
        rows: NDArray[np.int64] = tree.kneighbors(queries, n_jobs=1)[1].astype(np.int64)
        return rows
    from scipy.spatial import cKDTree  # half a second to import

    tree = cKDTree(points, leafsize=LEAF["scipy"], balanced_tree=False)
    return np.asarray(tree.query(queries, k=count)[1], np.int64).reshape(len(queries), count)


@cache
def _nanoflann() -> Any:
    """The module of the extra ``fast``, None without it."""
    try:
        return import_module("pynanoflann")
    except ImportError:
        return None
