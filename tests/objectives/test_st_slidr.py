"""The ST-SLidR losses: the reference's numbers for all published variants, and the weights by hand."""

import json

import numpy as np
import pytest
import torch

from lidistill.objectives import st_slidr as module
from lidistill.objectives.contrast import info_nce
from lidistill.objectives.pooling import frozen_means, segment_means
from lidistill.objectives.slidr import slidr
from lidistill.objectives.st_slidr import alike_rows, balance, cosine, st_slidr, st_slidr_balanced, tolerance

FOLDER = "04_distillation_losses"


def assert_close(found, expected):
    """Relative 1e-5 as the fixtures define it."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def slidr_balanced(points, segments, means, frozen, temperature, noise):
    ours, theirs, similarity = alike_rows(points, segments, means, frozen)
    return info_nce(ours, theirs, temperature, weights=balance(similarity, noise))


CASES = {
    "stslidr": lambda *inputs: st_slidr(*inputs),
    "stslidr_noquantile": lambda *inputs: st_slidr(*inputs, quantiles=None),
    "stslidr_q10_90": lambda *inputs: st_slidr(*inputs, quantiles=(0.1, 0.9)),
    "stslidr_classbalance": lambda *inputs: st_slidr_balanced(*inputs),
    "slidr_classbalance": lambda *inputs: slidr_balanced(*inputs, noise=0.5),
}


@pytest.mark.parametrize("case", CASES)
def test_reference_values(parity, case):
    inputs, data = (np.load(parity(f"{FOLDER}/{name}.npz")) for name in ("stslidr_inputs", case))
    points, images = (torch.tensor(inputs[name], requires_grad=True) for name in ("points", "images"))
    superpixels, count = torch.tensor(inputs["superpixels"]), int(inputs["superpixel_size"])
    ids = superpixels + count * torch.arange(len(superpixels))[:, None, None]
    means = segment_means(images.permute(0, 2, 3, 1).flatten(0, 2), ids.flatten(), len(superpixels) * count)
    camera, row, column = torch.tensor(inputs["pair_pixels"]).long().T
    chosen = points[torch.tensor(inputs["pair_points"]).long()]
    frozen = frozen_means(torch.tensor(inputs["features"]), superpixels, count)
    assert_close(frozen, data["superpixel_features"])
    loss = CASES[case](chosen, ids[camera, row, column], means, frozen, float(inputs["temperature"]))
    assert_close(loss.detach(), data["loss"])
    loss.backward()
    assert_close(points.grad, data["grad_points"])
    gradient = images.grad.permute(0, 2, 3, 1).flatten(0, 2)
    assert_close(gradient[torch.tensor(data["grad_images_flat_rows"]).long()], data["grad_images_flat"])


@pytest.mark.parametrize("quantiles", ["q0p0_1p0", "q0p01_1p0", "q0p2_1p0", "q0p0_0p8"])
def test_reference_criterion(parity, quantiles):
    data = np.load(parity(f"{FOLDER}/semantically_tolerant_criterion.npz"))
    points, pixels = (torch.tensor(data[name], requires_grad=True) for name in ("k", "q"))
    similarity = torch.tensor(data["similarity"]).clamp(0, 1)
    known = similarity.any(dim=1)
    limits = tuple(float(text.replace("p", ".")) for text in quantiles[1:].split("_"))
    multiply = tolerance(similarity[known][:, known], None if limits == (0, 1) else limits)
    loss = info_nce(points[known], pixels[known], float(data["temperature"]), multiply)
    assert_close(loss.detach(), data[f"loss_{quantiles}"])
    loss.backward()
    assert_close(points.grad, data[f"grad_k_{quantiles}"])
    assert_close(pixels.grad, data[f"grad_q_{quantiles}"])


@pytest.mark.parametrize("case", ["stppkt_threshold", "stppkt_exponent", "stppkt_classbalance"])
def test_reference_pixel_level(parity, case):
    """The pixel-level variants are compositions: the first two drop null features, the third keeps them."""
    inputs, data = (np.load(parity(f"{FOLDER}/{name}.npz")) for name in ("stslidr_inputs", case))
    settings = json.loads(parity(f"{FOLDER}/index.json").read_text())[case]["params"]
    points = torch.tensor(inputs["points"], requires_grad=True)
    chosen = torch.tensor(data["selected"]).long()
    camera, row, column = torch.tensor(inputs["pair_pixels"]).long()[chosen].T
    pixels = torch.tensor(inputs["images"])[camera, :, row, column]
    rows, temperature = points[torch.tensor(inputs["pair_points"]).long()[chosen]], float(inputs["temperature"])
    similarity = cosine(torch.tensor(data["sampled_features"]))
    if case == "stppkt_classbalance":
        weights = balance(similarity, settings["loss_balance_noise_threshold"])
        loss = info_nce(rows, pixels, temperature, tolerance(similarity, (settings["min_quantile"], 1.0)), weights)
    else:
        known = similarity.diagonal() > 0
        similarity = similarity[known][:, known]
        if case == "stppkt_threshold":
            similarity = torch.where(similarity > settings["featsim_min_threshold"], similarity, 0)
        else:
            similarity = similarity ** settings["featsim_exponent"]
        loss = info_nce(rows[known], pixels[known], temperature, tolerance(similarity.clamp(0, 1), None))
    assert_close(loss.detach(), data["loss"])
    loss.backward()
    assert_close(points.grad, data["grad_points"])


def batch(pairs=60, superpixels=20, dtype=torch.float64, seed=0):
    """Superpixels 3 and 11 have no point, 5 and 11 have no frozen feature."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(pairs, 5, dtype=dtype, generator=generator)
    means = torch.randn(superpixels, 5, dtype=dtype, generator=generator)
    frozen = torch.randn(superpixels, 4, dtype=dtype, generator=generator)
    frozen[[5, 11]] = 0
    filled = torch.tensor([s for s in range(superpixels) if s not in (3, 11)])
    segments = filled[torch.randint(0, len(filled), (pairs,), generator=generator)]
    segments[: len(filled)] = filled
    return points.requires_grad_(), segments, means.requires_grad_(), frozen


