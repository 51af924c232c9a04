"""``Packing``: how clouds lie one after the other in packed rows, and sums over each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 256
"""Rows that are added up one after the other; what they give is added up in turn: a GPU has many sums to work on."""


@dataclass(frozen=True, eq=False)
class Packing:
    """B clouds in M rows: cloud b owns the rows ``offsets[b]:offsets[b + 1]`` of ``offsets`` (B + 1,) int64.

    Of points, or of whatever else clouds consist of. What follows from the offsets is made when it is asked for.
    """

    offsets: Tensor
    rows: int
    """M, known to the host: a GPU need not be waited for."""

    @property
    def clouds(self) -> int:
        """Number of clouds B."""
        return len(self.offsets) - 1

    @cached_property
    def index(self) -> Tensor:
        """(M,) int64: the cloud of every row."""
        numbers = torch.arange(self.clouds, device=self.offsets.device)
        return torch.repeat_interleave(numbers, self.offsets.diff(), output_size=self.rows)

    @cached_property
    def counts(self) -> Tensor:
        """(B, 1) int64: how many rows a cloud has, at least 1, to divide by."""
        return self.offsets.diff().clamp(min=1)[:, None]

    def sums(self, values: Tensor) -> Tensor:
        """(B, C): sum of the rows of ``values`` (M, C) of every cloud, in a fixed order; no gradient is kept."""
        order, blocks, firsts = self._blocks
        parts = functional.embedding_bag(order[: self.rows], values, blocks, mode="sum")
        return functional.embedding_bag(order[: len(parts)], parts, firsts, mode="sum")

    def firsts(self, values: Tensor) -> Tensor:
        """(B, C): the first row of ``values`` (M, C) of every cloud; of an empty one any other."""
        if not self.rows:
            return values.new_zeros(self.clouds, values.shape[1])
        return values.index_select(0, self.offsets[:-1].clamp(max=self.rows - 1))

    def spread(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """(M, C), into ``out`` if given: for every row what its cloud has in ``values`` (B, C)."""
        return torch.index_select(values, 0, self.index, out=out)

    @cached_property
    def _blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of rows and blocks; the first row of every block, some of them empty; the first block of every cloud.

        A block begins at every cloud and after every ``BLOCK`` rows: how many there are follows from M and B.
        """
        starts, device = self.offsets[:-1], self.offsets.device
        blocks = torch.cat([starts, torch.arange(0, self.rows, BLOCK, device=device)]).sort().values
        order = torch.arange(max(self.rows, len(blocks)), device=device)
        return order, blocks, torch.searchsorted(blocks, starts)
