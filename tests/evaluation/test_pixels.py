"""Evaluation of image networks: every recorded pixel that has a class counts once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lidistill import taxonomy
from lidistill.datasets.pictures.pictures import Picture
from lidistill.errors import InputError
from lidistill.evaluation.pixels import classify, evaluate_pictures
from lidistill.teachers.image_network import ImageModel, ImageNetwork

RED, GREEN = (255, 0, 0), (0, 255, 0)


class Reader(nn.Module):
    """Scores of the cell at pixel (4 i, 4 j): is it red, is it green?"""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :2, ::4, ::4]


def network() -> ImageNetwork:
    made = ImageNetwork(ImageModel(network="small", width=0.25, classes=("red", "green"), taxonomy="mine"))
    made.encoder, made.classifier = Reader(), nn.Conv2d(2, 2, 1, bias=False)
    made.classifier.weight.data = torch.eye(2)[:, :, None, None]
    return made


class Pictures:
    """The left part is red, the rest green; the classes say so, but for a corner that has none."""

    name = spec = "halves"
    taxonomy = taxonomy.from_names(["red", "green"])

    def __init__(self, edges: list[int], shape: tuple[int, int] = (64, 128)) -> None:
        self.edges, self.shape = edges, shape

    def __len__(self) -> int:
        return len(self.edges)

    def __getitem__(self, index: int) -> Picture:
        if self.edges[index] < 0:
            raise InputError("halves/x.png: damaged")
        image = np.full((*self.shape, 3), GREEN, np.uint8)
        image[:, : self.edges[index]] = RED
        classes = (image[..., 1] > 0).astype(np.uint8)
        classes[:16, :16] = 255
        return Picture(f"halves/{index}", partial(_same, image), classes)


def _same(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image


def test_all_pixels_with_a_class_and_no_others() -> None:
    found = evaluate_pictures(network(), Pictures([32, 64, -1]), (64, 128), title=None)  # type: ignore[arg-type]
    assert found.tokens == ("halves/0", "halves/1")
    assert [skip.token for skip in found.skipped] == ["halves[2]"]
    assert found.confusion.truth().tolist() == [32 * 64 + 64 * 64 - 2 * 256, 96 * 64 + 64 * 64]
    assert found.confusion.accuracy() > 0.97  # an edge between two cells may be a few pixels off


@pytest.mark.parametrize("size", [(32, 64), (64, 128), (128, 192)])
def test_pixels_are_read_where_they_lie(size: tuple[int, int]) -> None:
    """Whatever the picture is resized to; half a cell of error would be two recorded pixels at least."""
    picture = Pictures([51])[0]
    image = torch.from_numpy(picture.image()).permute(2, 0, 1).float() / 255
    shown = nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    found = classify(network(), shown, (64, 128)).reshape(64, 128)
    edge = (found == 0).sum(1)
    assert (edge == edge[0]).all()
    assert abs(int(edge[0]) - 51) <= 2 * 64 / size[0]


def test_a_picture_without_a_single_class() -> None:
    source = Pictures([64])
    bare = Picture("halves/0", source[0].load, np.full((64, 128), 255, np.uint8))
    source.__class__ = type("Bare", (Pictures,), {"__getitem__": lambda self, index: bare})
    found = evaluate_pictures(network(), source, (64, 128), title=None)  # type: ignore[arg-type]
    assert found.tokens == ("halves/0",)
    assert found.confusion.truth().sum() == 0
