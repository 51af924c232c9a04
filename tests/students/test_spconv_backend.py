"""spconv in place of our convolution: the maps it gets, its results with them, who chooses it.

Those of its compiled code run where spconv can be imported, those on a GPU where there is one besides:

    pip install --no-deps --target FOLDER spconv "cumm<0.8" pccm ccimport pybind11 fire lark portalocker ninja
    PYTHONPATH=FOLDER pytest -n 0 tests/students/test_spconv_backend.py
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from unittest.mock import patch
from weakref import ref

import numpy as np
import pytest
import torch
from torch import Tensor

from lidistill.errors import InputError
from lidistill.students import spconv_backend
from lidistill.students.kernel_maps import Indices, strided, submanifold
from lidistill.students.registry import build_student, student_config
from lidistill.students.sparse import KernelMap, sparse_conv
from lidistill.students.spconv_backend import VARIABLE, IndicePairs, indice_pairs

needs_spconv = pytest.mark.skipif(find_spec("spconv") is None, reason="spconv is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
KINDS = ("submanifold", "submanifold 5", "strided", "overlapping", "inverse")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """The variable is looked up once per process."""
    spconv_backend.chosen.cache_clear()
    yield
    spconv_backend.chosen.cache_clear()


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """With more of them spconv's sums on a processor go wrong (its issue 679)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scattered(count: int, size: int = 12) -> Indices:
    rows = np.random.default_rng(0).choice(size**3, count, replace=False)
    return np.stack(np.unravel_index(np.sort(rows), (size,) * 3), axis=1)


def kernel_map(kind: str, count: int = 400, device: str = "cpu") -> tuple[KernelMap, int]:
    """A map of ``kind`` and its number of kernel positions."""
    cells = scattered(count)
    if kind.startswith("submanifold"):
        edge = 5 if kind.endswith("5") else 3
        pairs, counts = submanifold(cells, edge)
        return KernelMap.submanifold(torch.from_numpy(pairs).to(device), counts.tolist(), count, edge), edge**3
    edge = 3 if kind == "overlapping" else 2
    coarse, pairs, counts = strided(cells, edge, 2)
    where = KernelMap.strided(torch.from_numpy(pairs).to(device), counts.tolist(), count, len(coarse))
    return where.inverse() if kind == "inverse" else where, edge**3


def some(where: KernelMap, positions: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    rows = torch.randn(where.inputs, 16, device=device, requires_grad=True)
    return rows, torch.randn(positions, 16, 24, device=device, requires_grad=True)


# ---- everywhere: what spconv is given


def read(where: IndicePairs, rows: Tensor, weight: Tensor, outputs: int) -> Tensor:
    """The convolution that the padded layout says, as spconv reads it."""
    total = rows.new_zeros(outputs, weight.shape[2])
    last = len(weight) - 1
    for number in range(len(weight)):
        if where.submanifold and number == last // 2:
            total = total + rows @ weight[number]
            continue
        # after the centre spconv takes the count of the opposite position
        mirrored = where.submanifold and number > last // 2
        count = int(where.counts[last - number if mirrored else number])
        there, here = where.pairs[:, number, :count].long()
        total = total.index_add(0, here, rows[there] @ weight[number])
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_the_padded_layout_says_our_map(kind: str) -> None:
    where, positions = kernel_map(kind)
    found = IndicePairs.of(where)
    rows, weight = some(where, positions)
    torch.testing.assert_close(read(found, rows, weight, where.outputs), sparse_conv(rows, weight, where))
    assert found.pairs.dtype == found.counts.dtype == torch.int32
    assert found.pairs.is_contiguous()
    assert found.pairs.shape == (2, positions, int(found.counts.max()))
    assert found.counts.tolist() == (found.pairs[0] >= 0).sum(1).tolist() == (found.pairs[1] >= 0).sum(1).tolist()
    assert found.submanifold == kind.startswith("submanifold")


def test_a_map_is_converted_once_and_forgotten_with_it() -> None:
    where, _ = kernel_map("submanifold")
    assert indice_pairs(where) is indice_pairs(where)
    gone = ref(indice_pairs(where))
    del where
    gc.collect()
    assert gone() is None


# ---- everywhere: who chooses it


def test_the_variable_says_torch_or_spconv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not spconv_backend.chosen()
    monkeypatch.setenv(VARIABLE, "sponv")
    assert not spconv_backend.chosen()  # looked up once
    spconv_backend.chosen.cache_clear()
    with pytest.raises(InputError, match=r"LIDISTILL_SPARSE_CONV is 'sponv'.*did you mean 'spconv'"):
        spconv_backend.chosen()
    monkeypatch.setenv(VARIABLE, "torch")
    assert not spconv_backend.chosen()


def test_without_spconv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "spconv")
    monkeypatch.setitem(sys.modules, "spconv", None)
    monkeypatch.setitem(sys.modules, "spconv.core", None)
    spconv_backend._library.cache_clear()
    with pytest.raises(InputError, match=r"pip install spconv-cu126.*unset LIDISTILL_SPARSE_CONV"):
        spconv_backend.chosen()


