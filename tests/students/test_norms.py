"""Instance norm on packed rows against torch's on every cloud alone, and students that have it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lidistill.errors import InputError
from lidistill.students.batch import PointBatch
from lidistill.students.checkpoints import export_state
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.norms import InstanceNorm
from lidistill.students.packing import BLOCK, Packing
from lidistill.students.registry import build_student, student_config
from lidistill.students.student import Student

SIZES = [
    pytest.param((5, 1, 9), id="small"),
    pytest.param((0, 7, 0, 0, 3, 0), id="some empty"),
    pytest.param((BLOCK, 3 * BLOCK + 1, BLOCK - 1, 2), id="at the borders of blocks"),
    pytest.param((2 * BLOCK + 17,), id="one cloud"),
    pytest.param((0, 0), id="all empty"),
]
NAMES = ["waffleiron-3-8", "minkunet-18-12", "spvcnn-18-12"]
FOV = ((-8.0, 8.0), (-8.0, 8.0), (-2.0, 2.0))


def packing_of(sizes: tuple[int, ...]) -> Packing:
    return Packing(torch.tensor([0, *sizes]).cumsum(0), sum(sizes))


def norm_of(width: int) -> InstanceNorm:
    norm = InstanceNorm(width)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return norm


def dense(norm: InstanceNorm, rows: Tensor, packing: Packing) -> Tensor:
    """Cloud by cloud with torch's instance norm, which wants (1, C, n) and more than one point."""
    found = []
    for first, end in pairwise(packing.offsets.tolist()):
        cloud = rows[first:end].T[None]
        if end - first > 1:
            found.append(functional.instance_norm(cloud, weight=norm.weight, bias=norm.bias, eps=norm.eps)[0].T)
        else:
            found.append(norm.bias.expand(end - first, -1) + 0 * rows[first:end])
    return torch.cat(found)


def batch_of(student: Student, *counts: int) -> PointBatch:
    """Clouds of random points, in each all intensities and heights shifted by its own amount."""
    clouds = []
    for seed, count in enumerate(counts):
        rng = np.random.default_rng(seed)
        coords = (rng.uniform(-1, 1, (count, 3)) * [6, 6, 1] + [0, 0, 0.2 * seed]).astype(np.float32)
        features = np.column_stack([rng.normal(seed, 1, count), coords, np.linalg.norm(coords, axis=1)])
        clouds.append(student.tokenizer(coords, features.astype(np.float32)))
    return student.tokenizer.collate(clouds)


