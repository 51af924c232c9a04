"""Four taps equal the full-resolution map, in every grid."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lidistill.teachers.families import to_map
from lidistill.teachers.sampling import sample


def test_equal_to_published_upsampling(parity):
    data = np.load(parity("04_distillation_losses/teacher_upsampling.npz"))
    factor = int(data["factor"])
    tokens = torch.from_numpy(data["patch_tokens_with_cls"])
    expected_map = torch.from_numpy(data["feature_map_from_tokens"])
    rows, columns = expected_map.shape[2:]
    images = torch.zeros(2, 3, rows * factor, columns * factor)
    assert torch.equal(to_map(tokens, images, factor), expected_map)
    size = (rows * factor, columns * factor)
    index, row, column = torch.from_numpy(data["pixels_img_row_col"]).long().unbind(1)
    read = sample(torch.from_numpy(data["feature_map"]), index, torch.stack([column, row], 1).float(), size, "corners")
    expected = torch.from_numpy(data["gathered"])
    assert (read - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max())
    v, u = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    pixels = torch.stack([u.flatten(), v.flatten()], 1).float()
    whole = torch.from_numpy(data["upsampled_second_image"])
    read = sample(
        torch.from_numpy(data["feature_map"]), torch.ones(len(pixels), dtype=torch.long), pixels, size, "corners"
    )
    assert (read.T.reshape(whole.shape) - whole).abs().max() <= 1e-5 * max(1.0, whole.abs().max())


@pytest.mark.parametrize("grid", ["corners", "centers"])
def test_equal_to_interpolate(grid):
    torch.manual_seed(0)
    features, size = torch.randn(3, 5, 4, 7), (56, 98)
    whole = functional.interpolate(features, size, mode="bilinear", align_corners=grid == "corners")
    index = torch.randint(3, (200,))
    pixels = torch.stack([torch.randint(98, (200,)), torch.randint(56, (200,))], 1)
    read = sample(features, index, pixels.float(), size, grid)
    assert torch.allclose(read, whole[index, :, pixels[:, 1], pixels[:, 0]], atol=2e-6)


def test_origin_cells_lie_on_multiples_of_the_stride():
    features = torch.arange(12.0).view(1, 1, 3, 4)  # value = 4 row + column
    pixels = torch.tensor([[0.0, 0.0], [8.0, 0.0], [16.0, 8.0], [12.0, 4.0], [31.0, 23.0]])
    read = sample(features, torch.zeros(5, dtype=torch.long), pixels, (24, 32), "origin")[:, 0]
    assert read.tolist() == pytest.approx([0, 1, 6, 3.5, 11])


def test_centers_of_patches_are_exact_and_borders_go_on():
    features = torch.arange(6.0).view(1, 1, 2, 3)
    pixels = torch.tensor([[6.5, 6.5], [20.5, 6.5], [0.0, 0.0], [41.0, 27.0], [13.5, 6.5]])
    read = sample(features, torch.zeros(5, dtype=torch.long), pixels, (28, 42), "centers")[:, 0]
    assert read.tolist() == pytest.approx([0, 1, 0, 5, 0.5])


def test_the_right_picture_is_read_and_half_precision_kept():
    features = torch.stack([torch.full((4, 2, 2), float(i)) for i in range(3)]).bfloat16()
    index = torch.tensor([2, 0, 1])
    read = sample(features, index, torch.rand(3, 2) * 10, (16, 16), "corners")
    assert read.dtype == torch.bfloat16
    assert read[:, 0].tolist() == [2, 0, 1]
    assert sample(features, index[:0], torch.zeros(0, 2), (16, 16), "corners").shape == (0, 4)


def test_columns_first():
    features = torch.zeros(1, 1, 2, 4)
    features[0, 0, 0, 3] = 1
    top_right = sample(features, torch.tensor([0]), torch.tensor([[31.0, 0.0]]), (16, 32), "corners")
    assert top_right.item() == 1
