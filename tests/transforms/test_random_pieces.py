"""Random pieces and colours of pictures: a class stays under the pixels that show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.transforms.pictures import nearest_pixels, random_colors, random_pieces

SIZE, CROP = (64, 96), (48, 56)


def coloured() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures whose red is the class of the pixel, by 16 x 16 blocks, and the classes."""
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]) // 16, torch.arange(SIZE[1]) // 16, indexing="ij")
    classes = torch.stack([6 * rows + columns, 23 - 6 * rows - columns])
    images = torch.zeros(2, 3, *SIZE)
    images[:, 0] = classes / 24
    return images, classes


@pytest.mark.parametrize("stride", [1, 4])
def test_a_cell_has_the_class_of_its_pixel(stride: int) -> None:
    images, classes = coloured()
    pieces, cells = random_pieces(images, classes, CROP, stride, np.random.default_rng(1))
    assert pieces.shape == (2, 3, *CROP)
    assert cells.shape == (2, CROP[0] // stride, CROP[1] // stride)
    shown = (pieces[:, 0, ::stride, ::stride] * 24).round().long()
    assert (shown == cells).float().mean() > 0.9  # but for edges, where colours are mixed
    assert len(cells.unique()) > 4


def test_without_augmentation_the_whole_is_as_it_is() -> None:
    images, classes = coloured()
    whole = {"zoom": (1.0, 1.0), "stretch": 0.0, "flip": False}
    pieces, cells = random_pieces(images, classes, SIZE, 4, np.random.default_rng(0), **whole)
    assert torch.allclose(pieces, images, atol=1e-5)
    assert torch.equal(cells, classes[:, ::4, ::4])


def test_half_of_the_pieces_are_mirrored_unless_told_otherwise() -> None:
    image = torch.linspace(0, 1, SIZE[1]).expand(200, 3, *SIZE)
    classes = torch.zeros(200, *SIZE, dtype=torch.uint8)

    def rising(flip: bool) -> float:
        pieces, _ = random_pieces(image, classes, CROP, 4, np.random.default_rng(0), flip=flip)
        return float((pieces[:, 0, 0, -1] > pieces[:, 0, 0, 0]).float().mean())

    assert 0.4 < rising(True) < 0.6
    assert rising(False) == 1


def test_ignored_pixels_stay_ignored() -> None:
    images, classes = coloured()
    _, cells = random_pieces(images, torch.full_like(classes, 255), CROP, 4, np.random.default_rng(0))
    assert (cells == 255).all()


def test_colours_change_and_stay_colours() -> None:
    images = torch.rand(3, 3, 32, 32)
    found = random_colors(images, np.random.default_rng(0))
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - images).abs().mean() > 0.01
    assert torch.equal(found, random_colors(images, np.random.default_rng(0)))
    # what is brighter stays brighter: classes can still be told apart
    order = torch.corrcoef(torch.stack([images.mean(1)[0].flatten(), found.mean(1)[0].flatten()]))[0, 1]
    assert order > 0.9


def test_nearest_pixels() -> None:
    classes = np.arange(4 * 6).reshape(4, 6)
    np.testing.assert_array_equal(classes[nearest_pixels((4, 6), (4, 6))], classes)
    np.testing.assert_array_equal(classes[nearest_pixels((4, 6), (8, 12))], classes.repeat(2, 0).repeat(2, 1))