def student_of(name: str, norm: str = "instance") -> Student:
    torch.manual_seed(0)
    options = {"cell": 1.0, "neighbors": 4} if "waffle" in name else {"voxels": {"size": 0.5}}
    student = build_student(student_config(name, norm=norm, fov=FOV, **options))
    for module in student.modules():
        if isinstance(module, InstanceNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return student


@pytest.mark.parametrize("sizes", SIZES)
def test_equal_to_torch_cloud_by_cloud(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    packing, norm = packing_of(sizes), norm_of(4).double()
    rows = (torch.randn(sum(sizes), 4, dtype=torch.float64) * 3 + 5).requires_grad_(True)
    expected, found = dense(norm, rows, packing), norm(rows, packing)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    ours, theirs = (
        torch.autograd.grad((result * weights).sum(), [rows, norm.weight, norm.bias], allow_unused=True)
        for result in (found, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    packing, norm = packing_of((4, 1, 0, 6)), norm_of(3).double()
    rows = torch.randn(11, 3, dtype=torch.float64, requires_grad=True)

    def call(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (rows, packing))

    assert torch.autograd.gradcheck(call, (rows, norm.weight, norm.bias))


def test_sums_of_long_clouds_are_precise() -> None:
    """In float32 a plain running sum of a hundred thousand numbers loses a digit more."""
    packing = packing_of((100_000, 3, 70_000))
    values = torch.full((170_003, 1), 1000.1)
    exact = 1000.1 * torch.tensor([100_000.0, 3.0, 70_000.0], dtype=torch.float64)
    running = functional.embedding_bag(torch.arange(170_003), values, packing.offsets[:-1], mode="sum")
    ours, theirs = ((sums[:, 0] / exact - 1).abs().max() for sums in (packing.sums(values), running))
    assert ours < 1e-5
    assert theirs > 10 * ours


def test_constant_channels_and_single_points_become_the_bias() -> None:
    norm = norm_of(2)
    packing = packing_of((1, 50_000, 1))
    rows = torch.full((50_002, 2), 1234.567)
    rows[0] = 1e4
    rows.requires_grad_(True)
    found = norm(rows, packing)
    assert torch.equal(found, norm.bias.expand_as(found))
    found.square().sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert not rows.grad[[0, -1]].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_types_are_computed_in_single_precision(dtype: torch.dtype) -> None:
    """A mean of 300 and a deviation of 1 would lose everything in bfloat16, whose steps are 2 there."""
    torch.manual_seed(0)
    packing, norm = packing_of((2000, 700)), norm_of(4)
    rows = (torch.randn(2700, 4) + 300).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        found = norm(rows, packing)
    assert found.dtype == dtype
    torch.testing.assert_close(found, norm(rows.float(), packing).to(dtype))


def test_same_sums_again() -> None:
    packing, rows = packing_of((1000, 10, 5000)), torch.randn(6010, 7)
    assert torch.equal(packing.sums(rows), Packing(packing.offsets.clone(), 6010).sums(rows.clone()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_same_on_a_gpu_every_time() -> None:
    packing, norm = packing_of((1000, 0, 10, 5000)), norm_of(7)
    rows = torch.randn(6010, 7, requires_grad=True)
    on_gpu = Packing(packing.offsets.cuda(), 6010)
    results = []
    for module, values, whose in [(norm, rows, packing)] + [(norm.cuda(), rows.detach().cuda(), on_gpu)] * 2:
        given = values.detach().requires_grad_(True)
        found = module(given, whose)
        found.sin().sum().backward()
        assert given.grad is not None
        results.append((found.detach().cpu(), given.grad.cpu()))
    for expected, found, again in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(found, again)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_a_student_sees_every_cloud_alone_also_in_training(name: str, training: bool) -> None:
    student = student_of(name).train(training)
    counts = (300, 0, 1, 120)
    together = student(batch_of(student, *counts))
    first = student(batch_of(student, counts[0]))
    torch.testing.assert_close(together[:300], first, atol=1e-4, rtol=1e-3)
    # with statistics of the batch the others are felt
    other = student_of(name, "batch").train()
    felt = other(batch_of(other, *counts))[:300], other(batch_of(other, counts[0]))
    assert not torch.allclose(*felt, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_training_and_evaluation_are_the_same_and_nothing_is_remembered(name: str) -> None:
    student = student_of(name)
    assert not list(student.buffers())
    points = batch_of(student, 200, 90)
    learning = student.train()(points)
    student(batch_of(student, 50))
    assert torch.equal(student.eval()(points), learning)


@pytest.mark.parametrize("name", NAMES)
def test_students_learn_in_bfloat16_from_the_smallest_clouds(name: str) -> None:
    student = student_of(name).train()
    points = batch_of(student, 150, 1, 0, 40, 2)
    expected = student(points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = student(points)
    assert functional.cosine_similarity(found.float()[:150], expected[:150]).mean() > 0.99
    found.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    assert student(batch_of(student, 0, 0)).shape == (0, student.width)


@pytest.mark.parametrize("name", NAMES)
def test_weights_bear_the_names_of_batch_norm(name: str) -> None:
    """What is remembered of batches apart: a norm can be exchanged and the rest of the weights kept."""
    with_instance, with_batch = (set(student_of(name, norm).state_dict()) for norm in ("instance", "batch"))
    remembered = {key for key in with_batch if key.rpartition(".")[2] in ("running_mean", "running_var")}
    counted = {key for key in with_batch if key.endswith("num_batches_tracked")}
    assert with_instance == with_batch - remembered - counted


@pytest.mark.parametrize("name", ["waffleiron-3-8", "minkunet-18-12"])
def test_no_published_layout(name: str) -> None:
    network = Network(student_config(name, norm="instance"), HeadConfig(kind="linear", outputs=2))
    with pytest.raises(InputError, match="with instance norm has no published layout"):
        export_state(network)