def test_cosine_of_known_angles():
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-5.0, 0.0], [1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    half = 0.5**0.5
    rows = [[1, 0, -1, half, 0], [0, 1, 0, half, 0], [-1, 0, 1, -half, 0], [half, half, -half, 1, 0], [0] * 5]
    found = cosine(features)
    assert torch.allclose(found, torch.tensor(rows))
    assert not found.requires_grad


def test_distances_are_the_factors_without_quantiles():
    similarity = torch.tensor([[1.0, 0.2, -0.5], [0.2, 1.0, 1.0], [-0.5, 1.0, 1.0]])
    expected = [[1, 0.8, 1.5], [0.8, 1, 0], [1.5, 0, 1]]
    assert torch.allclose(tolerance(similarity, None), torch.tensor(expected))
    assert similarity[0, 0] == 1
    assert similarity[0, 1] == pytest.approx(0.2)


def test_quantiles_spare_the_nearest_and_the_farthest():
    # distances of anchor 0: own 0, then 0.1, 0.2, ... 1.0; the 0.25 quantile of 11 values is the 2.5th: 0.25
    similarity = torch.eye(11, dtype=torch.float64)
    similarity[0] = 1 - torch.arange(11) / 10
    assert tolerance(similarity, (0.25, 1.0))[0].tolist() == [1, 0, 0] + [1] * 8
    assert tolerance(similarity, (0.0, 0.75))[0].tolist() == [1] * 8 + [0] * 3
    assert tolerance(similarity, (0.0, 1.0))[0].tolist() == [1] * 11


def test_one_in_a_hundred_is_spared():
    generator = torch.Generator().manual_seed(0)
    similarity = cosine(torch.randn(301, 3, dtype=torch.float64, generator=generator))
    factors = tolerance(similarity)
    # the hundredth of 301 is 3: the anchor itself and its two nearest, of which the anchor is set back to 1
    assert (factors == 0).sum(dim=1).tolist() == [2] * 301
    nearest = similarity.argsort(dim=1, descending=True)[:, 1:3]
    assert not factors.gather(1, nearest).any()


def test_an_equal_looking_negative_is_always_spared():
    similarity = cosine(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    assert tolerance(similarity)[0].tolist() == [1, 0, 1, 1]


def test_parts_give_the_same_factors(monkeypatch):
    similarity = cosine(torch.randn(23, 3, generator=torch.Generator().manual_seed(0)))
    whole = tolerance(similarity, (0.2, 0.7))
    monkeypatch.setattr(module, "ENTRIES_AT_ONCE", 100)
    assert torch.equal(tolerance(similarity, (0.2, 0.7)), whole)


def test_votes_weigh_down_the_common():
    # votes: 1 + 0.9 + 0.6, 1 + 0.9, 1 + 0.6, 1; below 0.5 nothing counts
    similarity = torch.tensor([[1, 0.9, 0.6, 0.4], [0.9, 1, 0.3, -0.9], [0.6, 0.3, 1, 0.2], [0.4, -0.9, 0.2, 1]])
    assert balance(similarity).tolist() == pytest.approx([0, 0.4, 0.6, 1], abs=1e-6)
    # with all that is not negative: 2.9, 2.2, 2.1, 1.6
    assert balance(similarity, 0.0).tolist() == pytest.approx([0, 0.7 / 1.3, 0.8 / 1.3, 1], abs=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_equal_votes_weigh_equal(count):
    assert balance(torch.eye(count)).tolist() == [1] * count


def test_rows_are_those_with_a_point_and_a_feature():
    points, segments, means, frozen = batch()
    ours, theirs, similarity = alike_rows(points, segments, means, frozen)
    kept = [s for s in range(20) if s not in (3, 5, 11)]
    assert torch.equal(theirs, means[kept])
    assert torch.allclose(ours, torch.stack([points[segments == s].mean(0) for s in kept]), rtol=2e-6)
    assert torch.equal(similarity, cosine(frozen[kept]))


def test_losses_are_their_parts():
    points, segments, means, frozen = (t.detach() for t in batch())
    ours, theirs, similarity = alike_rows(points, segments, means, frozen)
    tolerant = info_nce(ours, theirs, 0.3, tolerance(similarity.clamp(0, 1), None))
    assert float(st_slidr(points, segments, means, frozen, 0.3, None)) == pytest.approx(float(tolerant), rel=1e-12)
    for noise in (0.5, 0.9):
        both = info_nce(ours, theirs, 0.3, tolerance(similarity, (0.2, 1.0)), balance(similarity, noise))
        found = st_slidr_balanced(points, segments, means, frozen, 0.3, (0.2, 1.0), noise)
        assert float(found) == pytest.approx(float(both), rel=1e-12)


def test_orthogonal_features_give_slidr():
    points, segments, means, _ = (t.detach() for t in batch())
    frozen = torch.eye(len(means), dtype=torch.float64)
    expected = float(slidr(points, segments, means))
    assert float(st_slidr(points, segments, means, frozen, quantiles=None)) == pytest.approx(expected, rel=1e-12)
    assert float(st_slidr_balanced(points, segments, means, frozen)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [st_slidr, st_slidr_balanced])
def test_the_order_of_pairs_and_the_length_of_features_do_not_matter(loss):
    points, segments, means, frozen = (t.detach() for t in batch())
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    again = loss(points[order], segments[order], means, 3 * frozen, quantiles=(0.2, 0.9))
    assert float(again) == pytest.approx(float(loss(points, segments, means, frozen, quantiles=(0.2, 0.9))), rel=1e-12)


@pytest.mark.parametrize("loss", [st_slidr, st_slidr_balanced])
@pytest.mark.parametrize("quantiles", [None, (0.2, 1.0)])
def test_gradient_matches_finite_differences(loss, quantiles):
    points, segments, means, frozen = batch(pairs=25)
    frozen.requires_grad_()  # frozen all the same
    assert torch.autograd.gradcheck(lambda p, m: loss(p, segments, m, frozen, 0.7, quantiles), (points, means))
    loss(points, segments, means, frozen, 0.7, quantiles).backward()
    assert frozen.grad is None


@pytest.mark.parametrize("loss", [st_slidr, st_slidr_balanced])
@pytest.mark.parametrize("missing", ["pairs", "features"])
def test_nothing_to_contrast_gives_zero(loss, missing):
    points, segments, means, frozen = batch()
    if missing == "pairs":
        points, segments = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True), segments[:0]
    else:
        frozen = torch.zeros_like(frozen)
    value = loss(points, segments, means, frozen)
    value.backward()
    assert float(value.detach()) == 0
    assert not points.grad.any()
    assert not means.grad.any()


@pytest.mark.parametrize("loss", [st_slidr, st_slidr_balanced])
def test_a_single_superpixel_gives_zero(loss):
    points, _, means, frozen = batch()
    value = loss(points, torch.zeros(len(points), dtype=torch.int64), means, frozen)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("loss", [st_slidr, st_slidr_balanced])
def test_half_precision_is_computed_in_single(loss):
    points, segments, means, frozen = (t.detach() for t in batch(dtype=torch.float32))
    expected = float(loss(points, segments, means, frozen))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(loss(points, segments, means, frozen)) == expected
        assert loss(points.bfloat16(), segments, means.bfloat16(), frozen.bfloat16()).dtype == torch.float32
