"""The ScaLR loss: values and gradients of the reference, and its corner cases."""

import numpy as np
import pytest
import torch

from lidistill import objectives
from lidistill.errors import InputError
from lidistill.objectives.similarity import similarity


def pairs(data, dtype=torch.float32):
    """Rows of student and teacher for all pairs of all clouds, with the student leaf (B, C, N)."""
    student = torch.tensor(data["student"], dtype=dtype, requires_grad=True)
    teacher = torch.tensor(data["teacher"], dtype=dtype)
    ours, theirs = [], []
    for cloud in range(len(student)):
        points = torch.tensor(data[f"pair_points_{cloud}"]).long()
        _, row, column = torch.tensor(data[f"pair_pixels_{cloud}"]).long().T
        ours.append(student[cloud, :, points].T)
        theirs.append(teacher[cloud, :, row, column].T)
    return student, torch.cat(ours), torch.cat(theirs)


@pytest.mark.parametrize("case", ["scalr_similarity", "scalr_similarity_degenerate"])
def test_reference_values(parity, case):
    data = np.load(parity(f"04_distillation_losses/{case}.npz"))
    student, ours, theirs = pairs(data)
    loss = similarity(ours, theirs)
    assert float(loss.detach()) == pytest.approx(float(data["loss"]), rel=1e-6)
    _, ours64, theirs64 = pairs(data, torch.float64)
    assert float(similarity(ours64, theirs64).detach()) == pytest.approx(float(data["loss_f64"]), rel=1e-9)
    loss.backward()
    difference = (student.grad - torch.tensor(data["grad_student"])).abs()
    assert torch.isfinite(student.grad).all()
    if case.endswith("degenerate"):
        first = torch.tensor(data["pair_points_0"][:3]).long()
        assert student.grad[0, :, first].abs().max() < 1e-6
        difference[0, :, first] = 0
    assert difference.max() < 1e-6


def test_known_angles():
    student = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-5.0, 0.0]])
    teacher = torch.tensor([[7.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert float(similarity(student, teacher)) == pytest.approx((0 + 2**0.5 + 2) / 3)


def test_gradient_matches_finite_differences():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(7, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(7, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda s: similarity(s, teacher), (student,))


@pytest.mark.parametrize("kind", ["identical", "opposite", "null student", "null teacher", "both null"])
def test_gradient_is_small_where_the_distance_has_no_direction(kind):
    teacher = torch.randn(6, 33, generator=torch.Generator().manual_seed(1))
    student = {
        "identical": 3.3 * teacher,
        "opposite": -0.7 * teacher,
        "null student": torch.zeros_like(teacher),
        "null teacher": torch.ones_like(teacher),
        "both null": torch.zeros_like(teacher),
    }[kind].clone()
    if kind in ("null teacher", "both null"):
        teacher = torch.zeros_like(teacher)
    student.requires_grad_()
    loss = similarity(student, teacher)
    expected = {"identical": 0, "opposite": 2, "both null": 0}.get(kind, 1)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert student.grad.abs().max() < 1e-6


def test_half_precision_is_computed_in_single():
    generator = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(50, 64, generator=generator) for _ in range(2))
    loss = similarity(student.half(), teacher.half())
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(similarity(student, teacher)), rel=1e-3)


def test_no_pairs_give_zero():
    student = torch.zeros(0, 4, requires_grad=True)
    loss = similarity(student, torch.zeros(0, 4))
    loss.backward()
    assert float(loss.detach()) == 0
    assert student.grad.shape == (0, 4)


def test_load_by_name():
    assert objectives.load("similarity") is similarity
    assert "similarity" in objectives.names()


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match="'similarty'; did you mean 'similarity'"):
        objectives.load("similarty")


def test_plug_in_through_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "my_objective.py").write_text("def half(student, teacher):\n    return 0.5\n")
    info = tmp_path / "my_objective-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-objective\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lidistill.objectives]\nmy-half = my_objective:half\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "my-half" in objectives.names()
    assert objectives.load("my-half")(None, None) == 0.5
