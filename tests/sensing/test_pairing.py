from dataclasses import replace

import numpy as np
import pytest

from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView, Distortion, Frame, Sensor
from lidistill.sensing.pairing import Pairs, pair

FROM_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, -0.3], [1, 0, 0, -0.2], [0, 0, 0, 1.0]])


def make_frame(points):
    points = np.asarray(points, np.float32)
    view = CameraView("front", 100, 200, np.array([[100, 0, 100], [0, 100, 50], [0, 0, 1.0]]), FROM_LIDAR, None)
    return Frame(points, np.zeros(len(points), np.float32), Sensor("test"), "frame", views=(view,)), view


def test_rows_and_pixels_of_points_in_the_picture():
    frame, view = make_frame([[5.2, 0, 0], [-5, 0, 0], [0.9, 0, 0], [5.2, 20, 0], [10.2, 1, -0.3]])
    for occlusion in (True, False):
        pairs = pair(frame, view, occlusion=occlusion)
        assert pairs.rows.dtype == np.int64
        assert pairs.rows.tolist() == [0, 4]
        assert np.allclose(pairs.pixels, [[100, 44], [90, 50]], atol=1e-4)
        assert np.allclose(pairs.depth, [5, 10], atol=1e-5)
    assert pair(frame, view, min_depth=0.5, occlusion=False).rows.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    "lens", [None, Distortion("radtan", (-0.1, 0.01, 0, 0)), Distortion("fisheye", (0.02, 0, 0, 0))]
)
def test_equals_projecting_every_point(lens):
    rng = np.random.default_rng(0)
    frame, view = make_frame(rng.normal(size=(20000, 3)) * [20, 20, 3])
    view = replace(view, distortion=lens)
    pixels, depth = project(frame.points, view)
    for min_depth in (0.0, 1.0):
        rows = np.flatnonzero(in_image(pixels, depth, view.height, view.width, min_depth))
        pairs = pair(frame, view, occlusion=False, min_depth=min_depth)
        assert len(rows) > 500
        assert np.array_equal(pairs.rows, rows)
        assert np.allclose(pairs.pixels, pixels[rows], rtol=0, atol=1e-8)
        assert np.allclose(pairs.depth, depth[rows], rtol=0, atol=1e-8)


def test_margin_reaches_the_last_pixel():
    frame, view = make_frame([[10.2, -9.95, 0]])  # u = 199.5
    assert len(pair(frame, view)) == 0
    assert len(pair(frame, view, margin=0)) == 1


def test_empty_scan_and_empty_picture():
    for points in (np.zeros((0, 3)), [[-5, 0, 0]]):
        frame, view = make_frame(points)
        pairs = pair(frame, view)
        assert len(pairs) == 0
        assert pairs.pixels.shape == (0, 2)
        assert len(pairs.among(np.arange(len(frame)))) == 0


def test_among_follows_the_given_order():
    pairs = Pairs(np.array([2, 5, 9]), np.arange(6.0).reshape(3, 2), np.array([1.0, 2, 3]))
    kept = pairs.among(np.array([9, 0, 2, 11]))
    assert kept.rows.tolist() == [9, 2]
    assert kept.depth.tolist() == [3, 1]
    assert kept.pixels.tolist() == [[4, 5], [0, 1]]
    assert pairs.select(pairs.depth > 1.5).rows.tolist() == [5, 9]
