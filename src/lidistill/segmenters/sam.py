"""Masks of Segment Anything (Kirillov et al. 2023, appendix B "automatic mask generation"), painted as Seal does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lidistill.errors import InputError
from lidistill.segmenters.methods import Ids, Sam
from lidistill.segmenters.network import load_network

BATCH = 64
"""Points that the network is asked about at once, and masks that are enlarged at once."""
MARGIN = 1.0
"""Logits that the threshold moves by, up and down, to see how stable a mask is."""


class SamSegmenter:
    """Ids 1, 2, ... from the largest mask to the smallest, later ones over earlier ones; 0 = no mask.

    Seal starts at 0, so that its largest mask and pixels without a mask share an id; here they are told apart.
    """

    unassigned = 0

    def __init__(self, method: Sam) -> None:
        self.method = method
        self.count = method.max_masks + 1
        self.network, self.processor = load_network(method.model, "sam", _sam)

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Ids:
        """(H, W, 3) uint8 -> (H, W) ids."""
        inputs = self.processor(images=image, return_tensors="pt")
        frame = _Sizes(image.shape[:2], tuple(inputs["reshaped_input_sizes"][0].tolist()), self._side())
        logits, trust = self._ask(inputs["pixel_values"].to(self.network.device), frame)
        kept = torch.nonzero(trust > self.method.min_iou).flatten()
        boxes, areas, stable = _measure(logits[kept], frame)
        good = stable > self.method.min_stability
        kept, boxes, areas = kept[good], boxes[good], areas[good]
        best = suppress(boxes, trust[kept], self.method.max_overlap)
        order = best[torch.argsort(areas[best], descending=True, stable=True)][: self.method.max_masks]
        return _paint(logits[kept[order]], frame)

    def _side(self) -> int:
        side: int = self.network.config.vision_config.image_size
        return side

    def _ask(self, pixels: Tensor, frame: _Sizes) -> tuple[Tensor, Tensor]:
        """(M, h, w) logits of the masks, three for each point of the grid, and (M,) how far the network trusts them."""
        embedding = self.network.get_image_embeddings(pixels)
        steps = (torch.arange(self.method.points) + 0.5) / self.method.points
        v, u = torch.meshgrid(steps * frame.resized[0], steps * frame.resized[1], indexing="ij")
        logits, trust = [], []
        for points in torch.split(torch.stack([u.flatten(), v.flatten()], 1), BATCH):
            asked = points[None, :, None].to(pixels)
            found = self.network(image_embeddings=embedding, input_points=asked, multimask_output=True)
            logits.append(found.pred_masks[0].flatten(0, 1))
            trust.append(found.iou_scores[0].flatten())
        return torch.cat(logits), torch.cat(trust).cpu()


class _Sizes:
    """(height, width) of the picture, of the picture as the network sees it, and the side it is padded to."""

    def __init__(self, picture: tuple[int, int], resized: tuple[int, int], side: int) -> None:
        self.picture, self.resized, self.side = picture, resized, side

    def enlarge(self, logits: Tensor) -> Tensor:
        """(M, h, w) -> (M, H, W): up to the network's own picture, the padding cut off, up to the picture."""
        whole = functional.interpolate(logits[:, None], (self.side, self.side), mode="bilinear", align_corners=False)
        whole = whole[..., : self.resized[0], : self.resized[1]]
        return functional.interpolate(whole, self.picture, mode="bilinear", align_corners=False)[:, 0]


def _sam(transformers: Any, settings: Any) -> Any:
    if settings.model_type != "sam":
        raise InputError(
            f"superpixels by sam: a network of type {settings.model_type!r} is not known, only sam; "
            f"give for example facebook/sam-vit-base"
        )
    return transformers.SamModel


def _measure(logits: Tensor, frame: _Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Of every mask its box (M, 4) as left, top, right, bottom in pixels, its area (M,) and its stability (M,)."""
    boxes, areas, stable = [torch.zeros(0, 4)], [torch.zeros(0)], [torch.zeros(0)]
    for part in torch.split(logits, BATCH):
        large = frame.enlarge(part)
        masks = large > 0
        inner, outer = ((large > level).sum((1, 2)).float() for level in (MARGIN, -MARGIN))
        stable.append((inner / outer.clamp(min=1)).cpu())
        areas.append(masks.sum((1, 2)).float().cpu())
        boxes.append(torch.cat([_ends(masks.any(1)), _ends(masks.any(2))], 1)[:, [0, 2, 1, 3]].cpu())
    found = torch.cat(areas)
    # an empty mask covers nothing and is stable in nothing
    return torch.cat(boxes), found, torch.where(found > 0, torch.cat(stable), 0)


def _ends(along: Tensor) -> Tensor:
    """(M, 2): first and last of the places (M, N) that are True."""
    places = along.float()
    first, last = places.argmax(1), along.shape[1] - 1 - places.flip(1).argmax(1)
    return torch.stack([first, last], 1).float()


def suppress(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Rows of the boxes (M, 4) that stay: from the best score down, none overlaps a better one (IoU) by more."""
    left, top, right, bottom = boxes.unbind(1)
    area = (right - left) * (bottom - top)
    waiting = torch.argsort(scores, descending=True, stable=True)
    kept: list[int] = []
    while len(waiting):
        best, rest = int(waiting[0]), waiting[1:]
        kept.append(best)
        width = (torch.minimum(right[best], right[rest]) - torch.maximum(left[best], left[rest])).clamp(min=0)
        height = (torch.minimum(bottom[best], bottom[rest]) - torch.maximum(top[best], top[rest])).clamp(min=0)
        both = width * height
        waiting = rest[both <= overlap * (area[best] + area[rest] - both)]
    return torch.tensor(kept, dtype=torch.long)


def _paint(logits: Tensor, frame: _Sizes) -> Ids:
    """The masks in their order, later ones over earlier ones."""
    ids: Ids = np.zeros(frame.picture, np.uint16)
    number = 0
    for part in torch.split(logits, BATCH):
        for mask in (frame.enlarge(part) > 0).cpu().numpy():
            number += 1
            ids[mask] = number
    return ids
