"""Correlation maps: cosine similarities, and queries that nobody has chosen by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.evaluation.correlation import correlation, query_point


def test_equals_the_cosine_of_the_angle() -> None:
    angles = np.radians([0, 30, 90, 180])
    features = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([[1], [7], [0.1], [3]])
    found = correlation(features, np.array([2.0, 0.0]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.cos(angles), atol=1e-6)


def test_takes_maps_and_half_precision() -> None:
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(5, 7, 16)).astype(np.float16)
    found = correlation(grid, grid[2, 3])
    assert found.shape == (5, 7)
    assert found[2, 3] == pytest.approx(1, abs=1e-3)
    assert np.unravel_index(found.argmax(), found.shape) == (2, 3)


def test_null_vectors_are_similar_to_nothing() -> None:
    assert correlation(np.zeros((3, 4)), np.ones(4)).tolist() == [0, 0, 0]
    assert correlation(np.ones((3, 4)), np.zeros(4)).tolist() == [0, 0, 0]


def test_features_of_another_network_are_refused() -> None:
    with pytest.raises(InputError, match="same network"):
        correlation(np.ones((3, 4)), np.ones(5))


def test_query_stands_inside_the_largest_heap() -> None:
    rng = np.random.default_rng(1)
    small, large, other = (
        np.array(center) + rng.uniform(-0.3, 0.3, (count, 3))
        for center, count in (((5.5, 0.5, 0.5), 20), ((-9.5, 4.5, 0.5), 60), ((2.5, 2.5, 0.5), 500))
    )
    points = np.concatenate([small, other, large]).astype(np.float32)
    chosen = np.r_[np.ones(20, bool), np.zeros(500, bool), np.ones(60, bool)]
    row = query_point(points, chosen)
    assert row is not None
    assert row >= 520
    nearest = 520 + np.linalg.norm(large - large.mean(0), axis=1).argmin()
    assert row == nearest
    order = rng.permutation(len(points))
    again = query_point(points[order], chosen[order])
    assert again is not None
    assert order[again] == row


def test_no_chosen_point_gives_no_query() -> None:
    assert query_point(np.zeros((4, 3), np.float32), np.zeros(4, bool)) is None
