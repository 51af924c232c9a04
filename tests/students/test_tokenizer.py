"""Cells, neighbours and the packed layout; equal to the published preprocessing on real scans."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lidistill.sensing.rigid import from_quaternion, invert, transform
from lidistill.students.registry import student_config
from lidistill.students.tokenizer import PlaneTokenizer, nearest_neighbors


def tokenizer(**options) -> PlaneTokenizer:
    return PlaneTokenizer.of(student_config("waffleiron-1-4", **options))


def scan(points: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-1, 1, (points, 3)) * [60, 60, 7]).astype(np.float32)


def real_points(arrays) -> np.ndarray:
    """The fixture's cloud in the frame that the published network sees."""
    points = arrays["points"]
    if "selected_rows" not in arrays:
        return points[:, :3]
    pose = from_quaternion(arrays["pose_heading_wxyz"], arrays["pose_position_xyz"])
    return transform(points[arrays["selected_rows"], :3], invert(pose)) - [0, 0, 1.6]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("nuscenes", 0.5),
        ("semantic_kitti", 0.5),
        ("panda64", 0.5),
        ("pandagt", 0.5),
        ("waffleiron_grids_nuscenes", 0.6),
        ("waffleiron_grids_semantic_kitti", 0.4),
    ],
)
def test_published_crop_cells_and_neighbours(name: str, cell: float, parity) -> None:
    folder = parity(f"02_preprocessing/{name}.npz").parent
    config = json.loads((folder / "index.json").read_text())[name]["config"]
    arrays, cloud = np.load(folder / f"{name}.npz"), np.load(folder / f"{name.removeprefix('waffleiron_grids_')}.npz")
    ours = tokenizer(fov=tuple(zip(*config["fov_xyz"], strict=True)), cell=cell)
    assert ours.grids == tuple(tuple(grid) for grid in config["grids_shape"])
    points, kept = real_points(cloud), cloud["voxel_keep"]
    kept = kept[ours.inside(points[kept])]
    assert np.array_equal(kept, arrays["final_keep"])
    points = points[kept]
    if "knn_rows" not in arrays:
        assert np.array_equal(ours._cells(points), arrays["cell_ind"])
        return
    prepared = ours(points, np.zeros((len(points), 5), np.float32))
    assert np.array_equal(prepared["cells"], arrays["cell_ind"])
    rows = arrays["knn_rows"]
    found = prepared["neighbors"][rows]
    distance = np.linalg.norm(points[found].astype(np.float64) - points[rows, None], axis=2)
    assert np.allclose(distance, arrays["knn_dist"][:, 1:], rtol=1e-6, atol=1e-6)
    assert (found == arrays["knn_idx"][:, 1:]).mean() > 0.999  # equal distances may be ordered differently


def test_neighbours_are_the_nearest() -> None:
    points = scan(500)
    distance, _ = cKDTree(points).query(points, k=9)
    found = nearest_neighbors(points, 8)
    ours = np.linalg.norm(points[found].astype(np.float64) - points[:, None], axis=2)
    assert np.allclose(ours, distance[:, 1:], atol=1e-5)
    assert (found != np.arange(500)[:, None]).all()


def test_points_at_the_same_place_are_not_their_own_neighbours() -> None:
    points = np.repeat(scan(40, 2), 3, axis=0)
    found = nearest_neighbors(points, 4)
    assert (found != np.arange(120)[:, None]).all()
    assert np.array_equal(np.sort(found[:, :2] // 3), np.repeat(np.arange(40), 3)[:, None].repeat(2, 1))


def test_small_clouds_repeat_their_points() -> None:
    assert nearest_neighbors(scan(0), 4).shape == (0, 4)
    assert nearest_neighbors(scan(1), 4).tolist() == [[0, 0, 0, 0]]
    assert nearest_neighbors(scan(2), 3).tolist() == [[1, 1, 1], [0, 0, 0]]
    three = nearest_neighbors(np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0]], np.float32), 5)
    assert three.tolist() == [[1, 2, 1, 2, 1], [0, 2, 0, 2, 0], [1, 0, 1, 0, 1]]


