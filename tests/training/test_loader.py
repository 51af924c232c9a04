"""The order of batches."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.training.loader import Order


def test_every_epoch_sees_every_frame_once_in_another_order() -> None:
    order = Order(12, 4, 3, seed=1)
    batches = list(order)
    assert len(batches) == len(order) == 9
    epochs = [[index for batch in batches[e * 3 : e * 3 + 3] for _, index in batch] for e in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert {epoch for batch in batches[3:6] for epoch, _ in batch} == {1}


@pytest.mark.parametrize("start", [0, 1, 4, 8])
def test_a_later_start_gives_the_rest_of_the_same_order(start: int) -> None:
    assert list(Order(10, 3, 3, seed=7, start=start)) == list(Order(10, 3, 3, seed=7))[start:]


def test_devices_share_a_batch() -> None:
    whole = list(Order(16, 8, 2, seed=3))
    parts = [list(Order(16, 8, 2, seed=3, rank=rank, world=2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(first + second) == sorted(batch)
        assert len(first) == len(second) == 4


def test_a_single_frame_is_a_data_set() -> None:
    assert list(Order(1, 8, 2, seed=0)) == [[(0, 0)], [(1, 0)]]
    assert [len(batch) for batch in Order(1, 8, 1, seed=0, rank=1, world=2)] == [1]


def test_seeds_differ() -> None:
    assert not np.array_equal(list(Order(20, 5, 1, seed=0)), list(Order(20, 5, 1, seed=1)))
