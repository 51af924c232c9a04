"""Nearest kept point: the reference's up-sampling, and the definition."""

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.transforms.nearest import nearest


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


def test_no_points_is_an_error():
    with pytest.raises(InputError, match="no point to be nearest to"):
        nearest(np.empty((0, 3)), np.ones((2, 3)))