@pytest.mark.parametrize("cpu_only", [True, False])
def test_spconv_must_have_been_built_with_cuda(monkeypatch: pytest.MonkeyPatch, cpu_only: bool) -> None:
    monkeypatch.setenv(VARIABLE, "spconv")
    parts: dict[str, dict[str, Any]] = {
        "spconv": {},
        "spconv.core": {"ConvAlgo": type("ConvAlgo", (), {"Native": 0})},
        "spconv.cppconstants": {"CPU_ONLY_BUILD": cpu_only},
        "spconv.pytorch": {"ops": None},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    spconv_backend._library.cache_clear()
    try:
        if cpu_only:
            with pytest.raises(InputError, match=r"built without CUDA.*unset LIDISTILL_SPARSE_CONV"):
                spconv_backend.chosen()
        else:
            assert spconv_backend.chosen()
    finally:
        spconv_backend._library.cache_clear()


class OnGpu:
    """What ``takes`` sees of a tensor on a GPU."""

    is_cuda = True

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


def test_what_it_takes() -> None:
    where, _ = kernel_map("submanifold")
    alone, _ = kernel_map("submanifold", count=1)
    float32: Any = OnGpu(torch.float32)
    float64: Any = OnGpu(torch.float64)
    with patch.object(spconv_backend, "chosen", return_value=True):
        assert spconv_backend.takes(float32, where)
        assert not spconv_backend.takes(float64, where)
        assert not spconv_backend.takes(float32, alone)  # no pair, spconv would fail
        assert not spconv_backend.takes(torch.zeros(400, 3), where)
    with patch.object(spconv_backend, "chosen", return_value=False):
        assert not spconv_backend.takes(float32, where)


def test_on_a_processor_the_variable_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    where, positions = kernel_map("submanifold")
    expected = sparse_conv(*some(where, positions), where)
    monkeypatch.setenv(VARIABLE, "no such thing")
    assert torch.equal(sparse_conv(*some(where, positions), where), expected)


def test_what_is_taken_comes_in_the_type_of_autocast() -> None:
    where, positions = kernel_map("strided")
    rows, weight = some(where, positions)
    with (
        patch.object(spconv_backend, "takes", return_value=True),
        patch.object(spconv_backend, "convolve", return_value=rows) as taken,
        torch.autocast("cpu", torch.bfloat16),
    ):
        assert sparse_conv(rows, weight, where) is rows
    assert [tensor.dtype for tensor in taken.call_args.args[:2]] == [torch.bfloat16] * 2


# ---- with spconv: its compiled functions on a processor


@pytest.fixture
def _backward_on_cpu(_one_thread: None) -> Iterator[None]:
    """Its backward pass asks for the stream of a GPU even where it goes on without one."""
    ops = pytest.importorskip("spconv.pytorch.ops")
    with patch.object(ops, "get_current_stream", return_value=0):
        yield


@needs_spconv
@pytest.mark.usefixtures("_one_thread")
def test_our_pairs_are_those_that_spconv_finds() -> None:
    """Its kernel positions go with the last axis fastest, ours with the first."""
    from spconv.core import ConvAlgo
    from spconv.pytorch import ops

    cells = torch.from_numpy(scattered(400)).int()
    coords = torch.cat([torch.zeros(len(cells), 1, dtype=torch.int32), cells.flip(1)], dim=1).contiguous()
    sizes = ([3] * 3, [1] * 3, [1] * 3, [1] * 3, [0] * 3)
    _, pairs, counts = ops.get_indice_pairs(coords, 1, [12] * 3, ConvAlgo.Native, *sizes, subm=True)
    ours = indice_pairs(kernel_map("submanifold")[0])
    for number in range(27):
        if number == 13:
            continue
        count = int(counts[min(number, 26 - number)])
        found = [
            set(zip(*some[:, number, :size].tolist(), strict=True))
            for some, size in ((pairs, count), (ours.pairs, int(ours.counts[number])))
        ]
        assert found[0] == found[1]


@needs_spconv
@pytest.mark.usefixtures("_backward_on_cpu")
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_processor_spconv_agrees(kind: str, autocast: torch.dtype | None) -> None:
    """Features and both gradients; under autocast the products that spconv leaves to torch keep their type."""
    where, positions = kernel_map(kind)
    inputs = some(where, positions)
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        expected = sparse_conv(*inputs, where)
        with patch.object(spconv_backend, "takes", return_value=True):
            found = sparse_conv(*inputs, where)
        assert max(apart(found, expected, inputs)) < CLOSE[autocast]


@needs_spconv
@pytest.mark.usefixtures("_backward_on_cpu")
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_on_a_processor_a_whole_network_agrees(autocast: torch.dtype | None) -> None:
    exact, ours = passed("cpu", None), passed("cpu", autocast)
    with patch.object(spconv_backend, "takes", return_value=True):
        agrees(passed("cpu", autocast), ours, exact)


# ---- with spconv and a GPU: the choice of the variable


@needs_gpu
@needs_spconv
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_spconv_agrees(monkeypatch: pytest.MonkeyPatch, kind: str, autocast: torch.dtype | None) -> None:
    where, positions = kernel_map(kind, device="cuda")
    inputs = some(where, positions, "cuda")
    with torch.autocast("cuda", autocast, enabled=autocast is not None):
        expected = sparse_conv(*inputs, where)
        choose(monkeypatch, "spconv")
        found = sparse_conv(*inputs, where)
    assert type(found.grad_fn) is not type(expected.grad_fn)
    assert max(apart(found, expected, inputs)) < CLOSE[autocast]


@needs_gpu
@needs_spconv
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_on_a_gpu_a_whole_network_agrees(monkeypatch: pytest.MonkeyPatch, autocast: torch.dtype | None) -> None:
    exact, ours = passed("cuda", None), passed("cuda", autocast)
    choose(monkeypatch, "spconv")
    agrees(passed("cuda", autocast), ours, exact)


CLOSE: dict[torch.dtype | None, float] = {None: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Sums are taken in another order; in half precision ours also rounds every product, spconv's float16 every sum."""


def choose(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLE, name)
    spconv_backend.chosen.cache_clear()


def apart(found: Tensor, expected: Tensor, inputs: tuple[Tensor, Tensor]) -> list[float]:
    """How far the features are apart, and both gradients."""
    assert found.dtype == expected.dtype
    seed = torch.randn_like(expected)
    gradients = [torch.autograd.grad(output, inputs, seed) for output in (found, expected)]
    return [relative(found, expected), *map(relative, *gradients)]


def relative(found: Tensor, expected: Tensor) -> float:
    difference = (found.detach().float() - expected.detach().float()).norm()
    return float(difference / expected.detach().float().norm())


def passed(device: str, autocast: torch.dtype | None) -> list[Tensor]:
    """Features of a small cloud by a minkunet, and the gradients of all its weights.

    Not in training mode: batch norm of few voxels makes a thousand times more of every rounding.
    """
    torch.manual_seed(0)
    student = build_student(student_config("minkunet-18-48", voxels={"size": 0.5})).to(device).eval()
    points = (np.random.default_rng(0).normal(size=(1500, 3)) * (4, 4, 1)).astype(np.float32)
    features = np.column_stack([np.zeros(len(points)), points, np.linalg.norm(points, axis=1)]).astype(np.float32)
    batch = student.tokenizer.collate([student.tokenizer(points, features)]).to(device)
    with torch.autocast(device, autocast, enabled=autocast is not None):
        output = student(batch)
    (output.float() * torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(device)).sum().backward()
    gradients = [p.grad.flatten() for p in student.parameters() if p.grad is not None]
    return [output, torch.cat(gradients)]


def agrees(theirs: list[Tensor], ours: list[Tensor], exact: list[Tensor]) -> None:
    """As far from the exact result as ours; in half precision gradients of a whole network are a tenth off."""
    for their, our, right in zip(theirs, ours, exact, strict=True):
        assert relative(their, right) < 1e-4 + 3 * relative(our, right)
