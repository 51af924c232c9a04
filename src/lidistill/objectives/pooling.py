"""Mean features of segments: of the points in a superpixel, and of its pixels at full resolution.

A segment is an id in [0, ``count``). Any other id, such as the -1 of unclustered points, belongs to no segment.
All means are sum / (n + 1e-6), as published: a mean of unit vectors stays shorter than one, an empty segment is null.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lidistill.objectives.contrast import in_single

SMALL_COUNT = 1e-6
KEPT_PIXELS = 8192
"""Of an image with so many pixels or fewer, the enlarged features are kept for the backward pass."""


def segment_counts(segments: Tensor, count: int) -> Tensor:
    """(count,) int64: how many of ``segments`` (P,), integers, are 0, 1, ... count - 1."""
    return _starts(segments.long().sort().values, count).diff()


def segment_means(features: Tensor, segments: Tensor, count: int) -> Tensor:
    """(count, D): mean of the rows of ``features`` (P, D) in every segment; ``segments`` (P,) int64."""
    sums = _segment_sums(features, segments, count)
    return sums / (segment_counts(segments, count)[:, None].to(sums.dtype) + SMALL_COUNT)


def pixel_means(maps: Tensor, superpixels: Tensor, count_per_image: int, scans: Sequence[int] | None = None) -> Tensor:
    """(B * count_per_image, D): mean unit feature of the pixels of every superpixel (SLidR, CVPR 2022).

    ``maps`` (B, D, h, w) are enlarged bilinearly with aligned corners to the size of ``superpixels`` (B, H, W), integer
    ids within an image, and normalised per pixel. Superpixel s of image b is row b * count_per_image + s. With
    ``scans``, the scan number of every image, cameras of a scan share their ids (Seal): a superpixel is then row
    scans[b] * count_per_image + s of (max(scans) + 1) * count_per_image, averaged over all its cameras.

    One image after the other; large ones are enlarged again for the backward pass: 24 images of 224 x 416 with 64
    channels would fill 0.6 GB, several times over with what the gradient keeps; one of them takes 24 MB.
    """
    owners = list(range(len(maps)) if scans is None else scans)
    images = list(zip(maps, superpixels, strict=True))
    again = superpixels[0].numel() > KEPT_PIXELS
    sums = torch.stack(
        [
            checkpoint(_image_sums, *image, count_per_image, use_reentrant=False, preserve_rng_state=False)
            if again
            else _image_sums(*image, count_per_image)
            for image in images
        ]
    )
    pixels = torch.stack([segment_counts(ids.flatten(), count_per_image) for _, ids in images])
    owner, groups = torch.tensor(owners, device=maps.device), max(owners) + 1
    sums = _segment_sums(sums.flatten(1), owner, groups).view(groups * count_per_image, -1)
    counts = _segment_sums(pixels.to(sums.dtype), owner, groups).view(-1, 1)
    return sums / (counts + SMALL_COUNT)


def frozen_means(features: Tensor, superpixels: Tensor, count_per_image: int) -> Tensor:
    """(B * count_per_image, F): mean of a frozen encoder's features per superpixel, at their own resolution.

    ``features`` (B, F, h, w), ``superpixels`` (B, H, W) integer ids within an image, shrunk to (h, w). A superpixel
    that the shrinking lost has a null mean. No gradient.
    """
    with torch.no_grad():
        small = shrunk(superpixels, (features.shape[2], features.shape[3]))
        rows = in_single(features).flatten(2).transpose(1, 2)
        pairs = zip(rows, small.flatten(1), strict=True)
        return torch.cat([segment_means(image, ids, count_per_image) for image, ids in pairs])


def shrunk(superpixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h, w) for ``size`` (h, w): the ids of ``superpixels`` (B, H, W) at row floor(i * H / h), likewise columns."""
    # torch resizes no int64; float32 holds ids up to 2^24
    small = functional.interpolate(superpixels[:, None].float(), size, mode="nearest")
    return small[:, 0].to(superpixels.dtype)


def _image_sums(features: Tensor, superpixels: Tensor, count: int) -> Tensor:
    """(count, D): sum per superpixel (H, W) of the unit vectors of ``features`` (D, h, w) enlarged to (H, W)."""
    with torch.autocast(features.device.type, enabled=False):
        features = in_single(features)
        (dim, h, w), (height, width) = features.shape, superpixels.shape
        rows = features.permute(1, 2, 0)
        # Two small matrix products give rows (H * W, D) at once, and gradients that torch.nn.functional.interpolate
        # would add up in no fixed order on a GPU.
        if w != width:
            rows = _enlarge(w, width, features) @ rows
        if h != height:
            rows = _enlarge(h, height, features) @ rows.reshape(h, width * dim)
        return _segment_sums(functional.normalize(rows.reshape(-1, dim), dim=1), superpixels.flatten(), count)


def _enlarge(before: int, after: int, like: Tensor) -> Tensor:
    """(after, before) weights of linear interpolation with aligned corners; dtype and device of ``like``."""
    place = torch.arange(after, device=like.device, dtype=torch.float64) * ((before - 1) / max(after - 1, 1))
    distance = (place[:, None] - torch.arange(before, device=like.device)).abs()
    return (1 - distance).clamp(min=0).to(like.dtype)


def _segment_sums(features: Tensor, segments: Tensor, count: int) -> Tensor:
    """(count, D), in float32 at least: sum of the rows of ``features`` (P, D) in every segment, in a fixed order.

    ``index_add`` would do, but adds in no fixed order on a GPU, and a resumed run shall repeat its numbers.
    """
    ordered, order = segments.long().sort(stable=True)
    # one bag for all ids below 0, one for every segment, one for all ids from count on
    starts = functional.pad(_starts(ordered, count), (1, 0))
    return functional.embedding_bag(order, in_single(features), starts, mode="sum")[1:-1]


def _starts(ordered: Tensor, count: int) -> Tensor:
    """(count + 1,) int64: where the ids 0, 1, ... count begin in the sorted ids ``ordered`` (P,) int64."""
    return torch.searchsorted(ordered, torch.arange(count + 1, device=ordered.device))