def test_cells_of_a_known_point() -> None:
    ours = tokenizer(fov=((-4, 4), (-2, 2), (-1, 1)), cell=0.5)
    assert ours.grids == ((16, 8), (16, 4), (8, 4))
    cloud = ours(np.array([[-3.9, 1.9, 0.1]], np.float32), np.zeros((1, 5), np.float32))
    assert cloud["cells"].T.tolist() == [[0 * 8 + 7, 0 * 4 + 2, 7 * 4 + 2]]


def test_inside_is_strict_and_refuses_nan() -> None:
    ours = tokenizer()
    points = np.array([[0, 0, 0], [64, 0, 0], [63.99995, 0, 0], [0, -64, 0], [0, 0, 9], [np.nan, 0, 0]], np.float32)
    assert ours.inside(points).tolist() == [True, False, False, False, False, False]
    with pytest.raises(ValueError, match="inside"):
        ours(points, np.zeros((6, 5), np.float32))


def test_the_packed_layout() -> None:
    ours = tokenizer(neighbors=3)
    clouds = [scan(40, 1), scan(0), scan(2, 3) * 0.1, scan(30, 4) * 0.2 + np.array([40, -40, 0], np.float32)]
    batch = ours.collate([ours(points, np.zeros((len(points), 5), np.float32)) for points in clouds])
    assert batch.offsets.tolist() == [0, 40, 40, 42, 72]
    assert batch.packing.index.tolist() == [0] * 40 + [2] * 2 + [3] * 30
    neighbors = batch.prepared["neighbors"]
    assert torch.equal(batch.packing.index[neighbors], batch.packing.index[:, None].expand(-1, 3))
    for plane, (first, second) in enumerate(((0, 1), (0, 2), (1, 2))):
        cells, order = batch.prepared[f"cells_{plane}"], batch.prepared[f"order_{plane}"]
        starts, weights = batch.prepared[f"starts_{plane}"], batch.prepared[f"weights_{plane}"]
        assert sorted(order.tolist()) == list(range(72))
        assert (cells[order].diff() >= 0).all()
        counts = torch.bincount(cells, minlength=starts.numel())
        assert torch.equal(starts.flatten(), counts.cumsum(0) - counts)
        assert torch.allclose(weights, 1 / counts[cells])
        assert torch.equal(torch.div(cells, starts[0].numel(), rounding_mode="floor"), batch.packing.index)
        # same cell of the window exactly when same cell of the grid; neighbours stay neighbours
        for cloud, points in enumerate(clouds):
            rows = batch.packing.index == cloud
            index = torch.from_numpy(np.floor((points - np.array([-64.0, -64.0, -8.0])) / 0.5).astype(np.int64))
            width = starts.shape[2]
            local = torch.stack([cells[rows] // width % starts.shape[1], cells[rows] % width], dim=1)
            shift = local - index[:, [first, second]]
            assert (shift == shift[:1]).all()


def test_windows_are_no_larger_than_needed() -> None:
    ours = tokenizer()
    points = np.array([[10, 10, 0], [12, 11, 0.2]], np.float32)
    batch = ours.collate([ours(points, np.zeros((2, 5), np.float32))])
    assert [tuple(batch.prepared[f"starts_{plane}"].shape) for plane in range(3)] == [(1, 7, 5), (1, 7, 3), (1, 5, 3)]
    corners = np.array([[-63.9, -63.9, -7.9], [63.9, 63.9, 7.9]], np.float32)
    batch = ours.collate([ours(corners, np.zeros((2, 5), np.float32))])
    assert tuple(batch.prepared["starts_1"].shape) == (1, 256, 32)


def test_a_tokenizer_travels_to_workers() -> None:
    ours = tokenizer()
    assert pickle.loads(pickle.dumps(ours)) == ours
