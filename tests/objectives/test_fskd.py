"""FSKD: a feature loss with a length, and soft labels."""

from __future__ import annotations

import pytest
import torch

from lidistill.objectives.fskd import feature_error, soft_labels


def test_the_feature_loss_is_in_units_of_the_teacher() -> None:
    teacher = torch.randn(50, 8)
    assert feature_error(teacher, teacher) == 0
    assert feature_error(torch.zeros_like(teacher), teacher) == pytest.approx(1.0)
    assert feature_error(2 * teacher, teacher) == pytest.approx(1.0)  # the length counts, unlike in ``similarity``
    noise = torch.randn(50, 8)
    assert feature_error(teacher + noise, teacher) == pytest.approx(
        float(feature_error(1000 * (teacher + noise), 1000 * teacher)), rel=1e-4
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_labels_are_the_divergence_written_out(temperature: float) -> None:
    student, teacher = torch.randn(20, 5, dtype=torch.float64), torch.randn(20, 5, dtype=torch.float64)
    q, p = (scores.div(temperature).softmax(1) for scores in (student, teacher))
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_labels(student, teacher, temperature), expected)
    assert soft_labels(teacher, teacher, temperature) == 0
    torch.testing.assert_close(soft_labels(student + 7, teacher, temperature), expected)  # scores of a row may shift


def test_gradients() -> None:
    student = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(6, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: feature_error(s, teacher), student)
    assert torch.autograd.gradcheck(lambda s: soft_labels(s, teacher, 2.0), student)


def test_no_pairs_no_loss() -> None:
    nothing = torch.zeros(0, 4, requires_grad=True)
    total = feature_error(nothing, nothing.detach()) + soft_labels(nothing, nothing.detach())
    total.backward()
    assert total == 0


def test_half_precision_is_summed_in_single() -> None:
    teacher = torch.full((4096, 4), 300.0, dtype=torch.float16)
    assert feature_error(teacher * 0, teacher) == pytest.approx(1.0)
    assert torch.isfinite(soft_labels(teacher, -teacher))
