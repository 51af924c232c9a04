"""Semantically tolerant contrast with class balance: the losses of ST-SLidR (CVPR 2023, arXiv 2301.05709).

Both ideas ask a frozen image encoder how alike two superpixels are. ``tolerance`` spares negatives that look like the
anchor; ``balance`` weighs down anchors that look like many others (road, vegetation). They apply to any paired
rows: with the encoder's features at the pixels of drawn pairs, ``cosine``, ``tolerance``, ``balance`` and ``info_nce``
give the pixel-level (PPKT) variants of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.objectives.contrast import in_single, info_nce
from lidistill.objectives.pooling import segment_counts, segment_means

Quantiles = tuple[float, float]
ENTRIES_AT_ONCE = 2**23


def st_slidr(
    points: Tensor,
    segments: Tensor,
    pixel_means: Tensor,
    frozen: Tensor,
    temperature: float = 0.07,
    quantiles: Quantiles | None = (0.01, 1.0),
) -> Tensor:
    """``slidr`` that spares the negatives most like their anchor.

    As in ``slidr`` ``points`` (P, D), ``segments`` (P,) and ``pixel_means`` (S, D); ``frozen`` (S, F) are the mean
    features of a frozen encoder per superpixel, see ``pooling.frozen_means``. ``quantiles`` as in ``tolerance``;
    published: 0.01 and 1. Scalar, 0 without pairs.
    """
    ours, theirs, similarity = alike_rows(points, segments, pixel_means, frozen)
    return info_nce(ours, theirs, temperature, tolerance(similarity.clamp(0, 1), quantiles))


def st_slidr_balanced(
    points: Tensor,
    segments: Tensor,
    pixel_means: Tensor,
    frozen: Tensor,
    temperature: float = 0.07,
    quantiles: Quantiles | None = (0.01, 1.0),
    noise: float = 0.5,
) -> Tensor:
    """``st_slidr`` with anchors weighed by ``balance``; ``noise`` as there, published: 0.5.

    As published the similarities are not clipped to [0, 1] here; that matters only with ``quantiles`` None, or with an
    upper one below 1.
    """
    ours, theirs, similarity = alike_rows(points, segments, pixel_means, frozen)
    return info_nce(ours, theirs, temperature, tolerance(similarity, quantiles), balance(similarity, noise))


def alike_rows(points: Tensor, segments: Tensor, pixel_means: Tensor, frozen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean points (R, D), mean pixels (R, D) and ``cosine`` (R, R) of the superpixels that can be compared.

    Arguments as in ``st_slidr``. Left out are superpixels without a point and those with a null frozen feature, such
    as the ones lost when the superpixels are shrunk to the encoder's resolution.
    """
    count = len(pixel_means)
    kept = (segment_counts(segments, count) > 0) & (frozen != 0).any(dim=1)
    return segment_means(points, segments, count)[kept], pixel_means[kept], cosine(frozen[kept])


def cosine(features: Tensor) -> Tensor:
    """(R, R) cosine of all rows of ``features`` (R, F) with each other; null rows have 0 with all. No gradient."""
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        unit = functional.normalize(in_single(features), dim=1)
        return unit @ unit.T


def tolerance(similarity: Tensor, quantiles: Quantiles | None = (0.01, 1.0)) -> Tensor:
    """(R, R) factors of the logits from the ``similarity`` (R, R) of anchors (rows) and candidates (columns).

    The distance of a negative is 1 - similarity. With ``quantiles`` (low, high) its factor is 1 when the distance is
    within these quantiles of its row, in which the anchor's own 0 counts too, and 0 otherwise, or when the distance is
    exactly 0; so 0.01 spares the nearest hundredth. With None the distance itself is the factor. The positive always
    has factor 1.
    """
    with torch.no_grad():
        factors = 1 - similarity
        if quantiles is not None and len(factors) > 0:
            limits = factors.new_tensor(quantiles)
            # in parts: a sort needs several times the memory, and older versions of torch refuse 16 million entries
            parts = torch.split(factors, max(1, ENTRIES_AT_ONCE // len(factors)))
            low, high = torch.cat([torch.quantile(rows, limits, dim=1, keepdim=True) for rows in parts], dim=1)
            factors = ((factors >= low) & (factors <= high) & (factors != 0)).to(factors.dtype)
        return factors.fill_diagonal_(1)


def balance(similarity: Tensor, noise: float = 0.5) -> Tensor:
    """(R,) weights in [0, 1] of the anchors: 1 for the most singular, 0 for the one most like all others.

    An anchor's votes are the sum of its similarities, those below ``noise`` left out; the weight is 1 - votes, shifted
    and scaled to [0, 1] over the batch. All weights are 1 where all anchors have the same votes.
    """
    with torch.no_grad():
        votes = torch.where(similarity < noise, 0, similarity).sum(dim=1)
        if len(votes) == 0:
            return votes
        votes = votes - votes.min()
        return 1 - votes / votes.max().clamp(min=torch.finfo(votes.dtype).tiny)
