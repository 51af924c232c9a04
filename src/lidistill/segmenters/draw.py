"""Superpixels for people: their borders over the picture, and each in its mean colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.segmenters.methods import Ids

LINE = (255, 232, 0)
NONE = (30, 30, 34)
"""Of pixels that are in no superpixel."""


def borders(image: NDArray[np.uint8], ids: Ids) -> NDArray[np.uint8]:
    """A copy of ``image`` (H, W, 3) with a line of one pixel wherever ids (H, W) meet."""
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    drawn = image.copy()
    drawn[edge] = LINE
    return drawn


def mean_colors(image: NDArray[np.uint8], ids: Ids, unassigned: int | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: every superpixel in the mean colour of its pixels, ``unassigned`` ones dark."""
    flat = ids.ravel()
    pixels = np.maximum(np.bincount(flat), 1)
    sums = [np.bincount(flat, image[..., channel].ravel()) for channel in range(3)]
    table = np.round(np.stack(sums, 1) / pixels[:, None]).astype(np.uint8)
    if unassigned is not None and unassigned < len(table):
        table[unassigned] = NONE
    shown: NDArray[np.uint8] = table[ids]
    return shown


def segments(ids: Ids, unassigned: int | None = None) -> int:
    """How many superpixels a picture has."""
    found = np.unique(ids)
    return int(np.count_nonzero(found != unassigned)) if unassigned is not None else len(found)
