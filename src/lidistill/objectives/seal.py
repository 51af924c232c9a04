"""Consistency in time of segments: the losses that Seal (NeurIPS 2023, arXiv 2306.09347) adds to ``slidr``.

Seal contrasts in three ways:

- in space: ``slidr`` with the segments of a vision foundation model as superpixels. Cameras of a scan share the
  ids (a pair's segment is scan * count + id), so the pixel means come from ``pooling.pixel_means`` with ``scans``;
- in time: ``temporal``, between the mean features of a segment in two sweeps;
- within a sweep: ``point_to_segment``, between points and the mean of their segment.

For the last two the paper finds segments in the merged sweeps without images (ground removed, the rest clustered). The
authors published how they make superpixels, no training code: ``temporal`` is compared with that of their SuperFlow
(ECCV 2024); ``point_to_segment`` follows the paper's description and is compared with nothing. How the three are
weighted is not known to us.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.objectives.contrast import in_single, info_nce
from lidistill.objectives.pooling import segment_counts, segment_means


def temporal(
    now: Tensor,
    now_segments: Tensor,
    then: Tensor,
    then_segments: Tensor,
    count: int,
    temperature: float = 0.07,
) -> Tensor:
    """``info_nce`` between the mean features of the segments that two sweeps have in common; ``now`` asks.

    ``now`` (N, D) and ``then`` (M, D) are unit features of the points of two sweeps, ``now_segments`` (N,) and
    ``then_segments`` (M,) int64 their segments, numbered alike: ids in [0, count), any other is no segment. Ids of
    several scans of a batch are told apart by an offset. Scalar, 0 without a common segment.
    """
    both = (segment_counts(now_segments, count) > 0) & (segment_counts(then_segments, count) > 0)
    means = [segment_means(now, now_segments, count), segment_means(then, then_segments, count)]
    return info_nce(means[0][both], means[1][both], temperature)


def point_to_segment(points: Tensor, segments: Tensor, count: int, temperature: float = 0.07) -> Tensor:
    """Cross entropy of every point over the mean features of all segments, its own being right.

    ``points`` (N, D) unit features of a sweep (or of a batch, with offsets), ``segments`` (N,) int64 as in
    ``temporal``. Averaged over the points of a segment, then over segments: a wall weighs no more than a pedestrian.
    Scalar, 0 without segments. The logits are (points in a segment) x (segments).
    """
    counts = segment_counts(segments, count)
    present = counts > 0
    inside = (segments >= 0) & (segments < count)
    segments, members = segments[inside], points[inside]
    means = segment_means(members, segments, count)[present]
    with torch.autocast(points.device.type, enabled=False):
        logits = in_single(members) @ means.T / temperature
        own = (present.cumsum(0) - 1)[segments]  # the row of every point's segment among those present
        losses = -logits.log_softmax(dim=1).gather(1, own[:, None])[:, 0]
        return (losses / counts[segments]).sum() / max(len(means), 1)
