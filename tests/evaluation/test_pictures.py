"""Pictures: near things hide far ones, a mark lies on its point, nothing is drawn where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.evaluation.palette import UNKNOWN, class_colors, depth_colors, ramp, similarity_colors
from lidistill.evaluation.pictures import MARK, beside, heat, mark, mark_point, overlay, stack, write_picture
from lidistill.evaluation.render import BACKGROUND, draw_discs, from_above, from_behind, look_at, render_cloud
from lidistill.sensing.cameras import project
from lidistill.sensing.pairing import Pairs, pair
from lidistill.taxonomy import from_names

RED, GREEN = np.array([[255, 0, 0]], np.uint8), np.array([[0, 255, 0]], np.uint8)


def wall(distance: float, reach: float = 3.0) -> np.ndarray:
    side = np.linspace(-reach, reach, 120)
    y, z = np.meshgrid(side, side)
    return np.stack([np.full(y.size, distance), y.ravel(), z.ravel()], 1).astype(np.float32)


# ---- colours


def test_ramp_meets_its_ends_and_never_turns_back() -> None:
    values = np.linspace(-1, 2, 301)
    colors = ramp(values, 0, 1, ((0, 0, 0), (100, 50, 0), (255, 255, 255)))
    assert colors[0].tolist() == colors[100].tolist() == [0, 0, 0]
    assert colors[150].tolist() == [100, 50, 0]
    assert colors[-1].tolist() == [255, 255, 255]
    assert ramp([np.nan], 0, 1, ((1, 2, 3), (9, 9, 9))).tolist() == [[1, 2, 3]]
    lightness = similarity_colors(np.linspace(0, 1, 64)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all()


def test_depth_colors_tell_near_from_far() -> None:
    near, far = depth_colors(np.array([2.0, 60.0])).astype(int)
    assert near.sum() > far.sum() + 150


def test_class_colors_are_the_taxonomys() -> None:
    taxonomy = from_names(("road", "car"))
    shown = class_colors(np.array([1, 0, 255], np.uint8), taxonomy)
    np.testing.assert_array_equal(shown[:2], taxonomy.colors[[1, 0]])
    assert tuple(shown[2]) == UNKNOWN


# ---- clouds


def test_virtual_camera_sees_its_target_in_the_middle_with_up_above() -> None:
    view = look_at((1, 2, 3), (11, 2, 3), size=(100, 200))
    pixels, depth = project(np.array([[11, 2, 3], [11, 2, 4], [11, 1, 3]]), view)
    np.testing.assert_allclose(pixels[0], (99.5, 49.5))
    assert depth[0] == pytest.approx(10)
    assert pixels[1, 1] < pixels[0, 1]
    assert pixels[2, 0] > pixels[0, 0]  # y points left
    with pytest.raises(InputError, match="virtual"):
        view.image()


@pytest.mark.parametrize("forward", ["+x", "-x", "+y", "-y"])
def test_driving_direction_is_up_on_the_map_and_ahead_from_behind(forward: str) -> None:
    ahead = np.array({"+x": (20, 0, -1), "-x": (-20, 0, -1), "+y": (0, 20, -1), "-y": (0, -20, -1)}[forward])[None]
    left = np.array([-ahead[0, 1], ahead[0, 0], -1])[None]
    above, behind = from_above(forward, reach=40), from_behind(forward)
    u, v = project(ahead, above)[0][0]
    assert u == pytest.approx(359.5, abs=1)
    assert v == pytest.approx(180, abs=3)
    assert project(left, above)[0][0, 0] == pytest.approx(180, abs=3)
    assert project(ahead, behind)[0][0, 0] == pytest.approx((behind.width - 1) / 2, abs=1)
    assert project(ahead + left / 4, behind)[0][0, 0] < (behind.width - 1) / 2


@pytest.mark.parametrize("flipped", [False, True])
def test_near_hides_far_whatever_the_order(flipped: bool) -> None:
    points = np.concatenate([wall(10, 6), wall(5, 1.5)])
    colors = np.repeat(np.concatenate([GREEN, RED]), len(points) // 2, axis=0)
    if flipped:
        points, colors = points[::-1], colors[::-1]
    picture = render_cloud(points, colors, look_at((0, 0, 0), (1, 0, 0), size=(120, 160)))
    assert picture.shape == (120, 160, 3)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 60)
    assert red[50:70, 60:100].all()  # the near wall is closed
    assert (picture[..., 1] > 100).any()  # the far one shows around it


def test_points_behind_the_camera_are_not_drawn() -> None:
    picture = render_cloud(wall(-5), np.repeat(RED, len(wall(-5)), 0), look_at((0, 0, 0), (1, 0, 0), size=(60, 80)))
    assert (picture == BACKGROUND).all()
    nothing = render_cloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), from_behind(size=(60, 80)))
    assert (nothing == BACKGROUND).all()


def test_nearer_discs_are_larger_and_edges_darker() -> None:
    view = look_at((0, 0, 0), (1, 0, 0), size=(240, 320))
    sizes = [
        (render_cloud(np.array([[x, 0, 0]], np.float32), RED, view, diameter=0.3)[..., 0] > 60).sum() for x in (8, 30)
    ]
    assert sizes[0] > 2 * sizes[1] > 0
    points = np.concatenate([wall(20, 14), wall(5, 1)])
    colors = np.full((len(points), 3), 200, np.uint8)
    picture = render_cloud(points, colors, view, diameter=0.4).astype(int)
    assert picture.max() > 190  # away from the edge the colour is kept
    assert picture[120].min() < 175


def test_disc_is_round_and_reports_its_depth() -> None:
    canvas = np.zeros((31, 31, 3), np.uint8)
    depth = draw_discs(canvas, np.array([[15.0, 15.0]]), np.array([4.0]), np.array([5.0]), RED)
    drawn = canvas[..., 0] > 0
    assert drawn.sum() == pytest.approx(np.pi * 25, rel=0.08)
    np.testing.assert_array_equal(drawn, drawn.T)
    np.testing.assert_array_equal(drawn, np.isfinite(depth))
    assert depth[15, 15] == 4


def test_discs_at_the_border_stay_inside() -> None:
    canvas = np.zeros((10, 12, 3), np.uint8)
    places = np.array([[0.0, 0.0], [11.4, 9.4], [-2.0, 5.0], [500.0, 5.0], [-500.0, 5.0]])
    draw_discs(canvas, places, np.ones(5), np.full(5, 3.0), np.repeat(RED, 5, 0))
    drawn = canvas[..., 0] > 0
    assert drawn[0, 0]
    assert drawn[9, 11]
    assert drawn[5, 0]
    assert not drawn[5, 6]


def test_wrong_number_of_colors_is_said() -> None:
    with pytest.raises(InputError, match="3 points but 1 colours"):
        draw_discs(np.zeros((4, 4, 3), np.uint8), np.zeros((3, 2)), np.ones(3), np.ones(3), RED)


# ---- camera pictures


def test_overlay_draws_on_a_copy_near_over_far() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    pixels = np.array([[30.0, 20.0], [30.0, 20.0], [10.0, 10.0]])
    pairs = Pairs(np.arange(3), pixels, np.array([5.0, 9.0, 7.0]))
    colors = np.concatenate([RED, GREEN, GREEN])
    shown = overlay(image, pairs, colors, radius=2, dim=0.5)
    assert (image == 100).all()
    assert shown[20, 30].tolist() == [255, 0, 0]
    assert shown[10, 10].tolist() == [0, 255, 0]
    assert shown[0, 0].tolist() == [50, 50, 50]
    by_depth = overlay(image, pairs)
    np.testing.assert_array_equal(by_depth[10, 10], depth_colors(np.array([7.0]))[0])


def test_heat_follows_the_cells() -> None:
    similarity = np.zeros((2, 4), np.float32)
    similarity[0, 3] = 1
    shown = heat(np.full((40, 80, 3), 128, np.uint8), similarity).astype(int).sum(-1)
    assert np.unravel_index(shown.argmax(), shown.shape)[0] < 10
    assert np.unravel_index(shown.argmax(), shown.shape)[1] > 65
    assert shown[35, 5] < shown.max() / 2


def test_mark_rings_its_pixel() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    shown = mark(picture, (40, 30), radius=8)
    assert not picture.any()
    assert (shown == MARK).all(-1).any()
    v, u = np.nonzero(shown.any(-1))
    assert (u.min() + u.max()) / 2 == pytest.approx(40, abs=1)
    assert (v.min() + v.max()) / 2 == pytest.approx(30, abs=1)
    assert not shown[30, 40].any()  # what is marked stays visible


def test_mark_point_finds_it_and_leaves_hidden_ones_alone() -> None:
    view = look_at((0, 0, 0), (1, 0, 0), size=(60, 80))
    picture = np.zeros((60, 80, 3), np.uint8)
    v, u = np.nonzero(mark_point(picture, np.array([10.0, 0, 0]), view).any(-1))
    assert (u.mean(), v.mean()) == (pytest.approx(39.5, abs=1), pytest.approx(29.5, abs=1))
    assert not mark_point(picture, np.array([-10.0, 0, 0]), view).any()


def test_beside_and_stack_keep_shapes_and_write_captions() -> None:
    a, b = np.full((100, 150, 3), 200, np.uint8), np.full((50, 40, 3), 90, np.uint8)
    row = beside([a, b], gap=10)
    assert row.shape == (50, 75 + 10 + 40, 3)
    assert (row[:, :75] > 190).all()
    assert (row[:, 75:85] == BACKGROUND).all()
    titled = beside([a, b], ["left", "right"], gap=10)
    assert titled.shape[0] > 50
    assert (titled[: titled.shape[0] - 50].max(-1) > 200).any()
    column = stack([a, b], gap=4)
    assert column.shape == (27 + 4 + 50, 40, 3)
    captioned = stack([a, b], ["one", "two"], gap=4)
    assert captioned.shape[0] > column.shape[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_written_picture_is_read_back(tmp_path: Path, suffix: str) -> None:
    picture = np.full((20, 30, 3), 77, np.uint8)
    write_picture(picture, tmp_path / f"a{suffix}")
    read = np.asarray(Image.open(tmp_path / f"a{suffix}"))
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).max() <= 1
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_real_scan_fits_its_image(real: Callable[[str], Path]) -> None:
    """Over a car in the image lie points of the class car."""
    source = open_source(f"semantic-kitti:{real('semantickitti/dataset')}")
    frame = source[0]
    assert frame.labels is not None
    assert source.taxonomy is not None
    pairs = pair(frame, frame.views[0])
    colors = class_colors(frame.labels, source.taxonomy)
    shown = overlay(frame.views[0].image(), pairs, colors[pairs.rows])
    car = source.taxonomy.colors[source.taxonomy.classes.index("car")]
    part = shown[230:330, 760:970]  # the car in front on the right
    assert (part == car).all(-1).mean() > 0.15


def test_sparse_clouds_are_drawn_with_larger_points() -> None:
    view = look_at((0, 0, 0), (1, 0, 0), size=(120, 160))
    few = np.array([[12, 0, 0]], np.float32)
    many = np.concatenate([few, np.repeat(np.array([[-5, 0, 0]], np.float32), 120_000, 0)])  # the rest is out of sight
    drawn = [(render_cloud(cloud, np.repeat(RED, len(cloud), 0), view)[..., 0] > 60).sum() for cloud in (few, many)]
    assert drawn[0] > drawn[1] > 0
