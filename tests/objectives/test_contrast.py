"""InfoNCE over paired rows: the reference's numbers, small cases by hand, and its corner cases."""

import math

import numpy as np
import pytest
import torch

from lidistill.objectives import contrast
from lidistill.objectives.contrast import info_nce


def rows(count=9, dim=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, dim, dtype=dtype, generator=generator, requires_grad=True) for _ in range(2)]


def assert_close(found, expected):
    """Relative 1e-5 as the fixtures define it."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


@pytest.mark.parametrize("case", ["infonce_rows_t0p07", "infonce_rows_t0p5"])
def test_reference_values(parity, case):
    data = np.load(parity(f"04_distillation_losses/{case}.npz"))
    points, pixels = (torch.tensor(data[name], requires_grad=True) for name in ("k", "q"))
    loss = info_nce(points, pixels, float(data["temperature"]))
    assert_close(loss.detach(), data["loss"])
    loss.backward()
    assert_close(points.grad, data["grad_k"])
    assert_close(pixels.grad, data["grad_q"])


def by_hand(points, pixels, temperature, multiply=None, weights=None):
    losses = []
    for r, point in enumerate(points.tolist()):
        logits = [sum(a * b for a, b in zip(point, pixel, strict=True)) / temperature for pixel in pixels.tolist()]
        if multiply is not None:
            logits = [x * m for x, m in zip(logits, multiply[r].tolist(), strict=True)]
        losses.append(math.log(sum(math.exp(x) for x in logits)) - logits[r])
    weights = [1.0] * len(losses) if weights is None else weights.tolist()
    return sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)


def test_two_orthogonal_pairs():
    points = torch.eye(2)
    assert float(info_nce(points, points, 0.5)) == pytest.approx(math.log(1 + math.exp(-2)))
    assert float(info_nce(points, points.flip(0), 0.5)) == pytest.approx(2 + math.log(1 + math.exp(-2)))


def test_points_ask_and_pixels_answer():
    points, pixels = (t.detach() for t in rows())
    asked = float(info_nce(points, pixels, 0.3))
    assert asked == pytest.approx(by_hand(points, pixels, 0.3), rel=1e-12)
    assert asked != pytest.approx(float(info_nce(pixels, points, 0.3)), rel=1e-3)


def test_factors_and_weights():
    points, pixels = (t.detach() for t in rows())
    generator = torch.Generator().manual_seed(1)
    multiply = torch.rand(9, 9, dtype=torch.float64, generator=generator).round(decimals=1)
    weights = torch.rand(9, dtype=torch.float64, generator=generator)
    found = float(info_nce(points, pixels, 0.3, multiply, weights))
    assert found == pytest.approx(by_hand(points, pixels, 0.3, multiply, weights), rel=1e-12)
    assert found != pytest.approx(by_hand(points, pixels, 0.3, multiply), rel=1e-3)
    assert found != pytest.approx(by_hand(points, pixels, 0.3, None, weights), rel=1e-3)


def test_equal_weights_are_no_weights():
    points, pixels = (t.detach() for t in rows())
    even = info_nce(points, pixels, weights=torch.full((9,), 3.0, dtype=torch.float64))
    assert float(even) == pytest.approx(float(info_nce(points, pixels)), rel=1e-12)


def test_the_order_of_pairs_does_not_matter():
    points, pixels = (t.detach() for t in rows())
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    assert float(info_nce(points[order], pixels[order])) == pytest.approx(float(info_nce(points, pixels)), rel=1e-12)


def test_gradient_matches_finite_differences():
    points, pixels = rows()
    multiply, weights = torch.rand(9, 9, dtype=torch.float64), torch.rand(9, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, q: info_nce(p, q, 0.5), (points, pixels))
    assert torch.autograd.gradcheck(lambda p, q: info_nce(p, q, 0.5, multiply, weights), (points, pixels))


@pytest.mark.parametrize("at_once", [1, 4, 9, 100])
def test_blocks_make_no_difference(monkeypatch, at_once):
    """Loss and gradients of all logits at once, by torch's own operations."""
    points, pixels = rows()
    multiply, weights = torch.rand(9, 9, dtype=torch.float64), torch.rand(9, dtype=torch.float64)
    losses = -((points @ pixels.T / 0.3) * multiply).log_softmax(dim=1).diagonal()
    expected = (losses * weights).sum() / weights.sum()
    slopes = torch.autograd.grad(expected, (points, pixels))
    monkeypatch.setattr(contrast, "ROWS_AT_ONCE", at_once)
    found = info_nce(points, pixels, 0.3, multiply, weights)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    for slope, wanted in zip(torch.autograd.grad(2 * found, (points, pixels)), slopes, strict=True):
        torch.testing.assert_close(slope, 2 * wanted, rtol=1e-10, atol=1e-12)


def test_large_logits_stay_finite():
    points = 100 * torch.eye(4, 4)
    points.requires_grad_()
    loss = info_nce(points, points.detach().flip(0), 0.07)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e4 / 0.07, rel=1e-5)
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_tell_apart_gives_zero(count):
    points, pixels = rows(count)
    loss = info_nce(points, pixels, multiply=torch.ones(count, count), weights=torch.ones(count))
    loss = loss + info_nce(points, pixels)
    loss.backward()
    assert float(loss.detach()) == 0
    assert points.grad.shape == pixels.grad.shape == (count, 5)
    assert not points.grad.any()
    assert not pixels.grad.any()


def test_no_weight_at_all_gives_zero():
    points, pixels = rows()
    loss = info_nce(points, pixels, weights=torch.zeros(9, dtype=torch.float64))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not points.grad.any()


def test_half_precision_is_computed_in_single():
    points, pixels = (t.detach().half() for t in rows(50, 64))
    expected = float(info_nce(points.float(), pixels.float()))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(info_nce(points.float(), pixels.float())) == expected
        loss = info_nce(points, pixels)
    assert loss.dtype == torch.float32
    assert float(loss) == expected
