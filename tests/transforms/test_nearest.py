"""Nearest kept point: the reference's up-sampling, and the definition."""

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.transforms import nearest as module
from lidistill.transforms.nearest import k_nearest, nearest, nearest_kept


@pytest.fixture(params=["nanoflann", "scipy"], autouse=True)
def tree(request, monkeypatch):
    """Every test with the extra ``fast`` and without it."""
    if request.param == "scipy":
        monkeypatch.setattr(module, "_nanoflann", lambda: None)
    else:
        pytest.importorskip("pynanoflann")


@pytest.mark.parametrize("cloud", ["nuscenes", "semantic_kitti", "panda64", "pandagt"])
def test_reference_upsampling(parity, reference_cloud, cloud):
    data = np.load(parity(f"02_preprocessing/{cloud}.npz"))
    points, _ = reference_cloud(cloud)
    kept = points[data["final_keep"]]
    rows, expected = nearest(kept, points), data["upsample"]
    differs = rows != expected  # equally near points may be exchanged

    def distance(chosen):
        return np.linalg.norm(points[differs] - kept[chosen[differs]], axis=1)

    assert np.array_equal(distance(rows), distance(expected))
    assert differs.mean() < 1e-3


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    points, queries = rng.random((50, 3), np.float32), rng.random((200, 3), np.float32)
    rows = nearest(points, queries)
    assert rows.dtype == np.int64
    assert np.array_equal(rows, np.linalg.norm(queries[:, None] - points, axis=2).argmin(1))


def test_nearest_kept_is_nearest_to_the_kept():
    points = np.random.default_rng(5).random((400, 3), np.float32)
    kept = np.random.default_rng(6).permutation(400)[:90]
    assert np.array_equal(nearest_kept(points, kept), nearest(points[kept], points))
    assert nearest_kept(points, np.arange(400)[::-1]).tolist() == list(range(400))[::-1]
    with pytest.raises(InputError, match="no point to be nearest to"):
        nearest_kept(points, kept[:0])


def test_no_points_is_an_error():
    with pytest.raises(InputError, match="no point to be nearest to"):
        nearest(np.empty((0, 3)), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_k_nearest_equals_the_definition(dtype):
    rng = np.random.default_rng(1)
    points = (rng.normal(size=(300, 3)) * [20, 20, 1]).astype(dtype)
    queries = np.concatenate([points[::3], points[:20] + dtype(500)])
    rows = k_nearest(points, queries, 9)
    assert rows.dtype == np.int64
    assert rows.shape == (len(queries), 9)
    distance = np.linalg.norm(queries[:, None].astype(np.float64) - points, axis=2)
    assert np.array_equal(rows, np.argsort(distance, axis=1)[:, :9])


def test_any_layout_in_memory():
    points = np.asfortranarray(np.random.default_rng(2).random((60, 6))[:, ::2])
    assert np.array_equal(k_nearest(points, points[::-1], 4), k_nearest(points.copy("C"), points[::-1].copy("C"), 4))


def test_all_points_and_no_queries():
    points = np.random.default_rng(3).random((5, 3))
    assert np.array_equal(np.sort(k_nearest(points, points, 5)), np.tile(np.arange(5), (5, 1)))
    assert k_nearest(points, points[:0], 2).shape == (0, 2)


def test_nan_is_refused():
    points = np.random.default_rng(4).random((5, 3))
    broken = np.full((1, 3), np.nan)
    for clouds in ((points, broken), (np.concatenate([points, broken]), points)):
        with pytest.raises(ValueError, match="NaN"):
            k_nearest(*clouds, 2)
