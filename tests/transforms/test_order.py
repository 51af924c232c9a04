"""Sorting by counting against sorting by comparison."""

import numpy as np
import pytest

from lidistill.transforms.order import distance_order, stable_order


@pytest.mark.parametrize("top", [1, 200, 2**16, 2**31, 2**40, 2**62])
@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
def test_keys_of_every_length(top, dtype):
    keys = np.random.default_rng(top % 97).integers(0, top, 3000).astype(dtype)
    keys[::7] = keys[0]
    rows = stable_order(keys)
    assert rows.dtype == np.int64
    assert np.array_equal(rows, np.argsort(keys, kind="stable"))


def test_given_order_of_equal_keys():
    rng = np.random.default_rng(0)
    keys, order = rng.integers(0, 50, 1000).astype(np.uint32), rng.permutation(1000)
    assert np.array_equal(stable_order(keys, order), order[np.argsort(keys[order], kind="stable")])


def test_nothing_and_one():
    assert stable_order(np.empty(0, np.int64)).dtype == np.int64
    assert stable_order(np.empty(0, np.int64)).shape == (0,)
    assert stable_order(np.zeros(1, np.uint8)).tolist() == [0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_with_ties_and_extremes(dtype):
    distance = np.random.default_rng(1).random(2000).astype(dtype) ** 4 * dtype(1e6)
    distance[::5] = distance[3]
    distance[[10, 20]] = 0
    distance[30] = np.inf
    assert np.array_equal(distance_order(distance), np.argsort(distance, kind="stable"))
