"""Which voxels meet in a sparse convolution: kernel maps of one scan (numpy, in the loader's workers).

A kernel of edge K has K^3 positions, numbered with the first axis fastest, as MinkowskiEngine numbers them. The output
at cell u takes the input at cell ``stride * u + offset``; offsets are centred for an odd K and start at 0 for an even
one. A map lists, position by position, the rows of input and output that meet.

Cells are (N, 3) int64, not negative, sorted by the first axis, then the second, then the third, each once. The second
axis may be an angle that closes after ``period`` cells.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Offset = tuple[int, int, int]


def offsets(kernel: int) -> list[Offset]:
    """All positions of a kernel, in the order of its weights."""
    low = -((kernel - 1) // 2) if kernel % 2 else 0
    reach = range(low, low + kernel)
    return [(a, b, c) for c, b, a in product(reach, reach, reach)]


def half(kernel: int) -> list[tuple[int, int]]:
    """Pairs of opposite positions of an odd kernel: (number of a position after the centre, number of its mirror).

    After the centre in the order of the cells. Where one of the two meets (input i, output o), the other meets
    (o, i), so a map of this half is a map of all but the centre.
    """
    number = {offset: index for index, offset in enumerate(offsets(kernel))}
    after = sorted(offset for offset in number if offset > (0, 0, 0))
    return [(number[a, b, c], number[-a, -b, -c]) for a, b, c in after]


def submanifold(cells: Indices, kernel: int, period: int | None = None) -> tuple[Indices, Indices]:
    """The map of a convolution whose outputs lie where its inputs lie, ``kernel`` odd.

    Returns ``pairs`` (2, P), rows of input and of output, and ``counts``, how many of them belong to each position of
    ``half(kernel)``.
    """
    reach = kernel // 2
    keys = _Keys(cells, reach, period)
    found: list[Indices] = []
    counts: list[int] = []
    for a, b in sorted({(a, b) for a, b, _ in offsets(kernel) if (a, b) >= (0, 0)}):
        # cells that follow each other along the third axis are neighbours in the list: one search finds a column
        first = 1 if (a, b) == (0, 0) else -reach
        wanted = keys.of(cells, (a, b, first))
        place = keys.search(wanted)
        for _ in range(first, reach + 1):
            hit = keys.sorted[place] == wanted
            out = np.flatnonzero(hit)
            found.append(np.stack([place[out], out]))
            counts.append(len(out))
            place = place + hit
            wanted = wanted + 1
    pairs = np.concatenate(found, axis=1) if found else np.zeros((2, 0), np.int64)
    return pairs, np.array(counts, np.int64)


def strided(cells: Indices, kernel: int, stride: int, period: int | None = None) -> tuple[Indices, Indices, Indices]:
    """The map of a convolution onto the coarser cells ``cells // stride`` that hold an input.

    Returns those coarse cells (N', 3), ``pairs`` (2, P) and ``counts`` (kernel^3,).
    """
    coarse = np.unique(_flat(cells // stride), return_index=True)[1]
    outputs = cells[coarse] // stride
    closed = None if period is None else coarser(period, stride)
    keys = _Keys(outputs, kernel, closed)
    pairs, counts = [], []
    for offset in offsets(kernel):
        moved = cells - np.array(offset)
        if period is not None and kernel > stride:  # else every input has one output, also at the end of the circle
            moved[:, 1] %= period
        rows = np.flatnonzero((moved % stride == 0).all(axis=1))
        wanted = keys.of(moved[rows] // stride, (0, 0, 0))
        place = keys.search(wanted)
        hit = keys.sorted[place] == wanted
        pairs.append(np.stack([rows[hit], place[hit]]))
        counts.append(int(hit.sum()))
    return outputs, np.concatenate(pairs, axis=1), np.array(counts, np.int64)


def coarser(period: int, stride: int) -> int:
    """Cells that close a circle of ``period`` finer ones; the last of them may be a part of one."""
    return -(-period // stride)


def corners(
    cells: Indices, places: NDArray[np.float64], period: int | None = None
) -> tuple[Indices, NDArray[np.float32]]:
    """Trilinear interpolation: the eight cells around each place, and their weights.

    ``places`` (M, 3), in cells, so that 0.5 is the middle of cell 0. Returns rows of ``cells`` (M, 8) and weights
    (M, 8) that sum to 1: cells that hold nothing are left out and the others weigh more.
    """
    keys = _Keys(cells, 1, period)
    low = np.floor(places - 0.5).astype(np.int64)
    share = places - 0.5 - low
    rows = np.zeros((len(places), 8), np.int64)
    weights = np.zeros((len(places), 8))
    for index, (a, b, c) in enumerate(product((0, 1), repeat=3)):
        wanted = keys.of(low, (a, b, c))
        place = keys.search(wanted)
        hit = keys.sorted[place] == wanted
        rows[hit, index] = place[hit]
        weights[:, index] = hit * np.where((a, b, c), share, 1 - share).prod(axis=1)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return rows, weights.astype(np.float32)


class _Keys:
    """Cells as sorted numbers, with room for neighbours up to ``reach`` cells away."""

    def __init__(self, cells: Indices, reach: int, period: int | None) -> None:
        self.reach, self.period = reach, period
        self.extent = (cells.max(axis=0) if len(cells) else np.zeros(3, np.int64)) + 1 + 2 * reach
        if period is not None:
            self.extent[1] = period + 2 * reach
        # one more number than cells: nothing is found there
        self.sorted = np.append(self.of(cells, (0, 0, 0)), np.iinfo(np.int64).max)

    def of(self, cells: Indices, offset: Offset) -> Indices:
        """The number of every cell after a step of ``offset``."""
        a, b, c = (cells[:, axis] + step for axis, step in enumerate(offset))
        if self.period is not None:
            b = b % self.period
        _, second, third = self.extent
        number: Indices = ((a + self.reach) * second + b + self.reach) * third + c + self.reach
        return number

    def search(self, wanted: Indices) -> Indices:
        """The first place in ``sorted`` that is not before each of ``wanted``."""
        return np.searchsorted(self.sorted[:-1], wanted)


def _flat(cells: Indices) -> Indices:
    _, second, third = (cells.max(axis=0) if len(cells) else np.zeros(3, np.int64)) + 1
    number: Indices = (cells[:, 0] * second + cells[:, 1]) * third + cells[:, 2]
    return number
