"""Features as colours: what looks alike, the network finds alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DARKEST = 30
"""Points stay visible on a dark ground."""
SAMPLE = 20_000
"""Rows that are enough to find three axes."""


@dataclass(frozen=True, eq=False)
class PcaColors:
    """Three axes of a feature space and the range that becomes red, green and blue.

    ``mean`` (D,), ``axes`` (D, 3) with null columns where there are fewer directions, ``low`` and ``high`` (3,).
    Fit once and use for several clouds or pictures to compare them: equal directions get equal colours.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __call__(self, features: NDArray[Any]) -> NDArray[np.uint8]:
        """(..., 3) uint8 colours of features (..., D); an axis without spread gives the middle value."""
        values = (_directions(features) - self.mean) @ self.axes
        span = self.high - self.low
        flat = span <= 1e-9
        share = np.where(flat, 0.5, (values - self.low) / np.where(flat, 1.0, span))
        return np.round(DARKEST + (255 - DARKEST) * share.clip(0, 1)).astype(np.uint8)


def fit_pca(features: NDArray[Any], percentiles: tuple[float, float] = (2.0, 98.0)) -> PcaColors:
    """Find the three main axes of feature directions (N, D); values between the percentiles use the full range.

    Only the direction of a feature counts, as in the similarity that students are trained with. Signs are fixed (the
    largest entry of an axis is positive), so the same features always get the same colours.
    """
    rows = _directions(features).reshape(-1, features.shape[-1])
    rows = rows[:: max(len(rows) // SAMPLE, 1)]
    dim = rows.shape[1]
    if not len(rows):
        return PcaColors(np.zeros(dim), np.zeros((dim, 3)), np.zeros(3), np.zeros(3))
    mean = rows.mean(0)
    centered = rows - mean
    _, vectors = np.linalg.eigh(centered.T @ centered)  # ascending
    found = vectors[:, ::-1][:, :3]
    largest = np.take_along_axis(found, np.abs(found).argmax(0)[None], axis=0)
    axes = np.zeros((dim, 3))
    axes[:, : found.shape[1]] = found * np.where(largest < 0, -1.0, 1.0)
    low, high = np.percentile(centered @ axes, percentiles, axis=0)
    return PcaColors(mean, axes, low, high)


def pca_colors(features: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours (N, 3) uint8 of features (N, D): their first three principal components."""
    return fit_pca(features)(features)


def _directions(features: NDArray[Any]) -> NDArray[np.float64]:
    """Unit vectors, float64; null vectors stay null."""
    values = np.asarray(features, np.float64)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = values / np.maximum(length, 1e-12)
    return unit
