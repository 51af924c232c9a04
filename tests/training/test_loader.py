"""The order of batches."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.training.loader import Order


def test_every_epoch_sees_every_frame_once_in_another_order() -> None:
    order = Order([12], 4, 3, seed=1)
    batches = list(order)
    assert len(batches) == len(order) == 9
    epochs = [[index for batch in batches[e * 3 : e * 3 + 3] for _, index in batch] for e in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert {epoch for batch in batches[3:6] for epoch, _ in batch} == {1}


@pytest.mark.parametrize("start", [0, 1, 4, 8])
def test_a_later_start_gives_the_rest_of_the_same_order(start: int) -> None:
    assert list(Order([10], 3, 3, seed=7, start=start)) == list(Order([10], 3, 3, seed=7))[start:]


def test_devices_share_a_batch() -> None:
    whole = list(Order([16], 8, 2, seed=3))
    parts = [list(Order([16], 8, 2, seed=3, rank=rank, world=2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(first + second) == sorted(batch)
        assert len(first) == len(second) == 4


def test_a_single_frame_is_a_data_set() -> None:
    assert list(Order([1], 8, 2, seed=0)) == [[(0, 0)], [(1, 0)]]
    assert [len(batch) for batch in Order([1], 8, 1, seed=0, rank=1, world=2)] == [1]


def test_seeds_differ() -> None:
    assert not np.array_equal(list(Order([20], 5, 1, seed=0)), list(Order([20], 5, 1, seed=1)))


def test_an_equal_mixture_draws_as_much_of_each_data_set_and_leaves_no_frame_out() -> None:
    sizes, epochs = [30, 4, 11], 6
    keys = [key for batch in Order(sizes, 3, epochs, seed=2, mixture="equal") for key in batch]
    part = np.searchsorted([30, 34], [index for _, index in keys], side="right")
    assert np.bincount(part).tolist() == [15 * epochs] * 3
    assert len(set(keys)) == len(keys)  # the second pass over a frame draws other random numbers than the first
    seen = [
        [index for number, index in keys if number == 1 and first <= index < end] for first, end in ((0, 30), (30, 34))
    ]
    assert [sorted(indices) for indices in seen] == [list(range(30)), list(range(30, 34))]


def test_an_equal_mixture_is_shuffled_and_resumes_in_mid_epoch() -> None:
    def order(start: int = 0) -> list[list[tuple[int, int]]]:
        return list(Order([8, 5, 20], 4, 3, seed=5, mixture="equal", start=start))

    assert order(7) == order()[7:]
    assert sum(len({index < 8 for _, index in batch}) == 2 for batch in order()) > len(order()) // 2


def test_a_proportional_mixture_sees_every_frame_once() -> None:
    batches = list(Order([3, 9], 4, 2, seed=0))
    assert [sorted(index for batch in batches[e : e + 3] for _, index in batch) for e in (0, 3)] == [
        list(range(12))
    ] * 2
