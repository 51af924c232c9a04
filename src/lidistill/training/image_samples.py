"""Samples of learning the classes of pixels: pieces of pictures, made in the loader's workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidistill.datasets.pictures.pictures import Picture, PictureSource
from lidistill.errors import InputError
from lidistill.teachers.image_network import STRIDE
from lidistill.teachers.images import prepare
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.samples import Collated, Skip
from lidistill.transforms.pictures import nearest_pixels, random_colors, random_pieces


@dataclass(frozen=True)
class ImageBatch:
    """``images`` (B, 3, h, w) in [0, 1]; ``classes`` (B, h / 4, w / 4) int64 under the cells, 255 = ignore."""

    images: Tensor
    classes: Tensor

    def to(self, device: torch.device) -> ImageBatch:
        """Copy to ``device``."""
        return ImageBatch(*(t.to(device, non_blocking=True) for t in (self.images, self.classes)))

    def pin_memory(self) -> ImageBatch:
        """Copy to page-locked memory (called by torch's loader)."""
        return ImageBatch(self.images.pin_memory(), self.classes.pin_memory())


def image_sample(picture: Picture, recipe: ImageRecipe, rng: np.random.Generator) -> ImageBatch:
    """A random piece of a picture, as a batch of one. Raises ``InputError`` for a picture without classes."""
    if picture.classes is None:
        raise InputError(f"{picture.token}: has no mask; leave it out, or allow more bad_frames")
    image = prepare(picture.image(), recipe.image_size)[None]
    classes = torch.from_numpy(picture.classes[nearest_pixels(picture.classes.shape, recipe.image_size)])[None]
    crop = recipe.crop_size or recipe.image_size
    pieces, cells = random_pieces(
        image, classes, crop, STRIDE, rng, zoom=recipe.zoom, stretch=recipe.stretch, flip=recipe.flip
    )
    return ImageBatch(random_colors(pieces, rng) if recipe.colors else pieces, cells)


class ImageSamples(Dataset[ImageBatch | Skip]):
    """Training samples of ``source``, asked for as (pass over the data, index); a function of (seed, pass, index)."""

    def __init__(self, source: PictureSource, recipe: ImageRecipe) -> None:
        self.source, self.recipe = source, recipe
        self.names: tuple[str, ...] = (source.name,)
        self.sizes: tuple[int, ...] = (len(source),)
        self.collate = collate

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> ImageBatch | Skip:
        number, index = key
        rng = np.random.default_rng([self.recipe.seed, number, index])
        try:
            return image_sample(self.source[index], self.recipe, rng)
        except InputError as error:
            return Skip(f"{self.source.name}[{index}]", str(error))


def collate(samples: Sequence[ImageBatch | Skip]) -> Collated[ImageBatch]:
    """Leave out the skipped ones and stack the rest; channels lie last in memory, as convolutions like them."""
    skipped = tuple(s for s in samples if isinstance(s, Skip))
    usable = [s for s in samples if isinstance(s, ImageBatch)]
    if not usable:
        return Collated(None, skipped)
    images = torch.cat([s.images for s in usable]).contiguous(memory_format=torch.channels_last)
    return Collated(ImageBatch(images, torch.cat([s.classes for s in usable])), skipped)
