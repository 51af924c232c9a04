"""Colours for numbers and classes: what a shade in a picture stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.sensing.frame import IGNORE
from lidistill.taxonomy import Taxonomy

Colors = NDArray[np.uint8]
"""(N, 3) RGB."""

UNKNOWN = (110, 110, 118)
"""Grey of points that have no class."""

# Stops of the ramps, evenly spaced. Lightness grows along both, so they also read in grey print.
HEAT = ((24, 28, 58), (62, 42, 112), (128, 46, 124), (196, 62, 96), (240, 112, 54), (252, 186, 66), (255, 250, 190))
DISTANCE = ((255, 236, 120), (150, 214, 94), (52, 178, 128), (34, 134, 148), (54, 88, 150), (72, 44, 118))


def ramp(values: ArrayLike, low: float, high: float, stops: ArrayLike = HEAT) -> Colors:
    """Colours (N, 3) of ``values`` (N,): ``low`` takes the first of ``stops`` (S, 3), ``high`` the last.

    Values beyond the ends take the end's colour, as do NaN (the first).
    """
    table = np.asarray(stops, np.float64)
    span = high - low if high > low else 1.0
    place = np.nan_to_num(np.clip((np.asarray(values, np.float64) - low) / span, 0, 1)) * (len(table) - 1)
    columns = [np.interp(place, np.arange(len(table)), table[:, channel]) for channel in range(3)]
    return np.round(np.stack(columns, axis=-1)).astype(np.uint8)


def similarity_colors(similarity: ArrayLike) -> Colors:
    """Cosine similarities (N,): dark up to 0, bright at 1."""
    return ramp(similarity, 0.0, 1.0)


def depth_colors(depth: ArrayLike, near: float = 2.0, far: float = 60.0) -> Colors:
    """Distances (N,) in metres: yellow near, violet far, evenly over their logarithm."""
    return ramp(np.log(np.maximum(depth, 1e-3)), float(np.log(near)), float(np.log(far)), DISTANCE)


def class_colors(labels: NDArray[Any], taxonomy: Taxonomy) -> Colors:
    """The taxonomy's colours of train ids (N,); grey where there is no class."""
    table = np.full((IGNORE + 1, 3), UNKNOWN, np.uint8)
    table[: len(taxonomy.colors)] = taxonomy.colors
    colors: Colors = table[labels]
    return colors
