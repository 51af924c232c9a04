"""Sparse convolutions against torch's dense ones, and their maps against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lidistill.students.kernel_maps import Indices, corners, half, offsets, strided, submanifold
from lidistill.students.sparse import KernelMap, SparseConv, sparse_conv

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def grid(size: tuple[int, int, int]) -> Indices:
    return np.array(list(product(*map(range, size))))


def scattered(count: int, size: tuple[int, int, int], seed: int = 0) -> Indices:
    rows = np.random.default_rng(seed).choice(int(np.prod(size)), count, replace=False)
    return grid(size)[np.sort(rows)]


def same(cells: Indices, kernel: int, period: int | None = None) -> KernelMap:
    pairs, counts = submanifold(cells, kernel, period)
    return KernelMap.submanifold(torch.from_numpy(pairs), counts.tolist(), len(cells), kernel)


def down(cells: Indices, kernel: int, stride: int, period: int | None = None) -> tuple[Indices, KernelMap]:
    coarse, pairs, counts = strided(cells, kernel, stride, period)
    return coarse, KernelMap.strided(torch.from_numpy(pairs), counts.tolist(), len(cells), len(coarse))


def dense_weight(weight: Tensor, kernel: int) -> Tensor:
    """(K^3, Cin, Cout), first axis fastest, as (Cout, Cin, a, b, c)."""
    return weight.reshape(kernel, kernel, kernel, *weight.shape[1:]).permute(4, 3, 2, 1, 0)


def volume(rows: Tensor, cells: Indices, size: tuple[int, int, int]) -> Tensor:
    """Rows at their cells of an empty volume (1, C, a, b, c)."""
    full = rows.new_zeros(*size, rows.shape[1])
    return full.index_put(tuple(torch.from_numpy(cells).unbind(1)), rows).permute(3, 0, 1, 2)[None]


def picked(full: Tensor, cells: Indices) -> Tensor:
    return full[0].permute(1, 2, 3, 0)[tuple(torch.from_numpy(cells).unbind(1))]


def compare(sparse: Tensor, dense: Tensor, inputs: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(sparse, dense)
    seed = torch.randn_like(sparse)
    for ours, theirs in zip(
        torch.autograd.grad(sparse, inputs, seed), torch.autograd.grad(dense, inputs, seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def some(voxels: int, kernel: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(voxels)
    rows = torch.randn(voxels, 3, dtype=torch.float64, requires_grad=True)
    return rows, torch.randn(kernel**3, 3, 4, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("count", [120, 40, 1])
def test_submanifold_is_the_dense_one_at_the_inputs(kernel: int, count: int) -> None:
    """On a full grid, on a part of it, and for one voxel alone."""
    size = (4, 5, 6)
    cells = scattered(count, size)
    rows, weight = some(count, kernel)
    dense = functional.conv3d(volume(rows, cells, size), dense_weight(weight, kernel), padding=kernel // 2)
    compare(sparse_conv(rows, weight, same(cells, kernel)), picked(dense, cells), (rows, weight))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (4, 4, 0), (3, 3, 1), (1, 2, 0)])
@pytest.mark.parametrize("count", [432, 60])
def test_strided_is_the_dense_one_at_coarse_cells(kernel: int, stride: int, padding: int, count: int) -> None:
    size = (12, 6, 6) if stride == 3 else (4, 8, 12)
    cells = scattered(min(count, int(np.prod(size))), size)
    rows, weight = some(len(cells), kernel)
    coarse, where = down(cells, kernel, stride)
    dense = functional.conv3d(volume(rows, cells, size), dense_weight(weight, kernel), stride=stride, padding=padding)
    assert np.array_equal(coarse, np.unique(cells // stride, axis=0))
    compare(sparse_conv(rows, weight, where), picked(dense, coarse), (rows, weight))


@pytest.mark.parametrize("count", [384, 60])
def test_inverse_is_the_dense_transposed_one_at_the_finer_cells(count: int) -> None:
    size = (4, 8, 12)
    cells = scattered(count, size)
    coarse, where = down(cells, 2, 2)
    rows, weight = some(len(coarse), 2)
    dense = functional.conv_transpose3d(
        volume(rows, coarse, (2, 4, 6)), dense_weight(weight, 2).transpose(0, 1), stride=2
    )
    compare(sparse_conv(rows, weight, where.inverse()), picked(dense, cells), (rows, weight))


def test_gradients() -> None:
    cells = scattered(12, (3, 3, 4))
    rows, weight = some(12, 3)
    coarse, where = down(cells, 2, 2)
    assert torch.autograd.gradcheck(lambda r, w: sparse_conv(r, w, same(cells, 3)), (rows, weight))
    rows, weight = some(12, 2)
    assert torch.autograd.gradcheck(lambda r, w: sparse_conv(r, w, where), (rows, weight))
    rows, weight = some(len(coarse), 2)
    assert torch.autograd.gradcheck(lambda r, w: sparse_conv(r, w, where.inverse()), (rows, weight))


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_numbers_every_time(device: str) -> None:
    cells = scattered(3000, (20, 20, 20))
    torch.manual_seed(0)
    conv = SparseConv(16, 16, 3).to(device)
    rows = torch.randn(len(cells), 16, device=device, requires_grad=True)
    pairs, counts = submanifold(cells, 3)
    where = KernelMap.submanifold(torch.from_numpy(pairs).to(device), counts.tolist(), len(cells), 3)
    found = []
    for _ in range(2):
        out = conv(rows, where)
        found.append((out, *torch.autograd.grad(out.square().sum(), (rows, conv.weight))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_in_bfloat16_it_is_nearly_the_same(device: str) -> None:
    cells = scattered(500, (12, 12, 12))
    torch.manual_seed(0)
    conv = SparseConv(32, 32, 3).to(device)
    rows = torch.randn(len(cells), 32, device=device)
    pairs, counts = submanifold(cells, 3)
    where = KernelMap.submanifold(torch.from_numpy(pairs).to(device), counts.tolist(), len(cells), 3)
    exact = conv(rows, where)
    with torch.autocast(device, torch.bfloat16):
        rounded = conv(rows, where)
    assert rounded.dtype == torch.bfloat16
    assert float((rounded.float() - exact).detach().norm() / exact.detach().norm()) < 0.01
    rounded.float().sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == torch.float32


def neighbours(cells: Indices, kernel: int, period: int | None) -> set[tuple[int, int, int]]:
    """(kernel position, input row, output row), by brute force."""
    place = {tuple(cell): row for row, cell in enumerate(cells.tolist())}
    found = set()
    for number, (a, b, c) in enumerate(offsets(kernel)):
        for row, (x, y, z) in enumerate(cells.tolist()):
            there = (x + a, y + b if period is None else (y + b) % period, z + c)
            if there in place:
                found.add((number, place[there], row))
    return found


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("period", [None, 8])
def test_who_meets_whom(kernel: int, period: int | None) -> None:
    cells = scattered(60, (5, 8, 5), seed=3)
    where = same(cells, kernel, period)
    found = [
        (number, int(there), int(here))
        for number, i, o in where.steps
        for there, here in zip(*(range(len(cells)) if rows is None else rows.tolist() for rows in (i, o)), strict=True)
    ]
    assert len(found) == len(set(found))
    assert set(found) == neighbours(cells, kernel, period)


def test_opposite_positions() -> None:
    place = offsets(3)
    assert place[0] == (-1, -1, -1)
    assert place[1] == (0, -1, -1)  # the first axis is the fastest
    assert place[13] == (0, 0, 0)
    assert len(half(3)) == 13
    assert all(place[one] == tuple(-x for x in place[other]) for one, other in half(3))


@pytest.mark.parametrize("period", [None, 8])
def test_corners_are_those_of_trilinear_interpolation(period: int | None) -> None:
    """On a full grid it gives back a linear function; with holes the weights still sum to 1."""
    cells = grid((4, 8, 5))
    rng = np.random.default_rng(0)
    places = rng.uniform((0.5, 0.5, 0.5), (3.5, 7.5, 4.5), (50, 3))
    rows, weights = corners(cells, places, period)
    values = (cells + 0.5) @ np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose((values[rows] * weights).sum(1), places @ np.array([1.0, -2.0, 3.0]), rtol=1e-5)
    holes = cells[rng.random(len(cells)) < 0.5]
    rows, weights = corners(holes, holes[:20] + 0.3, period)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    distance = np.abs(holes[rows] + 0.5 - (holes[:20] + 0.3)[:, None])
    if period is not None:
        distance[..., 1] = np.minimum(distance[..., 1], period - distance[..., 1])
    assert (distance[weights > 0] < 1).all()


def test_corners_across_the_seam() -> None:
    cells = np.array([[0, 0, 0], [0, 7, 0]])
    rows, weights = corners(cells, np.array([[0.5, 0.25, 0.5]]), 8)
    shares = {int(row): float(weight) for row, weight in zip(rows[0], weights[0], strict=True) if weight}
    assert shares == pytest.approx({0: 0.75, 1: 0.25})
    assert corners(cells, np.array([[0.5, 0.25, 0.5]]))[1].sum() == pytest.approx(1)
