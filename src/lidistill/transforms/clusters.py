"""Segments of a cloud found without pictures: the ground taken out, the rest clustered (Seal, NeurIPS 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.sensing.examine.ground import find_ground
from lidistill.transforms.nearest import nearest_kept
from lidistill.transforms.voxels import voxel_sample

ABOVE = 0.3
"""Metres above the plane of the ground below which a point is ground: a curb is, a foot is not."""
CELL = 0.4
"""Metres: what is nearer to each other is one place. The time is that of the space filled, not of the points."""
FEWEST = 8
"""Occupied cells of a cluster: a pedestrian 20 m away."""


def clusters(points: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """(N,) cluster of every one of the (N, 3) ``points``, metres with z up; -1 on the ground and in no cluster.

    As in Seal the ground is a plane found by random draws and the rest is grouped by HDBSCAN; what the paper says
    nothing about is ours: HDBSCAN sees one point for each cell of ``CELL`` metres, and a point has the cluster of its
    cell. HDBSCAN never takes everything for one cluster: a single thing on the ground is in none. Raises ``InputError``
    when scikit-learn is missing.
    """
    grouping = hdbscan()
    found = np.full(len(points), -1, np.int64)
    ground = find_ground(points)
    above = np.arange(len(points))
    if ground is not None and ground.level:
        above = np.flatnonzero(points @ ground.up + ground.height > ABOVE)
    raised = points[above]
    kept = voxel_sample(raised, CELL)
    if len(kept) > FEWEST:
        label = grouping(min_cluster_size=FEWEST, copy=True).fit_predict(raised[kept])
        found[above] = label[nearest_kept(raised, kept)]
    return found


def hdbscan() -> Any:
    """The class of scikit-learn; ``InputError`` when it is not installed."""
    try:
        from sklearn.cluster import HDBSCAN
    except ImportError:
        raise InputError("finding segments needs scikit-learn; install lidistill[superpixels]") from None
    return HDBSCAN
