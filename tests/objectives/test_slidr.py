"""The SLidR loss: the reference's numbers, a loop over superpixels, and what is left out."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lidistill.objectives.contrast import info_nce
from lidistill.objectives.pooling import segment_means
from lidistill.objectives.slidr import slidr


def assert_close(found, expected):
    """Relative 1e-5 as the fixtures define it."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def batch(pairs=40, superpixels=12, empty=(3, 7), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = functional.normalize(torch.randn(pairs, 5, dtype=dtype, generator=generator), dim=1)
    means = 0.5 * torch.randn(superpixels, 5, dtype=dtype, generator=generator)
    filled = torch.tensor([s for s in range(superpixels) if s not in empty])
    segments = filled[torch.randint(0, len(filled), (pairs,), generator=generator)]
    segments[: len(filled)] = filled
    return points.requires_grad_(), segments, means.requires_grad_()


def test_reference_values(parity):
    data = np.load(parity("04_distillation_losses/slidr_superpixel.npz"))
    points, images = (torch.tensor(data[name], requires_grad=True) for name in ("points", "images"))
    superpixels, count = torch.tensor(data["superpixels"]), int(data["superpixel_size"])
    ids = superpixels + count * torch.arange(len(superpixels))[:, None, None]
    pixels = images.permute(0, 2, 3, 1).flatten(0, 2)
    means = segment_means(pixels, ids.flatten(), len(superpixels) * count)
    camera, row, column = torch.tensor(data["pair_pixels"]).long().T
    chosen = points[torch.tensor(data["pair_points"]).long()]
    loss = slidr(chosen, ids[camera, row, column], means, float(data["temperature"]))
    assert_close(loss.detach(), data["loss"])
    loss.backward()
    assert_close(points.grad, data["grad_points"])
    gradient = images.grad.permute(0, 2, 3, 1).flatten(0, 2)
    assert_close(gradient[torch.tensor(data["grad_images_flat_rows"]).long()], data["grad_images_flat"])


def test_a_loop_over_superpixels():
    points, segments, means = (t.detach() for t in batch())
    rows = [points[segments == s].sum(0) / (int((segments == s).sum()) + 1e-6) for s in segments.unique().tolist()]
    expected = info_nce(torch.stack(rows), means[segments.unique()], 0.2)
    assert float(slidr(points, segments, means, 0.2)) == pytest.approx(float(expected), rel=1e-12)


def test_two_superpixels_by_hand():
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    means = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # superpixel 1: (1, 0); superpixel 2: (0.5, 0.5), which is as close to both; superpixel 0 has no point
    loss = slidr(points, torch.tensor([1, 2, 2]), means, 1.0)
    assert float(loss) == pytest.approx((np.log1p(np.exp(-1)) + np.log(2)) / 2, rel=1e-6)


def test_superpixels_without_a_point_do_not_matter():
    points, segments, means = (t.detach() for t in batch())
    other = means.clone()
    other[[3, 7]] = 100
    assert float(slidr(points, segments, other)) == float(slidr(points, segments, means))


def test_a_mean_of_zero_in_the_first_channel_still_counts():
    points, segments, means = (t.detach() for t in batch())
    points[segments == 5, 0] = 0
    kept = float(slidr(points, segments, means))
    assert kept != pytest.approx(float(slidr(points[segments != 5], segments[segments != 5], means)), rel=1e-6)


def test_the_order_of_pairs_does_not_matter():
    points, segments, means = (t.detach() for t in batch())
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    shuffled = slidr(points[order], segments[order], means)
    assert float(shuffled) == pytest.approx(float(slidr(points, segments, means)), rel=1e-12)


def test_the_numbers_of_superpixels_do_not_matter():
    points, segments, means = (t.detach() for t in batch())
    order = torch.randperm(len(means), generator=torch.Generator().manual_seed(1))
    renamed = slidr(points, order.argsort()[segments], means[order])
    assert float(renamed) == pytest.approx(float(slidr(points, segments, means)), rel=1e-12)


def test_gradient_matches_finite_differences():
    points, segments, means = batch(pairs=14, superpixels=6, empty=(2,))
    assert torch.autograd.gradcheck(lambda p, m: slidr(p, segments, m, 0.5), (points, means))


def test_no_pairs_give_zero():
    points, means = torch.zeros(0, 5, requires_grad=True), torch.ones(6, 5, requires_grad=True)
    loss = slidr(points, torch.zeros(0, dtype=torch.int64), means)
    loss.backward()
    assert float(loss.detach()) == 0
    assert points.grad.shape == (0, 5)
    assert not means.grad.any()


def test_half_precision_is_computed_in_single():
    points, segments, means = (t.detach() for t in batch(dtype=torch.float32))
    expected = float(slidr(points, segments, means))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(slidr(points, segments, means)) == expected
        assert slidr(points.bfloat16(), segments, means.bfloat16()).dtype == torch.float32
