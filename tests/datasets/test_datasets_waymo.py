from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import waymo_folder as make

from lidistill.datasets import waymo_segment
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import project


@pytest.fixture(autouse=True)
def fresh():
    """Tables that a process keeps are those of another test's file."""
    for function in ("read_beams", "read_cameras", "read_vehicle_poses", "read_image_poses"):
        getattr(waymo_segment, function).cache_clear()


@pytest.fixture
def root(tmp_path):
    make.make_segment(tmp_path / "training")
    return tmp_path


def open_waymo(root, options=""):
    return open_source(f"waymo:{root}{options}")


# ---- frames


def test_frames_in_the_order_of_time(root):
    source = open_waymo(root)
    name = f"waymo/training/{make.SEGMENT}"
    assert [frame.token for frame in source] == [f"{name}/{make.START + n * make.STEP}" for n in range(3)]
    assert [frame.timestamp for frame in source] == [(make.START + n * make.STEP) / 1e6 for n in range(3)]
    assert (source.sensor.rings, source.sensor.forward) == (64, "+x")
    assert len(pickle.dumps(source)) < 10_000


@pytest.mark.parametrize("motion", [True, False])
def test_points_are_those_of_the_rays(tmp_path, motion):
    make.make_segment(tmp_path / "training", motion=motion)
    for number, frame in enumerate(open_waymo(tmp_path)):
        expected = np.concatenate([make.expected_points(number, n, motion=motion) for n in (1, 2)])
        assert len(expected) > 300
        # the data set keeps the poses of pixels as float32: steps of a quarter of a millimetre at 3 km
        np.testing.assert_allclose(frame.points, expected, atol=1e-3 if motion else 2e-5)


def test_motion_matters(root):
    still = make.expected_points(1, 1, motion=False)
    assert 0.5 < np.linalg.norm(make.expected_points(1, 1) - still, axis=1).max() < 5


