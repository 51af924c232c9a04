"""Means of segments and superpixels against loops written out, and their memory."""

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from lidistill.objectives import pooling
from lidistill.objectives.pooling import frozen_means, pixel_means, segment_counts, segment_means, shrunk


def assert_close(found, expected):
    """Relative 1e-5 as the fixtures define it."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def scene(images=3, dim=4, low=(3, 5), high=(9, 14), count=6, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, dim, *low, dtype=dtype, generator=generator, requires_grad=True)
    superpixels = torch.randint(0, count - 1, (images, *high), generator=generator)  # the last one is empty
    return maps, superpixels, count


def test_reference_values(parity):
    data = np.load(parity("04_distillation_losses/slidr_superpixel.npz"))
    superpixels, count = torch.tensor(data["superpixels"]), int(data["superpixel_size"])
    camera, row, column = torch.tensor(data["pair_pixels"]).long().T
    points = torch.tensor(data["points"])[torch.tensor(data["pair_points"]).long()]
    segments = camera * count + superpixels[camera, row, column]
    total = len(superpixels) * count
    seen = segment_counts(segments, total) > 0
    assert_close(segment_means(points, segments, total)[seen], data["pooled_points_k"])
    # the images are unit vectors at the superpixels' own size: nothing to enlarge or normalise
    assert_close(pixel_means(torch.tensor(data["images"]), superpixels, count)[seen], data["pooled_pixels_q"])


def test_reference_frozen_features(parity):
    inputs = np.load(parity("04_distillation_losses/stslidr_inputs.npz"))
    expected = np.load(parity("04_distillation_losses/stslidr.npz"))["superpixel_features"]
    features, superpixels = (torch.tensor(inputs[name]) for name in ("features", "superpixels"))
    assert_close(frozen_means(features, superpixels, int(inputs["superpixel_size"])), expected)


def test_segments_by_hand():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0], [7.0, 7.0], [8.0, 8.0]])
    segments = torch.tensor([2, 0, 2, -1, 4])
    assert segment_counts(segments, 4).tolist() == [1, 0, 2, 0]
    expected = torch.tensor([[3.0, 4.0], [0.0, 0.0], [5.5, 11.0], [0.0, 0.0]])
    assert segment_means(features, segments, 4).tolist() == pytest.approx(np.array(expected), rel=2e-6)


def test_an_empty_segment_is_null_and_a_mean_a_millionth_short():
    one = segment_means(torch.ones(1, 1, dtype=torch.float64), torch.tensor([1]), 2)
    assert one[0, 0] == 0
    assert float(one[1, 0]) == pytest.approx(1 / (1 + 1e-6), rel=1e-12)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_ids_of_any_integer_type(kind):
    segments = torch.tensor([0, 255, 3, 255]) if kind == torch.uint8 else torch.tensor([0, -1, 3, 300])
    assert segment_counts(segments.to(kind), 256)[:5].tolist() == [1, 0, 0, 1, 0]
    assert segment_counts(segments.to(kind), 256)[255] == (2 if kind == torch.uint8 else 0)


def test_the_order_of_points_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 3, dtype=torch.float64, generator=generator)
    segments = torch.randint(0, 7, (200,), generator=generator)
    order = torch.randperm(200, generator=generator)
    again = segment_means(features[order], segments[order], 7)
    assert torch.allclose(again, segment_means(features, segments, 7), rtol=1e-12, atol=1e-12)


def test_segment_gradient_matches_finite_differences():
    features = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    segments = torch.tensor([1, 1, 0, 3, -1, 3, 3, 9])
    assert torch.autograd.gradcheck(lambda f: segment_means(f, segments, 5), (features,))


def test_no_points_give_null_means():
    features = torch.zeros(0, 3, requires_grad=True)
    means = segment_means(features, torch.zeros(0, dtype=torch.int64), 4)
    means.sum().backward()
    assert means.shape == (4, 3)
    assert not means.any()
    assert features.grad.shape == (0, 3)


def pixels_by_loop(maps, superpixels, count, scans):
    """Every pixel one by one, all maps at full resolution at once."""
    large = functional.interpolate(maps, superpixels.shape[1:], mode="bilinear", align_corners=True)
    large = large / large.norm(dim=1, keepdim=True)
    sums, numbers = maps.new_zeros((max(scans) + 1) * count, maps.shape[1]), [0] * ((max(scans) + 1) * count)
    for image, row, column in np.ndindex(*superpixels.shape):
        segment = scans[image] * count + int(superpixels[image, row, column])
        if 0 <= superpixels[image, row, column] < count:
            sums[segment] = sums[segment] + large[image, :, row, column]
            numbers[segment] += 1
    return sums / (torch.tensor(numbers, dtype=maps.dtype)[:, None] + 1e-6)


@pytest.mark.parametrize("scans", [None, [0, 0, 1], [2, 0, 2]])
@pytest.mark.parametrize("low", [(3, 5), (1, 5), (9, 14), (20, 3)])
def test_pixel_means_are_those_of_the_enlarged_maps(low, scans):
    maps, superpixels, count = scene(low=low)
    superpixels[0, 0, :3] = torch.tensor([-1, count, count + 2])  # no superpixel of this image, nor of the next
    found = pixel_means(maps, superpixels, count, scans)
    expected = pixels_by_loop(maps, superpixels, count, scans or [0, 1, 2])
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
    pull = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((means * pull).sum(), maps)[0] for means in (found, expected)]
    assert torch.allclose(*gradients, rtol=1e-9, atol=1e-9)


def test_pixel_gradient_matches_finite_differences():
    maps, superpixels, count = scene(images=2, dim=3, low=(2, 3), high=(4, 6))
    assert torch.autograd.gradcheck(lambda m: pixel_means(m, superpixels, count, [0, 0]), (maps,))


def test_one_full_resolution_map_at_a_time(monkeypatch):
    maps, superpixels, count = scene(images=4, dim=8, high=(30, 40))
    kept = []
    monkeypatch.setattr(pooling, "KEPT_PIXELS", 100)
    with saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
        means = pixel_means(maps, superpixels, count)
    assert max(kept) < 8 * 30 * 40 / 2  # no full-resolution map waits for the backward pass
    means.sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_pixel_means_without_gradient():
    maps, superpixels, count = scene()
    with torch.no_grad():
        assert torch.equal(pixel_means(maps, superpixels, count), pixel_means(maps, superpixels, count))


def test_pixel_means_are_computed_in_single():
    maps, superpixels, count = scene(dtype=torch.float32)
    expected = pixel_means(maps, superpixels, count)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pixel_means(maps, superpixels, count), expected)
        rounded = pixel_means(maps.bfloat16(), superpixels, count)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, expected, atol=0.02)


def test_shrunk_takes_every_other_pixel():
    superpixels = torch.arange(24).view(1, 4, 6)
    assert shrunk(superpixels, (2, 3)).tolist() == [[[0, 2, 4], [12, 14, 16]]]
    assert shrunk(superpixels, (3, 4)).tolist() == [[[0, 1, 3, 4], [6, 7, 9, 10], [12, 13, 15, 16]]]
    assert shrunk(superpixels.short(), (2, 3)).dtype == torch.int16


def test_frozen_means_by_hand():
    superpixels = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 2]], [[5, 0, 0, 0], [0, 0, 0, 0]]])
    features = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]], requires_grad=True)
    means = frozen_means(features, superpixels, 3)
    # superpixel 2 of the first image is lost by the shrinking; id 5 is none of the second image's
    assert means[:, 0].tolist() == pytest.approx([1, 3, 0, 7, 0, 0], rel=2e-6)
    assert not means.requires_grad
