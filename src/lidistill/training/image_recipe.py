"""``ImageRecipe``: how an image network learns the classes of pixels, to be a teacher."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lidistill.teachers.image_network import STRIDE, Kind
from lidistill.training.recipe_common import Common

Size = tuple[int, int]


class ImageRecipe(Common):
    """How an image network learns from pictures and their classes (the teacher of FSKD, ICRA 2025)."""

    kind: Literal["teach"] = "teach"
    network: Kind
    """``small``: the encoder and decoder of the city teacher, 64 features; ``resnet50``: dilated, 256 features."""
    width: float = Field(1.0, gt=0, le=4)
    """Share of the channels of ``small``, in multiples of 16."""
    start: str | None = None
    """Where its weights come from: ``city`` (the shipped ones, for ``small``), a ResNet-50 file (``.pth``), or a folder
    of teach-images; None = random."""
    image_size: Size
    """Height and width that every picture is resized to, multiples of 4; best that of the distillation to come."""
    crop_size: Size | None = None
    """Height and width of the random piece of it that is learned from, multiples of 4; None = all of it."""
    flip: bool = True
    """Mirror every other piece."""
    zoom: tuple[float, float] = (0.65, 1.45)
    """Smallest and largest share of the picture's height and width on a piece, of that without zoom."""
    stretch: float = Field(0.12, ge=0, lt=1)
    """Height and width of a piece are stretched by up to this share."""
    colors: bool = True
    """Random gamma, exposure, contrast, saturation, white balance and grain."""
    balance: float = Field(0.0, ge=0, le=1)
    """Classes weigh their share of the training pixels to the power -balance: 0 = all alike, rare ones more above."""

    @model_validator(mode="after")
    def _sizes(self) -> ImageRecipe:
        piece = self.crop_size or self.image_size
        for name, size in (("image_size", self.image_size), ("crop_size", piece)):
            if any(side < 8 * STRIDE or side % STRIDE for side in size):
                raise ValueError(f"{name}: height and width must be multiples of {STRIDE}, from {8 * STRIDE} on")
        if piece[0] > self.image_size[0] or piece[1] > self.image_size[1]:
            raise ValueError("crop_size: no larger than image_size")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("zoom: two shares above 0, the smaller one first, such as [0.65, 1.45]")
        return self

    @model_validator(mode="after")
    def _width_of_small(self) -> ImageRecipe:
        if self.network != "small" and self.width != 1:
            raise ValueError(f"width is of the network small; {self.network} has one width")
        return self
