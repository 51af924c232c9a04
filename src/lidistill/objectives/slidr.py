"""Superpixel-to-superpoint contrast: the loss of SLidR (CVPR 2022, arXiv 2203.16258)."""

from __future__ import annotations

from torch import Tensor

from lidistill.objectives.contrast import info_nce
from lidistill.objectives.pooling import segment_counts, segment_means


def slidr(points: Tensor, segments: Tensor, pixel_means: Tensor, temperature: float = 0.07) -> Tensor:
    """``info_nce`` between the mean point and the mean pixel of every superpixel that has a point.

    ``points`` (P, D) unit vectors, one row per pair (a point that two cameras see counts twice); ``segments`` (P,)
    int64, the row of ``pixel_means`` (S, D) that is the pair's superpixel, see ``pooling.pixel_means``. The means are
    not normalised again. Scalar, 0 without pairs.

    Superpixels without a point are left out by their count. The published code leaves out those whose mean point has
    a 0 in its first channel: the same, but for the accident of a 0 there that is a mean.
    """
    count = len(pixel_means)
    seen = segment_counts(segments, count) > 0
    return info_nce(segment_means(points, segments, count)[seen], pixel_means[seen], temperature)
