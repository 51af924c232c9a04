"""Augmentation: exact operations, the distributions drawn, and the distillation items of the reference replayed."""

import json
import math

import numpy as np
import pytest

from lidistill.sensing.frame import Sensor
from lidistill.students.tokenizer import PlaneTokenizer
from lidistill.transforms.augment import (
    SegmentAugmentation,
    flip,
    flip_xy,
    limit_points,
    nearest_rows,
    rescale,
    rotate,
    rotate_z,
    scale,
)
from lidistill.transforms.features import point_features
from lidistill.transforms.voxels import voxel_sample

LOW, HIGH = np.array([-64, -64, -8]), np.array([64, 64, 8])


def visible(parity, name, camera):
    """(N,) bool over the full cloud: what the original projection keeps (section 3 of the fixtures)."""
    data = np.load(parity(f"03_point_to_pixel/{name}.npz"))
    kept = data[f"{camera}_kept" if camera else "kept"]
    cloud = np.load(parity(f"02_preprocessing/{name}.npz"))
    count = len(cloud["selected_rows"]) if "selected_rows" in cloud else len(cloud["points"])
    return np.isin(np.arange(count), kept)


CAMERAS = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"]


@pytest.mark.parametrize("name", ["nuscenes", "semantic_kitti", "pandagt"])
def test_replay_of_a_distillation_item(parity, reference_cloud, name):
    item = np.load(parity(f"03_point_to_pixel/distill_item_{name}.npz"))
    recorded = json.loads(parity("03_point_to_pixel/distill_item.json").read_text())[name]
    draws = recorded["values"][1:]
    camera = CAMERAS[draws.pop(0)] if name == "nuscenes" else None
    center, u1, u2, axis, u3 = draws
    index = json.loads(parity("02_preprocessing/index.json").read_text())[name]

    points, intensity = reference_cloud(name)
    world = points
    if name == "pandagt":  # sampled and selected in world coordinates
        cloud = np.load(parity("02_preprocessing/pandagt.npz"))
        world = cloud["points"][cloud["selected_rows"], :3]
    kept = voxel_sample(world, 0.1, item["permutation"])
    kept = kept[visible(parity, name, camera)[kept]]
    assert recorded["order_of_draws"][-5] == f"randint({len(kept)})"
    kept = kept[nearest_rows(world[kept], center, recorded["max_points"])]
    coords = rotate(points[kept], (2 * u1 - 1) * math.pi)
    coords = flip(coords, axis if u2 < 2 / 3 else None)
    coords = rescale(coords, 1 + 0.1 * (2 * u3 - 1))
    inside = ((coords > LOW + 1e-4) & (coords < HIGH - 1e-4)).all(1)
    sensor = Sensor(name, intensity=(index["intensity_mean"], index["intensity_std"]))
    features = point_features(coords[inside], intensity[kept[inside]], sensor)

    expected = item["feat"].T
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= 1e-5 * np.abs(expected).max()

    tokens = PlaneTokenizer(fov=((-64, 64), (-64, 64), (-8, 8)), cells=(256, 256, 32), neighbors=16)(
        coords[inside], features
    )
    # a point within 1e-5 m of a border may fall into the next cell
    assert (tokens["cells"] == item["cell_ind"]).mean() > 0.9995

    def distances(neighbors):
        return np.linalg.norm(coords[inside][neighbors] - coords[inside][:, None], axis=2)

    assert np.allclose(distances(tokens["neighbors"]), distances(item["neighbors"][1:].T), atol=1e-5)
    seen = np.load(parity(f"03_point_to_pixel/{name}.npz"))
    prefix = f"{camera}_" if camera else ""
    pixel = dict(zip(seen[f"{prefix}kept"].tolist(), seen[f"{prefix}row_col_224x448"].tolist(), strict=True))
    assert [pixel[row] for row in kept[inside].tolist()] == item["pairing_pixels"][:, 1:].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_are_exact_pure_and_keep_the_precision(dtype):
    points = np.array([[1, 0, 5], [0, 2, -1]], dtype)
    before = points.copy()
    turned, flipped, scaled = rotate(points, math.pi / 2), flip(points, 1), rescale(points, 0.5)
    assert np.allclose(turned, [[0, 1, 5], [-2, 0, -1]], atol=1e-6)
    assert np.array_equal(flipped, [[1, 0, 5], [0, -2, -1]])
    assert np.array_equal(flip(points, None), points)
    assert np.array_equal(scaled, [[0.5, 0, 2.5], [0, 1, -0.5]])
    assert {turned.dtype, flipped.dtype, scaled.dtype} == {np.dtype(dtype)}
    assert np.array_equal(points, before)


