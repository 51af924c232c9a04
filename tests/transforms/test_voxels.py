"""Voxel sampling: the reference's rows, the definition, and how it fails."""

import json

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.transforms.voxels import voxel_sample


def by_definition(points, size, order):
    """Row-wise unique of the voxel indices."""
    cells = np.floor((points - points.min(0)) / points.dtype.type(size)).astype(np.int64)
    _, first = np.unique(cells[order], axis=0, return_index=True)
    return order[first]


@pytest.mark.parametrize("cloud", ["nuscenes", "semantic_kitti", "panda64", "pandagt"])
def test_reference_rows(parity, reference_cloud, cloud):
    data = np.load(parity(f"02_preprocessing/{cloud}.npz"))
    points, _ = reference_cloud(cloud)
    precision = json.loads(parity("02_preprocessing/index.json").read_text())[cloud]["dtype_points"]
    assert str(points.dtype) == precision
    assert np.array_equal(voxel_sample(points, 0.1), data["voxel_keep"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [0.0, 1e8])
def test_equals_the_definition(dtype, far):
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(5000, 3)) * [3, 4, 0.5] - 20).astype(dtype)
    points[17] += far
    points[18] -= far
    order = rng.permutation(5000)
    size = 0.25
    assert np.array_equal(voxel_sample(points, size), by_definition(points, size, np.arange(5000)))
    rows = voxel_sample(points, size, order)
    assert rows.dtype == np.int64
    assert np.array_equal(rows, by_definition(points, size, order))


def test_rows_depend_on_the_order_but_voxels_do_not():
    points = np.random.default_rng(1).random((2000, 3), dtype=np.float32)
    plain = voxel_sample(points, 0.1)
    backwards = voxel_sample(points, 0.1, np.arange(2000)[::-1])
    assert len(plain) == len(backwards)
    assert (plain <= backwards).all()
    assert (plain != backwards).any()
    low = points.min(0)
    assert np.array_equal((points[plain] - low) // np.float32(0.1), (points[backwards] - low) // np.float32(0.1))


def test_empty_and_single():
    assert voxel_sample(np.empty((0, 3), np.float32), 0.1).shape == (0,)
    assert voxel_sample(np.ones((1, 3), np.float32), 0.1).tolist() == [0]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 3e38])
def test_broken_coordinates_are_refused(broken):
    points = np.zeros((10, 3), np.float32)
    points[4, 1] = broken
    with pytest.raises(InputError, match="finite coordinates"):
        voxel_sample(points, 0.1)
