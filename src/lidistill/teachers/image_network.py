"""``ImageNetwork``: an image network that learns classes of pixels, to become a teacher (``teach-images``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from lidistill.teachers import city
from lidistill.teachers.families import IMAGENET
from lidistill.teachers.pretrained import library
from lidistill.teachers.resnet import dilate
from lidistill.teachers.teacher import Grid

Kind = Literal["small", "resnet50"]
STRIDE = 4
GRID: Grid = "origin"
"""Cell (i, j) of either network's features is centred on pixel (4 i, 4 j)."""
RESNET_DIM = 256


class ImageModel(BaseModel):
    """What one must know to build a network again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Kind
    width: float = 1.0
    classes: tuple[str, ...]
    taxonomy: str


class ImageNetwork(nn.Module):
    """An encoder, and a linear classifier on its features.

    ``mean`` and ``std``: what pictures (R, G, B in [0, 1]) are normalised with before they come here.
    """

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model = model
        small = model.network == "small"
        self.dim = city.DIM if small else RESNET_DIM
        self.mean, self.std = (city.MEAN, city.STD) if small else IMAGENET
        self.encoder = city.CityEncoder(model.width) if small else ResNetEncoder()
        self.classifier = nn.Conv2d(self.dim, len(model.classes), 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pictures (B, 3, H, W) -> features (B, D, H / 4, W / 4) and scores of the classes (B, C, ...)."""
        features = self.encoder(images)
        return features, self.classifier(features)


class ResNetEncoder(nn.Module):
    """A ResNet-50 whose strides beyond 4 are dilation, and 256 features read from its 2048."""

    def __init__(self) -> None:
        super().__init__()
        transformers = library("resnet50")
        self.backbone: Any = transformers.ResNetModel(transformers.ResNetConfig())
        dilate(self.backbone, STRIDE)
        # no rectifier after this norm: features of both signs are what cosine similarity wants
        self.last = nn.Sequential(nn.Conv2d(2048, RESNET_DIM, 1, bias=False), nn.BatchNorm2d(RESNET_DIM))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) -> features of both signs (B, 256, H / 4, W / 4)."""
        out: Tensor = self.last(self.backbone(pixel_values=images).last_hidden_state)
        return out


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] as an ``ImageNetwork`` wants them."""
    shift, scale = (images.new_tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (images - shift) / scale