def test_what_is_drawn():
    rng = np.random.default_rng(0)
    one = np.array([[1.0, 1.0, 1.0]])
    angles = np.array([math.atan2(*rotate_z(one, rng)[0, 1::-1]) for _ in range(4000)])
    assert np.histogram(angles, 8, (-math.pi, math.pi))[0] == pytest.approx([500] * 8, abs=90)
    flips = np.array([flip_xy(one, rng)[0] for _ in range(6000)])
    assert (flips[:, 2] == 1).all()
    assert np.mean(flips[:, 0] < 0) == pytest.approx(1 / 3, abs=0.03)
    assert np.mean(flips[:, 1] < 0) == pytest.approx(1 / 3, abs=0.03)
    assert not (flips[:, :2] < 0).all(1).any()
    factors = np.array([scale(one, rng, 0.2)[0] for _ in range(2000)])
    assert (factors[:, 0] == factors[:, 2]).all()
    assert factors.min() == pytest.approx(0.8, abs=0.01)
    assert factors.max() == pytest.approx(1.2, abs=0.01)
    assert factors.mean() == pytest.approx(1, abs=0.02)


def test_segmentation_augments_features_independently_of_coordinates():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 3)).astype(np.float32)
    features = point_features(points, rng.random(40), Sensor("a"))
    ratios, angles, same_angle, flipped = [], [], 0, 0
    for _ in range(300):
        drawn = SegmentAugmentation.draw(rng)
        coords, changed = drawn.coords(points), drawn.features(features)
        assert coords.dtype == changed.dtype == np.float32
        assert np.array_equal(changed[:, 0], features[:, 0])
        assert np.allclose(np.linalg.norm(coords, axis=1), features[:, 4], atol=1e-5)  # never scaled
        assert np.array_equal(coords[:, 2], points[:, 2])
        assert np.allclose(np.linalg.norm(changed[:, 1:4], axis=1), changed[:, 4], atol=1e-5)  # one factor for all
        ratios.append((changed[:, 4] / features[:, 4]).mean())
        angles.append(np.angle(complex(*changed[0, 1:3]) / complex(*features[0, 1:3])))
        same_angle += np.allclose(coords, changed[:, 1:4] / ratios[-1], atol=1e-2)

        def handedness(array):
            return np.sign(np.linalg.det(array[:3]))

        assert handedness(changed[:, 1:4]) == handedness(features[:, 1:4])  # features are not flipped
        flipped += handedness(coords) != handedness(points)
    assert same_angle < 5
    assert np.histogram(angles, 4, (-math.pi, math.pi))[0] == pytest.approx([75] * 4, abs=35)
    assert flipped / 300 == pytest.approx(2 / 3, abs=0.1)
    assert (min(ratios), max(ratios)) == pytest.approx((0.9, 1.1), abs=0.01)


def test_limit_keeps_the_nearest_sorted():
    rng = np.random.default_rng(2)
    points = rng.random((500, 3), np.float32)
    rows = limit_points(points, 100, rng)
    distance = np.linalg.norm(points - points[rows[0]], axis=1)
    assert len(np.unique(rows)) == 100
    assert np.array_equal(rows, np.argsort(distance)[:100])
    centers = {int(limit_points(points, 1, rng)[0]) for _ in range(50)}
    assert len(centers) > 30


def test_limit_leaves_small_clouds_as_they_are():
    points = np.random.default_rng(3).random((20, 3))
    for limit in (20, 50):
        assert np.array_equal(limit_points(points, limit, np.random.default_rng(0)), np.arange(20))


def test_same_generator_state_gives_the_same_cloud():
    points = np.random.default_rng(4).random((30, 3), np.float32)
    features = point_features(points, points[:, 0], Sensor("a"))
    first, second = (SegmentAugmentation.draw(np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.coords(points), second.coords(points))
    assert np.array_equal(first.features(features), second.features(features))
