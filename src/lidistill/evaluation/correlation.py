"""Correlation maps: what else the network finds similar to one point (figure 1 of the ScaLR paper)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError


def correlation(features: NDArray[Any], query: NDArray[Any]) -> NDArray[np.float32]:
    """Cosine similarity of ``query`` (D,) with every one of ``features`` (..., D): (...) float32 in [-1, 1].

    The features may be those of points (N, D) or a teacher's map (h, w, D): a student's head speaks the teacher's
    language, so that a lidar point may be compared with pixels. Null vectors are similar to nothing (0).
    """
    if features.shape[-1:] != query.shape:
        raise InputError(
            f"correlation: the query has shape {query.shape}, the features {features.shape}; both must come from the "
            "same network, or from a student's head and its own teacher"
        )
    wanted = np.asarray(query, np.float32)
    rows = np.asarray(features, np.float32)
    lengths = np.linalg.norm(rows, axis=-1) * np.linalg.norm(wanted)
    similar = np.where(lengths > 1e-12, (rows @ wanted) / np.maximum(lengths, 1e-12), 0)
    return similar.clip(-1, 1).astype(np.float32)


def query_point(points: NDArray[np.float32], chosen: NDArray[Any], cell: float = 1.0) -> int | None:
    """Row of a point that stands well inside the largest heap of ``chosen`` points; None when nothing is chosen.

    ``points`` (N, 3) metres; ``chosen`` (N,) bool, such as ``labels == car`` or a mask of what a camera sees. Takes
    the ``cell`` (metres) with most chosen points and there the one nearest to their mean. No feature is looked at, so
    the choice flatters no network.
    """
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return None
    there = points[rows].astype(np.float64)
    cells = np.floor(there / cell).astype(np.int64)
    cells -= cells.min(0)
    size = cells.max(0) + 1
    key = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    _, group, counts = np.unique(key, return_inverse=True, return_counts=True)
    heap = np.flatnonzero(group == counts.argmax())
    distance = np.linalg.norm(there[heap] - there[heap].mean(0), axis=1)
    return int(rows[heap[distance.argmin()]])