def test_the_middle_of_a_range_image_looks_ahead(tmp_path, monkeypatch):
    """Whatever the yaw at which the lidar is mounted; without tilt and motion."""
    for yaw in (0, 148, -77):
        mount = make.matrix(make.Rotation.from_euler("Z", yaw, degrees=True), (1, 0, 2))
        monkeypatch.setattr(make, "MOUNT", mount)
        root = tmp_path / str(yaw)
        make.make_segment(root / "training", motion=False)
        image = make.scan(0, 1)
        pixels = np.flatnonzero(image[..., 0] > 0)
        waymo_segment.read_beams.cache_clear()
        points = open_waymo(root)[0].points[: len(pixels)] - [1, 0, 2]
        bearing = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
        step = 360 / make.COLUMNS
        np.testing.assert_allclose(bearing, 180 - step / 2 - step * (pixels % make.COLUMNS), atol=1e-3)
        lowest = points[pixels // make.COLUMNS == make.ROWS - 1]
        np.testing.assert_allclose(np.degrees(np.arctan2(lowest[:, 2], np.hypot(*lowest[:, :2].T))), -17, atol=1e-3)


def test_evenly_spaced_beams(root):
    make.write_calibration(root / "training", even=True)
    beams = waymo_segment.read_beams(root / "training/lidar_calibration" / f"{make.SEGMENT}.parquet")
    np.testing.assert_allclose(beams.rows(4, ""), [0.05, -0.05, -0.15, -0.25])


def test_intensity_rings_labels(root):
    source = open_waymo(root)
    frame = source[1]
    images, classes = [make.scan(1, n) for n in (1, 2)], [make.labels(1, n) for n in (1, 2)]
    kept = [image[..., 0] > 0 for image in images]
    raw = np.concatenate([image[..., 1][k] for image, k in zip(images, kept, strict=True)])
    assert raw.max() > 1
    np.testing.assert_array_equal(frame.intensity, np.clip(raw, 0, 1))
    np.testing.assert_array_equal(frame.ring, np.concatenate([np.nonzero(k)[0] for k in kept]))
    marks = np.concatenate([c[..., 1][k] for c, k in zip(classes, kept, strict=True)])
    np.testing.assert_array_equal(frame.labels, source.taxonomy.table[marks])
    assert source.taxonomy.name == "waymo-10"
    assert source[0].labels is None


def test_one_return(root):
    rows, types = make.range_rows(
        "LiDARComponent", [(make.key(0, make.SEGMENT, laser_name=1), {1: make.scan(0, 1)})], pa.float32()
    )
    make.write(root / "training", "lidar", rows, types)
    assert len(open_waymo(root)[0]) == (make.scan(0, 1)[..., 0] > 0).sum()


def test_origin_of_the_lidar(root):
    vehicle, lidar = open_waymo(root)[1], open_waymo(root, "?origin=lidar")[1]
    np.testing.assert_allclose(vehicle.points - lidar.points, np.tile(make.MOUNT[:3, 3], (len(lidar), 1)), atol=1e-5)
    pixels, _ = project(vehicle.points, vehicle.views[0])
    inside = (abs(pixels) < 1000).all(axis=1)
    assert inside.sum() > 100
    np.testing.assert_allclose(project(lidar.points, lidar.views[0])[0][inside], pixels[inside], atol=0.01)


# ---- cameras


def test_projection_is_that_of_the_documentation(root):
    frame = open_waymo(root)[2]
    (view,) = frame.views
    assert (view.name, view.height, view.width) == ("FRONT", make.HEIGHT, make.WIDTH)
    assert view.timestamp == pytest.approx(frame.timestamp - 0.02, abs=1e-6)
    assert view.image().shape == (make.HEIGHT, make.WIDTH, 3)
    assert abs(view.image()[0, 0].astype(int) - [80, 200, 30]).max() < 10
    pixels, depth = project(frame.points, view)
    ahead = (depth > 1) & np.isfinite(pixels).all(axis=1)
    inside = ahead & (pixels > 0).all(axis=1) & (pixels < [make.WIDTH, make.HEIGHT]).all(axis=1)
    assert inside.sum() > 20
    expected = make.expected_pixels(frame.points.astype(float), 2)
    np.testing.assert_allclose(pixels[ahead], expected[ahead], atol=1e-6)


def test_a_frame_without_a_picture(root):
    make.write_images(root / "training", make.SEGMENT, [0, 2])
    assert [len(frame.views) for frame in open_waymo(root)] == [1, 0, 1]
    for path in (root / "training").glob("camera_*/*"):
        path.unlink()
    assert [len(frame.views) for frame in open_waymo(root)] == [0, 0, 0]


# ---- splits


def test_splits_hold_labelled_frames(root):
    make.make_segment(root / "training", "20_000_40_000", frames=2, labelled=(0, 1), images=False)
    make.make_segment(root / "validation", "30_000_50_000", frames=4, labelled=(3,), images=False)
    make.make_segment(root / "testing", "40_000_60_000", frames=2, labelled=(), images=False)
    source = open_waymo(root)
    # train: frame 1 of the first segment, both of the second; every second segment is the second one
    assert source.splits == {"train": (1, 3, 4), "val": (8,), "test": (9, 10), "train-50": (3, 4)}
    everything = open_waymo(root, "?frames=all")
    assert everything.spec == f"waymo:{root}?frames=all"
    assert {split: len(rows) for split, rows in everything.splits.items()} == {
        "train": 5,
        "val": 4,
        "test": 2,
        "train-50": 2,
    }
    assert [frame.labels is None for frame in source.split("train")] == [False] * 3


def test_the_index_is_made_once(root, monkeypatch):
    open_waymo(root)
    monkeypatch.setattr("lidistill.datasets.waymo.index_frames", lambda *_: pytest.fail("made again"))
    assert len(open_waymo(root)) == 3


# ---- the reference page


def test_rewriting_the_files_changes_no_frame(root):
    """The program of the page, on the tiny segment: faster files, the same frames."""
    page = (Path(__file__).resolve().parents[2] / "docs/reference/waymo.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    before, pictures = list(open_waymo(root)), [frame.views[0].image() for frame in open_waymo(root)]
    exec(program.replace("/data/waymo", str(root)), {})
    waymo_segment.read_image_poses.cache_clear()  # the rows of the pictures are other ones
    file = pq.ParquetFile(component(root, "lidar"))
    assert file.metadata.num_row_groups == file.metadata.num_rows == 3
    for old, new, picture in zip(before, open_waymo(root), pictures, strict=True):
        np.testing.assert_array_equal(new.points, old.points)
        np.testing.assert_array_equal(new.views[0].from_lidar, old.views[0].from_lidar)
        np.testing.assert_array_equal(new.views[0].image(), picture)


# ---- damage


def test_wrong_options(root):
    with pytest.raises(InputError, match="there is no frames 'labeled'; did you mean 'labelled'"):
        open_waymo(root, "?frames=labeled")
    with pytest.raises(InputError, match="there is no origin 'car'; did you mean 'lidar'"):
        open_waymo(root, "?origin=car")


def test_nothing_there(tmp_path):
    (tmp_path / "training/lidar").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no scan found, expected Waymo v2: .* found training"):
        open_waymo(tmp_path)


def test_without_pyarrow(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install lidistill\[datasets\]"):
        open_waymo(root)[0]


def component(root, name):
    return root / "training" / name / f"{make.SEGMENT}.parquet"


@pytest.mark.parametrize("name", ["lidar_calibration", "camera_calibration", "vehicle_pose"])
def test_missing_component(root, name):
    component(root, name).unlink()
    with pytest.raises(InputError, match="the file is missing") as caught:
        open_waymo(root)[0]
    assert str(component(root, name)) in str(caught.value)


COLUMNS = {
    "lidar": "[LiDARComponent].range_image_return2.values",
    "lidar_pose": "[LiDARPoseComponent].range_image_return1.shape",
    "lidar_segmentation": "key.laser_name",
    "lidar_calibration": "[LiDARCalibrationComponent].beam_inclination.max",
    "camera_calibration": "[CameraCalibrationComponent].intrinsic.k3",
    "camera_image": "[CameraImageComponent].pose.transform",
    "vehicle_pose": "[VehiclePoseComponent].world_from_vehicle.transform",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_missing_column(root, name):
    path = component(root, name)
    pq.write_table(pq.read_table(path).drop_columns([COLUMNS[name]]), path)
    with pytest.raises(InputError, match="no column") as caught:
        open_waymo(root)[1]
    assert str(path) in str(caught.value)
    assert COLUMNS[name] in str(caught.value)


@pytest.mark.parametrize("name", COLUMNS)
def test_truncated_file(root, name):
    path = component(root, name)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated or damaged") as caught:
        open_waymo(root)[1]
    assert str(path) in str(caught.value)


def test_wrong_values(root):
    part = root / "training"
    shape = "[LiDARComponent].range_image_return1.shape"
    scan = (make.key(0, make.SEGMENT, laser_name=1), {1: make.scan(0, 1)})
    rows, types = make.range_rows("LiDARComponent", [scan], pa.float32())
    make.write(part, "lidar", [rows[0] | {shape: [make.ROWS, make.COLUMNS + 1, 4]}], types)
    with pytest.raises(
        InputError, match=r"row 0, return 1: 1152 values of shape \(8, 37, 4\), expected rows x columns"
    ):
        open_waymo(root)[0]
    make.write(part, "lidar", [rows[0] | {shape: None}], types)
    with pytest.raises(InputError, match=r"1152 values of shape \(\)"):
        open_waymo(root)[0]
    time = {"key.frame_timestamp_micros": "noon"}
    make.write(part, "lidar", [rows[0] | time], types | {"key.frame_timestamp_micros": pa.string()})
    with pytest.raises(InputError, match=r"'key.frame_timestamp_micros' is of type string, expected numbers"):
        open_waymo(root)


def test_wrong_calibration(root):
    part = root / "training"
    values = "[LiDARCalibrationComponent].beam_inclination.values"
    path = component(root, "lidar_calibration")
    table = pq.read_table(path).to_pylist()
    schema = pq.read_schema(path)
    for change, message in (
        ({values: [0.1, 0.2]}, "8 rows, but the calibration has 2 beams"),
        ({values: [float("nan")] * 8}, "beam inclinations: expected finite numbers"),
        ({"[LiDARCalibrationComponent].extrinsic.transform": [2.0] * 16}, "laser 1: the last row must be"),
        ({"key.laser_name": 4}, "no row for laser 1, the one on the roof"),
    ):
        waymo_segment.read_beams.cache_clear()
        pq.write_table(pa.Table.from_pylist([row | change for row in table], schema), path)
        with pytest.raises(InputError, match=message):
            open_waymo(root)[0]
    make.write_calibration(part)
    waymo_segment.read_beams.cache_clear()
    make.write_images(part, make.SEGMENT, [0, 1, 2], camera=2)
    with pytest.raises(InputError, match=r"no row for camera 2 \(FRONT_LEFT\)"):
        open_waymo(root)[0]


def test_poses_shorter_than_frames(root):
    path = component(root, "vehicle_pose")
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    source = open_waymo(root)
    there = pq.read_table(path)["key.frame_timestamp_micros"][0].as_py()
    for index in range(3):
        if make.START + index * make.STEP == there:
            assert len(source[index]) > 300
            continue
        with pytest.raises(InputError, match="1 poses, none of them for frame"):
            source[index]


def test_labels_of_another_size(root):
    marks = [(make.key(1, make.SEGMENT, laser_name=1), {1: make.labels(1, 1)[:, :-1]})]
    make.write(
        root / "training",
        "lidar_segmentation",
        *make.range_rows("LiDARSegmentationLabelComponent", marks, pa.int32()),
    )
    with pytest.raises(InputError, match=r"labels of \(8, 35\) pixels, expected \(8, 36\)"):
        open_waymo(root)[1]


def test_damaged_pictures(root):
    make.write_images(root / "training", make.SEGMENT, [0], content=lambda frame: b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"row 0: the image cannot be read"):
        open_waymo(root)[0].views[0].image()
    make.write_images(root / "training", make.SEGMENT, [0], content=lambda frame: make.jpeg(frame, (30, 20)))
    with pytest.raises(InputError, match=r"the image has shape \(20, 30, 3\), the calibration says"):
        open_waymo(root)[0].views[0].image()


def test_a_scan_without_a_return(root):
    empty = np.zeros_like(make.scan(0, 1))
    scans = [(make.key(0, make.SEGMENT, laser_name=1), {1: empty})]
    make.write(root / "training", "lidar", *make.range_rows("LiDARComponent", scans, pa.float32()))
    with pytest.raises(InputError, match=rf"{make.SEGMENT}.parquet/{make.START}: no points in the scan"):
        open_waymo(root)[0]
