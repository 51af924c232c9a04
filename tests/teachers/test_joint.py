"""Several teachers side by side: values and gradients of the similarity objective by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lidistill.objectives.similarity import similarity
from lidistill.teachers.joint import join, labels
from lidistill.teachers.teacher import Teacher

FIRST, SECOND = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0, 10.0], [2.0, 1.0, 2.0]])


def test_unit_vectors_times_weights() -> None:
    third = 1 / 3
    expected = torch.tensor([[0.6, 0.8, 0, 0, 0.5], [0, 1, third, third / 2, third]])
    assert torch.allclose(join([FIRST, SECOND], [1.0, 0.5]), expected)


def test_neither_size_nor_length_of_features_decides() -> None:
    assert torch.allclose(join([FIRST * 100, SECOND / 50], [1, 2]), join([FIRST, SECOND], [1, 2]))
    shares = join([FIRST, torch.randn(2, 500)], [3, 1]).split([2, 500], 1)
    assert torch.allclose(shares[0].square().sum(1) / 9, shares[1].square().sum(1))


def test_one_teacher_is_left_alone() -> None:
    assert join([FIRST], [2.0]) is FIRST


def test_a_null_vector_stays_null() -> None:
    found = join([torch.zeros(2, 2), SECOND], [1, 1])
    assert found[:, :2].eq(0).all()
    student = torch.cat([torch.zeros(2, 2), SECOND], 1)
    assert similarity(student, found) < 1e-6


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.5), (3.0, 4.0)])
def test_a_student_of_one_teacher_alone(weights: tuple[float, float]) -> None:
    """cos = w_1 / W."""
    target = join([FIRST, SECOND], weights)
    student = torch.cat([FIRST, torch.zeros(2, 3)], 1)
    expected = math.sqrt(2 - 2 * weights[0] / math.hypot(*weights))
    assert similarity(student, target).item() == pytest.approx(expected, abs=1e-6)
    if weights == (1.0, 1.0):
        assert expected == pytest.approx(0.77, abs=0.005)


def test_the_best_student_ties_the_lengths_of_its_parts() -> None:
    target = join([FIRST, SECOND], [1.0, 2.0])
    parallel = torch.cat([FIRST / FIRST.norm(dim=1, keepdim=True), 2 * SECOND / SECOND.norm(dim=1, keepdim=True)], 1)
    assert similarity(7 * parallel, target) < 1e-6
    loud = torch.cat([FIRST / FIRST.norm(dim=1, keepdim=True), SECOND / SECOND.norm(dim=1, keepdim=True)], 1)
    # both directions right, lengths 1 : 1 for 1 : 2
    assert similarity(loud, target).item() == pytest.approx(math.sqrt(2 - 2 * 3 / math.sqrt(10)), abs=1e-6)


def test_gradient_by_hand() -> None:
    """d/ds sqrt(2 - 2 cos) = (cos s/|s| - t/|t|) / (|s| sqrt(2 - 2 cos))."""
    target = join([torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0]])], [1.0, 2.0]).double()
    student = torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    similarity(student, target).backward()
    unit = [0.6 / math.sqrt(5), 0.8 / math.sqrt(5), 2 / math.sqrt(5)]
    cos = (1 * unit[0] + 2 * unit[1] + 2 * unit[2]) / 3
    distance = math.sqrt(2 - 2 * cos)
    expected = [(cos * s / 3 - t) / (3 * distance) for s, t in zip((1, 2, 2), unit, strict=True)]
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_names_are_told_apart() -> None:
    teachers = [Teacher(name=name, dim=1, stride=4, grid="origin") for name in ("net", "city", "net", "net")]
    assert labels(teachers) == ("net", "city", "net 2", "net 3")
