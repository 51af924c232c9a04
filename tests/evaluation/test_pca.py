"""Features as colours: bright along the main axis, the same every time, never invisible."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.evaluation.pca import DARKEST, fit_pca, pca_colors


def groups(rng: np.random.Generator, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features of three groups of unequal size, and the group of each row."""
    centers = np.eye(dim)[:3] * 5
    which = rng.choice(3, 900, p=[0.6, 0.3, 0.1])
    return centers[which] + 0.2 * rng.normal(size=(900, dim)), which


def test_groups_get_colors_of_their_own() -> None:
    features, which = groups(np.random.default_rng(0))
    colors = pca_colors(features).astype(float)
    assert colors.shape == (900, 3)
    means = np.stack([colors[which == g].mean(0) for g in range(3)])
    spread = max(colors[which == g].std(0).max() for g in range(3) if (which == g).sum() > 100)
    apart = min(np.linalg.norm(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert apart > 2 * spread


def test_order_of_points_scale_of_features_and_a_second_call_change_nothing() -> None:
    features, _ = groups(np.random.default_rng(1))
    colors = pca_colors(features)
    order = np.random.default_rng(2).permutation(len(features))
    np.testing.assert_array_equal(colors, pca_colors(features))
    assert np.abs(pca_colors(features[order]).astype(int) - colors[order]).max() <= 1
    lengths = np.random.default_rng(3).uniform(0.1, 50, (len(features), 1))
    assert np.abs(pca_colors(features * lengths).astype(int) - colors).max() <= 1


def test_first_axis_is_the_one_with_most_spread_and_its_largest_entry_is_positive() -> None:
    features, _ = groups(np.random.default_rng(4))
    fitted = fit_pca(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    spread = ((unit - unit.mean(0)) @ fitted.axes).std(0)
    assert spread[0] > spread[1] > spread[2] > 0
    top = np.linalg.svd(unit - unit.mean(0), full_matrices=False)[2][0]
    assert abs(top @ fitted.axes[:, 0]) == pytest.approx(1, abs=1e-6)
    assert (np.take_along_axis(fitted.axes, np.abs(fitted.axes).argmax(0)[None], 0) > 0).all()


def test_few_outliers_do_not_wash_out_the_rest() -> None:
    rng = np.random.default_rng(5)
    features = np.concatenate([1 + 0.01 * rng.normal(size=(1000, 6)), -np.ones((5, 6))])
    assert pca_colors(features)[:1000, 1].std() > 20


def test_one_fit_serves_clouds_and_pictures() -> None:
    features, _ = groups(np.random.default_rng(6))
    fitted = fit_pca(features)
    assert fitted(features[:600].reshape(20, 30, 12)).shape == (20, 30, 3)
    np.testing.assert_array_equal(fitted(features[:600].reshape(20, 30, 12)).reshape(-1, 3), fitted(features[:600]))


@pytest.mark.parametrize("features", [np.zeros((5, 8)), np.ones((5, 8)), np.ones((1, 2)), np.zeros((0, 4))])
def test_nothing_to_tell_apart_gives_the_middle(features: np.ndarray) -> None:
    colors = pca_colors(features)
    assert colors.shape == (len(features), 3)
    assert colors.dtype == np.uint8
    assert (colors == np.uint8(round((255 + DARKEST) / 2))).all()


def test_two_features_leave_the_third_axis_empty() -> None:
    colors = pca_colors(np.random.default_rng(7).normal(size=(300, 2)))
    assert colors[:, 0].std() > 10
    assert len(np.unique(colors[:, 2])) == 1
    assert colors.min() >= DARKEST
