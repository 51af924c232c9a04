"""The PPKT loss: the reference's numbers and how pairs are drawn."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lidistill.objectives.contrast import info_nce
from lidistill.objectives.ppkt import ppkt


def pairs(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [functional.normalize(torch.randn(count, 8, generator=generator), dim=1) for _ in range(2)]


def assert_close(found, expected):
    """Relative 1e-5 as the fixtures define it."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def test_reference_values(parity):
    data = np.load(parity("04_distillation_losses/ppkt_infonce.npz"))
    points, images = (torch.tensor(data[name], requires_grad=True) for name in ("points", "images"))
    chosen = torch.tensor(data["selected"]).long()
    camera, row, column = torch.tensor(data["pair_pixels"]).long()[chosen].T
    pixels = images[camera, :, row, column]
    loss = ppkt(points[torch.tensor(data["pair_points"]).long()[chosen]], pixels, float(data["temperature"]))
    assert_close(loss.detach(), data["loss"])
    loss.backward()
    assert_close(points.grad, data["grad_points"])
    assert_close(images.grad[camera, :, row, column], data["grad_images"])
    assert float(images.grad.abs().double().sum()) == pytest.approx(float(data["grad_images_abs_sum"]), rel=1e-5)


def test_few_pairs_are_all_used_and_nothing_is_drawn():
    points, pixels = pairs(20)
    before = torch.get_rng_state()
    assert float(ppkt(points, pixels, pairs=20)) == float(info_nce(points, pixels))
    assert torch.equal(torch.get_rng_state(), before)


def test_many_pairs_are_drawn_without_replacement():
    points, pixels = pairs(50)
    points.requires_grad_()
    torch.manual_seed(3)
    loss = ppkt(points, pixels, pairs=17)
    loss.backward()
    drawn = points.grad.any(dim=1).nonzero()[:, 0]
    assert len(drawn) == 17
    assert float(loss.detach()) == pytest.approx(float(info_nce(points[drawn], pixels[drawn]).detach()), rel=1e-5)


def test_one_pair_too_many_is_left_out():
    points, pixels = pairs(18)
    points.requires_grad_()
    ppkt(points, pixels, pairs=17).backward()
    assert points.grad.any(dim=1).sum() == 17


def test_the_seed_decides_the_draw():
    points, pixels = pairs(50)
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(float(ppkt(points, pixels, pairs=17)))
    assert losses[0] == losses[1] != losses[2]


def test_every_pair_gets_its_turn():
    points, pixels = pairs(12)
    points.requires_grad_()
    torch.manual_seed(0)
    sum(ppkt(points, pixels, pairs=3) for _ in range(60)).backward()
    assert points.grad.any(dim=1).all()


def test_no_pairs_give_zero():
    points, pixels = (torch.zeros(0, 4, requires_grad=True) for _ in range(2))
    loss = ppkt(points, pixels)
    loss.backward()
    assert float(loss.detach()) == 0
    assert points.grad.shape == pixels.grad.shape == (0, 4)


def test_gradient_matches_finite_differences():
    points, pixels = (t.double().requires_grad_() for t in pairs(6))
    assert torch.autograd.gradcheck(lambda p, q: ppkt(p, q, 0.5), (points, pixels))
