"""Cross entropy and Lovász-softmax against the reference, and against the definition of the Lovász extension."""

import numpy as np
import pytest
import torch

from lidistill.objectives.segmentation import cross_entropy_lovasz, lovasz_softmax

CASES = ["a", "b", "one_class", "single_point", "mostly_ignored"]


@pytest.fixture(scope="module")
def data(parity):
    return np.load(parity("05_downstream/losses.npz"))


def gradient(loss, logits):
    (found,) = torch.autograd.grad(loss, logits)
    return found


def close(found, expected):
    expected = torch.tensor(expected)
    return (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("weight", "key"), [(0.0, "ce"), (1.0, "ce_lovasz"), (0.5, "ce_lovasz_w0p5")])
def test_reference_values(data, case, weight, key):
    logits = torch.tensor(data[f"{case}_logits"], requires_grad=True)
    loss = cross_entropy_lovasz(logits, torch.tensor(data[f"{case}_labels"]).long(), weight)
    assert float(loss.detach()) == pytest.approx(float(data[f"{case}_{key}"]), rel=1e-5)
    assert close(gradient(loss, logits), data[f"{case}_{key}_grad"])


@pytest.mark.parametrize("case", CASES)
def test_reference_lovasz_alone(data, case):
    logits = torch.tensor(data[f"{case}_logits"], requires_grad=True)
    labels = torch.tensor(data[f"{case}_labels"]).long()
    loss = lovasz_softmax(logits, labels)
    assert float(loss.detach()) == pytest.approx(float(data[f"{case}_lovasz"]), rel=1e-5)
    found = gradient(loss, logits)
    assert found[labels == 255].abs().sum() == 0
    assert close(found[labels != 255], data[f"{case}_lovasz_grad_valid_rows"])


def test_everything_ignored_is_zero_with_zero_gradient():
    logits = torch.randn(20, 5, requires_grad=True)
    loss = cross_entropy_lovasz(logits, torch.full((20,), 255))
    assert float(loss.detach()) == 0
    assert torch.equal(gradient(loss, logits), torch.zeros(20, 5))


def test_lovasz_of_certain_predictions_is_the_jaccard_loss():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 4, (200,), generator=generator)
    prediction = torch.randint(0, 4, (200,), generator=generator)
    logits = 200.0 * torch.nn.functional.one_hot(prediction, 5).float()
    jaccard = [((labels == c) & (prediction == c)).sum() / ((labels == c) | (prediction == c)).sum() for c in range(4)]
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(float(1 - torch.stack(jaccard).mean()), rel=1e-5)


def test_ignored_points_change_nothing():
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(60, 6, generator=generator)
    labels = torch.randint(0, 6, (60,), generator=generator)
    noise = torch.randn(40, 6, generator=generator)
    padded = cross_entropy_lovasz(torch.cat([logits, noise]), torch.cat([labels, torch.full((40,), 255)]))
    assert float(padded) == pytest.approx(float(cross_entropy_lovasz(logits, labels)), rel=1e-6)
