"""Augmentations of PPKT and SLidR: crops of pictures, and a cuboid cut out of the scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import CameraView

AREA, ASPECT = (0.3, 1.0), (14 / 9, 17 / 9)
"""Share of the picture, and width by height, of a crop."""
ENOUGH, SHARE, ATTEMPTS = 1024, 0.75, 10
"""A crop is drawn again until it holds more than so many pairs, or than such a share of them; at most so often (the
published code never ends where a picture has no pairs)."""
CUBOID = 0.2
"""Largest side of a cuboid that is cut out, of the scan's extent."""


@dataclass(frozen=True)
class Crop:
    """A piece of a picture in recorded pixels, perhaps mirrored left to right."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False

    def holds(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(P,) bool: which of (P, 2) = (u, v) lie in it."""
        u, v = np.floor(pixels).T - np.array([[self.left], [self.top]])
        inside: NDArray[np.bool_] = (u >= 0) & (u < self.width) & (v >= 0) & (v < self.height)
        return inside

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """The piece of an image (H, W, ...)."""
        piece = image[self.top : self.top + self.height, self.left : self.left + self.width]
        return piece[:, ::-1] if self.mirrored else piece

    def pixels(self, pixels: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """(P, 2): where recorded pixels lie when the piece is resized to ``size`` (h, w).

        The published rule: the column and row of the recorded image, brought to the resized one and rounded down.
        """
        place = np.floor(pixels) - (self.left, self.top)
        if self.mirrored:
            place[:, 0] = self.width - 1 - place[:, 0]
        height, width = size
        found: NDArray[np.float64] = np.floor(place * np.array([width / self.width, height / self.height]))
        return found


def draw_crop(pixels: NDArray[np.float64], view: CameraView, rng: np.random.Generator) -> Crop:
    """Random crop and mirror of a picture that holds most of its paired ``pixels`` (P, 2), or many of them (SLidR)."""
    mirrored = bool(rng.random() < 0.5)
    for _ in range(ATTEMPTS):
        area = rng.uniform(*AREA) * view.width * view.height
        aspect = math.exp(rng.uniform(*np.log(ASPECT)))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (0 < width <= view.width and 0 < height <= view.height):
            continue
        left, top = int(rng.integers(view.width - width + 1)), int(rng.integers(view.height - height + 1))
        crop = Crop(left, top, width, height, mirrored)
        held = int(crop.holds(pixels).sum())
        if held > ENOUGH or held > SHARE * len(pixels):
            return crop
    return Crop(0, 0, view.width, view.height, mirrored)


def cut_cuboid(coords: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of (N, 3) points outside a cuboid around a random one of them; sides up to a fifth of the extent (SLidR)."""
    if not len(coords):
        return np.arange(0)
    center = coords[rng.integers(len(coords))]
    side = rng.random(3) * CUBOID * np.ptp(coords, axis=0)
    return np.flatnonzero((np.abs(coords - center) > side / 2).any(axis=1))
