"""Points to pixels against the reference implementations (parity, section 3)."""

import json

import numpy as np
import pytest

from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView, Frame, Sensor
from lidistill.sensing.pairing import pair
from lidistill.sensing.rigid import from_quaternion, invert, transform

CAMERAS = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"]


def view_of(size, intrinsics, from_lidar):
    height, width = (int(side) for side in size)
    return CameraView("camera", height, width, np.array(intrinsics, np.float64), from_lidar, None)


def resized(row_col, size, target):
    return np.floor(row_col * (np.array(target) / np.asarray(size)))


def assert_resized(expected, prefix, row_col, size):
    for target in ((224, 448), (448, 896)):
        assert np.array_equal(resized(row_col, size, target), expected[f"{prefix}row_col_{target[0]}x{target[1]}"])


def whole_frame(points):
    return Frame(points, np.zeros(len(points), np.float32), Sensor("reference"), "reference")


@pytest.mark.parametrize("camera", CAMERAS)
def test_nuscenes(parity, camera):
    points = np.load(parity("02_preprocessing/nuscenes.npz"))["points"][:, :3]
    expected = np.load(parity("03_point_to_pixel/nuscenes.npz"))
    calibration = json.loads(parity("03_point_to_pixel/nuscenes_calibration.json").read_text())

    def pose(record):
        return from_quaternion(record["rotation"], record["translation"])

    lidar, image = calibration["point"], calibration[camera]
    to_world = pose(lidar["poserecord"]) @ pose(lidar["cs_record"])
    from_lidar = invert(pose(image["cs_record"])) @ invert(pose(image["poserecord"])) @ to_world
    view = view_of(expected["image_hw"], image["cs_record"]["camera_intrinsic"], from_lidar)
    pairs = pair(whole_frame(points), view, occlusion=False)
    # the reference in double precision
    assert np.array_equal(pairs.rows, expected[f"{camera}_kept_f64"])
    assert np.abs(pairs.pixels - expected[f"{camera}_xy_f64"]).max() < 1e-5
    # the reference in single precision, at world coordinates of a kilometre
    kept = expected[f"{camera}_kept"]
    assert len(np.setxor1d(pairs.rows, kept)) <= 0.001 * len(kept)
    common, mine, theirs = np.intersect1d(pairs.rows, kept, return_indices=True)
    off = np.abs(np.floor(pairs.pixels[mine][:, ::-1]) - expected[f"{camera}_row_col"][theirs]).max(1)
    assert off.max() <= 1
    assert (off > 0).sum() <= 0.006 * len(common)
    assert_resized(expected, f"{camera}_", expected[f"{camera}_row_col"], expected["image_hw"])


def test_semantic_kitti(parity):
    points = np.load(parity("02_preprocessing/semantic_kitti.npz"))["points"][:, :3]
    expected = np.load(parity("03_point_to_pixel/semantic_kitti.npz"))
    lines = parity("03_point_to_pixel/semantic_kitti_calib.txt").read_text().splitlines()
    rows = {key: np.array(text.split(), float).reshape(3, 4) for key, text in (line.split(": ") for line in lines)}
    from_lidar = np.vstack([rows["Tr"], [0, 0, 0, 1]])
    from_lidar[:3, 3] += np.linalg.solve(rows["P2"][:, :3], rows["P2"][:, 3])
    view = view_of(expected["image_hw"], rows["P2"][:, :3], from_lidar)
    pairs = pair(whole_frame(points), view, occlusion=False, min_depth=0)
    # the published rule asks for x > 1 m in the lidar frame instead of a depth
    pairs = pairs.select(points[pairs.rows, 0] > 1)
    assert np.array_equal(pairs.rows, expected["kept"])
    assert np.array_equal(np.floor(pairs.pixels[:, ::-1]), expected["row_col"])
    assert np.abs(pairs.pixels[expected["xy_rows"]] - expected["xy"]).max() < 1e-9
    assert_resized(expected, "", expected["row_col"], expected["image_hw"])


@pytest.mark.parametrize("name", ["panda64", "pandagt"])
def test_pandaset(parity, name):
    cloud = np.load(parity(f"02_preprocessing/{name}.npz"))
    points = cloud["points"][cloud["selected_rows"], :3]
    expected = np.load(parity(f"03_point_to_pixel/{name}.npz"))
    calibration = json.loads(parity("03_point_to_pixel/pandaset_calibration.json").read_text())

    def pose(record):
        position, heading = record["position"], record["heading"]
        return from_quaternion([heading[axis] for axis in "wxyz"], [position[axis] for axis in "xyz"])

    given = calibration["camera_intrinsics"]
    intrinsics = [[given["fx"], 0, given["cx"]], [0, given["fy"], given["cy"]], [0, 0, 1]]
    view = view_of(calibration["image_hw"], intrinsics, invert(pose(calibration["camera_pose"])))
    pixels, depth = project(points, view)
    kept = np.flatnonzero(in_image(pixels, depth, view.height, view.width, min_depth=0, margin=0))
    assert np.array_equal(kept, expected["kept"])
    assert np.array_equal(np.floor(pixels[kept, ::-1]), expected["row_col"])
    assert np.abs(pixels[kept] - expected["xy"]).max() < 1e-7
    ego = transform(points[kept][expected["ego_rows"]], invert(pose(calibration["lidar_pose"]))) - [0, 0, 1.6]
    assert np.abs(ego - expected["ego_xyz"]).max() < 1e-9
    assert_resized(expected, "", expected["row_col"], expected["image_hw"])
