"""Calibrations of KITTI and ROS become cameras of rig.yaml; what is wrong with them is said in one sentence."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill.datasets.imports import rig_import
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import project
from lidistill.sensing.frame import CameraView, Distortion
from lidistill.sensing.rigid import from_quaternion, invert

K = [500.0, 0, 100, 0, 510, 60, 0, 0, 1]
OPTICAL = from_quaternion((0.5, -0.5, 0.5, -0.5), (0.5, 0.1, -0.3))
"""Camera -> lidar: an optical frame in one with x forward and z up."""
POSE = invert(OPTICAL)
CALIB = {
    "P0": "700 0 600 0 0 700 180 0 0 0 1 0",
    "P2": "700 0 600 44 0 700 180 0.2 0 0 1 0.003",
    "P3": "700 0 600 -339 0 700 180 2.2 0 0 1 0.0027",
    "Tr": "0 -1 0 0.01 0 0 -1 -0.08 1 0 0 -0.27",
}


def make_rig(folder, cameras=("front",), size=(120, 200), lidar=None):
    """A rig folder with a scan and a picture of every camera; rig.yaml only if there is a ``lidar``."""
    (folder / "scans").mkdir(parents=True)
    np.ones((3, 4), np.float32).tofile(folder / "scans" / "000000.bin")
    for camera in cameras:
        (folder / "images" / camera).mkdir(parents=True)
        Image.new("RGB", size[::-1]).save(folder / "images" / camera / "000000.png")
    if lidar:
        (folder / "rig.yaml").write_text(yaml.safe_dump({"lidar": lidar, "classes": ["a", "b"]}))
    return folder


def write(path, content):
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def calib(path, **lines):
    rows = {key: value for key, value in {**CALIB, **lines}.items() if value is not None}
    return write(path / "calib.txt", "".join(f"{key}: {value}\n" for key, value in rows.items()))


def calibrated(**changes):
    """What camera_calibration saves."""
    content = {
        "image_width": 200,
        "image_height": 120,
        "camera_name": "narrow_stereo",
        "camera_matrix": {"rows": 3, "cols": 3, "data": K},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [-0.3, 0.1, 0.001, 0.002, 0.0]},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
        "projection_matrix": {"rows": 3, "cols": 4, "data": [400, 0, 99, 0, 0, 400, 61, 0, 0, 0, 1, 0]},
    }
    return {**content, **changes}


def view_of(rig, camera):
    return next(view for view in open_source(str(rig))[0].views if view.name == camera)


# ---- KITTI


def test_odometry(tmp_path):
    rig = make_rig(tmp_path / "rig", ("image_2", "image_03", "other"))
    path = rig_import.from_kitti_calib(calib(tmp_path), rig)
    assert path == rig / "rig.yaml"
    content = yaml.safe_load(path.read_text())
    assert list(content["cameras"]) == ["image_03", "image_2"]
    assert content["lidar"] == {"name": "rig"}
    point = np.array([[20.0, 3, -1]])
    tr = np.array(CALIB["Tr"].split(), float).reshape(3, 4)
    for camera, key in (("image_2", "P2"), ("image_03", "P3")):
        p = np.array(CALIB[key].split(), float).reshape(3, 4)
        u, v, w = p @ np.append(tr @ np.append(point, 1), 1)
        pixels, _ = project(point, view_of(rig, camera))
        np.testing.assert_allclose(pixels, [[u / w, v / w]], atol=1e-9)
    assert (view_of(rig, "image_2").height, view_of(rig, "image_2").width) == (120, 200)


@pytest.mark.parametrize(("r", "tr"), [("R0_rect: ", "Tr_velo_to_cam: "), ("R_rect ", "Tr_velo_cam ")])
def test_object_and_tracking(tmp_path, r, tr):
    """The rectifying turn stands between the pose and the projection; one folder of any name is P2."""
    rig = make_rig(tmp_path / "rig")
    turn = from_quaternion((1, 0.01, -0.02, 0.005))
    values = " ".join(map(str, turn[:3, :3].ravel()))
    text = f"P0: {CALIB['P0']}\nP2: {CALIB['P2']}\n{r}{values}\n{tr}{CALIB['Tr']}\nTr_imu_to_velo: {CALIB['Tr']}\n"
    rig_import.from_kitti_calib(write(tmp_path / "000001.txt", text), rig)
    p, pose = (np.array(CALIB[key].split(), float).reshape(3, 4) for key in ("P2", "Tr"))
    u, v, w = p @ turn @ np.vstack([pose, [0, 0, 0, 1]]) @ [20.0, 3, -1, 1]
    np.testing.assert_allclose(project(np.array([[20.0, 3, -1]]), view_of(rig, "front"))[0], [[u / w, v / w]])


def test_real_kitti(tmp_path, real):
    """The same numbers as the reader of SemanticKITTI has; and a picture of the object set."""
    root = real("semantickitti") / "dataset" / "sequences" / "03"
    rig = tmp_path / "rig"
    (rig / "images").mkdir(parents=True)
    shutil.copytree(root / "image_2", rig / "images" / "image_2")
    shutil.copytree(root / "velodyne", rig / "scans")
    rig_import.from_kitti_calib(root / "calib.txt", rig)
    known = next(
        view
        for frame in open_source(f"semantic-kitti:{real('semantickitti')}")
        if frame.token.startswith("semantic-kitti/03")
        for view in frame.views
    )
    view = view_of(rig, "image_2")
    np.testing.assert_array_equal(view.intrinsics, known.intrinsics)
    np.testing.assert_allclose(view.from_lidar, known.from_lidar, atol=1e-12)
    assert (view.height, view.width) == (known.height, known.width)


def test_the_rest_of_the_file_stays(tmp_path):
    lidar = {"name": "mine", "rate": 20.0, "intensity": [1.5, 1e-05]}
    rig = make_rig(tmp_path / "rig", ("image_2",), lidar=lidar)
    (rig / "rig.yaml").write_text((rig / "rig.yaml").read_text().replace("1.0e-05", "1e-5"))
    rig_import.from_kitti_calib(calib(tmp_path), rig)
    content = yaml.safe_load((rig / "rig.yaml").read_text())
    assert content["lidar"] == lidar
    assert content["classes"] == ["a", "b"]


def test_a_camera_is_not_overwritten(tmp_path):
    rig = make_rig(tmp_path / "rig", ("image_2",))
    rig_import.from_kitti_calib(calib(tmp_path), rig)
    before = (rig / "rig.yaml").read_bytes()
    rig_import.from_kitti_calib(calib(tmp_path), rig)  # the same values
    assert (rig / "rig.yaml").read_bytes() == before
    other = calib(tmp_path, P2=CALIB["P3"])
    with pytest.raises(InputError, match="camera 'image_2' is already there with other values"):
        rig_import.from_kitti_calib(other, rig)
    assert (rig / "rig.yaml").read_bytes() == before
    rig_import.from_kitti_calib(other, rig, overwrite=True)
    assert (rig / "rig.yaml").read_bytes() != before


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ({"Tr": None}, "expected lines P0 to P3 and one of Tr, .* found P0, P2, P3"),
        ({"Tr_velo_to_cam": CALIB["Tr"]}, "and one of Tr"),
        ({"P2": "1 2 3"}, "line 'P2' has 3 numbers, expected 12"),
        ({"P2": CALIB["P2"] + " 4"}, "line 'P2' has 13 numbers"),
        ({"Tr": CALIB["Tr"].replace("-1", "x")}, "line 'Tr': could not convert string to float: 'x'"),
        ({"Tr": "0 -1 0 0 0 0 -1 0 0 0 0 0"}, "Tr: the rotation is singular"),
        ({"Tr": "0 1 0 0 0 0 -1 0 1 0 0 0"}, "Tr: the rotation mirrors"),
        ({"R0_rect": "1 0 0 0 1 0 0 0 2"}, "R0_rect: not a rigid transform"),
        ({"P2": CALIB["P2"].replace("700", "0", 1)}, "P2: intrinsics have focal lengths 0 and 700"),
    ],
)
def test_damaged_kitti(tmp_path, lines, match):
    rig = make_rig(tmp_path / "rig", ("image_2",))
    with pytest.raises(InputError, match=match) as caught:
        rig_import.from_kitti_calib(calib(tmp_path, **lines), rig)
    assert "calib.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (rig / "rig.yaml").exists()


def test_kitti_without_pictures(tmp_path):
    with pytest.raises(InputError, match="no folder with images; expected"):
        rig_import.from_kitti_calib(calib(tmp_path), make_rig(tmp_path / "none", ()))
    with pytest.raises(InputError, match=r"called like a camera of .*calib.txt \(P0, P2, P3\); found left, right"):
        rig_import.from_kitti_calib(calib(tmp_path), make_rig(tmp_path / "two", ("left", "right")))
    with pytest.raises(InputError, match="missing: does not exist, expected a rig folder"):
        rig_import.from_kitti_calib(calib(tmp_path), tmp_path / "missing")
    with pytest.raises(InputError, match=r"no.txt: cannot be read"):
        rig_import.from_kitti_calib(tmp_path / "no.txt", make_rig(tmp_path / "rig"))


def test_a_damaged_rig_file(tmp_path):
    rig = make_rig(tmp_path / "rig", ("image_2",), lidar={"nam": "x"})
    with pytest.raises(InputError, match=r"rig.yaml: .*unknown key 'lidar.nam'"):
        rig_import.from_kitti_calib(calib(tmp_path), rig)


# ---- ROS


def from_ros(tmp_path, info, extrinsics, cameras=("front",), name="front.yaml"):
    rig = make_rig(tmp_path / "rig", cameras)
    (tmp_path / "in").mkdir()
    infos = [write(tmp_path / "in" / name, info)]
    rig_import.from_ros(infos, write(tmp_path / "in" / "extrinsics.yaml", extrinsics), rig)
    return rig


MATRIX = {"front": {"from_lidar": POSE.tolist()}}


def test_camera_calibration(tmp_path):
    view = view_of(from_ros(tmp_path, calibrated(), MATRIX), "front")
    np.testing.assert_array_equal(view.intrinsics.ravel(), K)
    np.testing.assert_allclose(view.from_lidar, POSE)
    assert view.distortion == Distortion("radtan", (-0.3, 0.1, 0.001, 0.002, 0.0))


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_a_printed_message(tmp_path, case):
    """What rostopic echo and ros2 topic echo print, with the line that ends it."""
    content = {"header": {"frame_id": "cam0"}, "height": 120, "width": 200, "distortion_model": "rational_polynomial"}
    content |= {case("d"): [0.1, 0.2, 0, 0, 0.3, 0.4, 0.5, 0.6], case("k"): K, case("r"): np.eye(3).ravel().tolist()}
    content |= {case("p"): [0.0] * 12, "binning_x": 0, "roi": {"x_offset": 0, "height": 0, "width": 0}}
    view = view_of(from_ros(tmp_path, yaml.safe_dump(content) + "---\n", MATRIX), "front")
    np.testing.assert_array_equal(view.intrinsics.ravel(), K)
    assert view.distortion == Distortion("radtan", (0.1, 0.2, 0, 0, 0.3, 0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("model", "d", "expected"),
    [
        ("plumb_bob", [0, 0, 0, 0, 0], None),
        ("", [], None),
        ("plumb_bob", [0.1, 0, 0, 0], Distortion("radtan", (0.1, 0, 0, 0))),
        ("rational_polynomial", [0.1, *[0.0] * 7, 0, 0, 0, 0], Distortion("radtan", (0.1, *[0.0] * 7))),
        ("equidistant", [0.1, 0.2, 0.3, "1e-3"], Distortion("fisheye", (0.1, 0.2, 0.3, 0.001))),
        ("fisheye", [0, 0, 0, 0], Distortion("fisheye", (0, 0, 0, 0))),
    ],
)
def test_lenses(tmp_path, model, d, expected):
    info = calibrated(distortion_model=model, distortion_coefficients={"data": d})
    assert view_of(from_ros(tmp_path, info, MATRIX), "front").distortion == expected


def test_the_inverse_is_said(tmp_path):
    rig = from_ros(tmp_path, calibrated(), {"front": {"to_lidar": OPTICAL.tolist()}})
    np.testing.assert_allclose(view_of(rig, "front").from_lidar, POSE, atol=1e-12)


def transforms(long):
    """vehicle -> lidar -> (nothing), vehicle -> camera, as ROS writes static transforms."""
    lidar = from_quaternion((0.9, 0, 0, 0.1), (1, 0, 2))
    camera = lidar @ OPTICAL
    entries = []
    for child, pose in (("os_sensor", lidar), ("front_optical_frame", camera)):
        t, q = pose[:3, 3].tolist(), quaternion(pose)
        if long:
            rotation = dict(zip("xyzw", q, strict=True))
            pose_of = {"translation": dict(zip("xyz", t, strict=True)), "rotation": rotation}
            entries.append({"header": {"frame_id": "/base"}, "child_frame_id": child, "transform": pose_of})
        else:
            entries.append({"parent": "base", "child": child, "translation": t, "rotation": q})
    return entries


def quaternion(pose):
    """x y z w."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("form", ["list", "transforms", "documents"])
def test_ros_transforms(tmp_path, long, form):
    entries = transforms(long)
    text = {"list": yaml.safe_dump(entries), "transforms": yaml.safe_dump({"transforms": entries})}
    text["documents"] = "---\n".join(yaml.safe_dump({"transforms": [entry]}) for entry in entries) + "---\n"
    view = view_of(from_ros(tmp_path, calibrated(), text[form]), "front")
    np.testing.assert_allclose(view.from_lidar, POSE, atol=1e-12)


def test_frames_are_named(tmp_path):
    """The frame of the camera in its header, that of the lidar beside the transforms."""
    entries = [{**entry, "child": entry["child"].replace("os_sensor", "top")} for entry in transforms(False)]
    entries[1]["child"] = "eye"
    info = calibrated(header={"frame_id": "/eye"})
    rig = from_ros(tmp_path, info, {"lidar_frame": "top", "transforms": entries})
    np.testing.assert_allclose(view_of(rig, "front").from_lidar, POSE, atol=1e-12)


def test_kalibr_chain(tmp_path):
    step = from_quaternion((1, 0, 0.02, 0), (-0.2, 0, 0))
    rig = make_rig(tmp_path / "rig", ("cam0", "cam1"))
    chain = {"cam0": {"T_cam_lidar": POSE.tolist(), "T_cam_imu": POSE.tolist(), "intrinsics": [1, 2, 3, 4]}}
    chain["cam1"] = {"T_cn_cnm1": step.tolist()}
    infos = [write(tmp_path / f"{name}_camera_info.yaml", calibrated()) for name in chain]
    rig_import.from_ros(infos, write(tmp_path / "chain.yaml", chain), rig)
    np.testing.assert_allclose(view_of(rig, "cam0").from_lidar, POSE)
    np.testing.assert_allclose(view_of(rig, "cam1").from_lidar, step @ POSE)


def test_names_of_cameras(tmp_path):
    """By file, by camera_name, or the only one; without pictures the camera_name counts."""
    for number, (name, folders, expected) in enumerate(
        [
            ("left_camera_info.yaml", ("left", "right"), "left"),
            ("a.yaml", ("narrow_stereo", "right"), "narrow_stereo"),
            ("a.yaml", ("only",), "only"),
            ("a.yaml", (), "narrow_stereo"),
        ]
    ):
        root = tmp_path / str(number)
        root.mkdir()
        rig = from_ros(root, calibrated(), {expected: {"from_lidar": POSE.tolist()}}, folders, name)
        assert list(yaml.safe_load((rig / "rig.yaml").read_text())["cameras"]) == [expected]


NO_FRAMES = [{"parent": "base", "child": "x", "translation": [0, 0, 0], "rotation": [0, 0, 0, 1]}]


@pytest.mark.parametrize(
    ("info", "extrinsics", "match"),
    [
        ({"distortion_model": "division"}, MATRIX, "unknown distortion model 'division'"),
        ({"distortion_coefficients": {"data": [0.1, 0.2, 0.3]}}, MATRIX, "takes 4 or 5 coefficients, found 3"),
        ({"distortion_coefficients": {"data": ["a"]}}, MATRIX, "distortion: expected a list of numbers"),
        ({"camera_matrix": {"data": K[:8]}}, MATRIX, "a matrix has 8 numbers, expected 3 x 3"),
        ({"camera_matrix": None}, MATRIX, "no 'k' in the camera_info"),
        ({"camera_matrix": {"data": [0.0] * 9}}, MATRIX, "focal lengths 0 and 0"),
        ({"image_width": 0}, MATRIX, "width = 0: expected pixels above 0"),
        ({"image_width": 400, "image_height": 240}, MATRIX, "120 x 200 pixels, but .* is for 240 x 400"),
        ({"binning_x": 2}, MATRIX, "binned or cropped"),
        ({"roi": {"x_offset": 8, "width": 100, "height": 120}}, MATRIX, "binned or cropped"),
        ({}, {"front": {"from_lidar": np.diag([1.0, 1, 0, 1]).tolist()}}, "front.from_lidar: the rotation is singular"),
        ({}, {"front": {"from_lidar": np.eye(3).tolist()}}, "must be 4 rows of 4 numbers, found shape .3, 3."),
        ({}, {"front": {"from_lidar": POSE.T.tolist()}}, "it looks transposed"),
        ({}, {"front": {"from_lidar": (POSE * 2).tolist()}}, "the last row must be"),
        ({}, {"front": {"from_lidar": np.eye(4).tolist()}}, "z of the camera frame points up, expected an optical"),
        ({}, {"fron": MATRIX["front"]}, "no transform of camera 'front'; did you mean 'fron'"),
        ({}, {"front": {"matrix": POSE.tolist()}}, "expected one of from_lidar, to_lidar, .* found matrix"),
        ({}, {"front": {**MATRIX["front"], "to_lidar": POSE.tolist()}}, "expected one of from_lidar, to_lidar"),
        ({}, {"front": {"T_cam_imu": POSE.tolist()}}, "T_cam_imu leads to the inertial unit"),
        ({}, {"front": {"T_cn_cnm1": POSE.tolist()}}, "needs a camera before it that has T_cam_lidar"),
        ({}, NO_FRAMES, "which frame is the lidar's. none of base, x is called like one; add a line `lidar_frame"),
        (
            {},
            [*NO_FRAMES, {**NO_FRAMES[0], "child": "velo"}, {**NO_FRAMES[0], "child": "lidar2"}],
            "lidar2, velo might",
        ),
        ({}, {"lidar_frame": "x", "transforms": NO_FRAMES}, "no frame of camera 'front'"),
        ({}, [{**NO_FRAMES[0], "rotation": [0, 0, 1]}], "transform 0: rotation: expected the numbers x y z w"),
        ({}, [{**NO_FRAMES[0], "rotation": [0, 0, 0, 0]}], "is not a rotation"),
        ({}, [{"child": "x", "translation": [0, 0, 0]}], "expected parent, child, translation and rotation"),
        ({}, ["hello"], "expected parent, child, translation and rotation"),
        ({}, "hello", "expected cameras or transforms, found 'hello'"),
        ({}, "", "the file is empty"),
        ({}, "a: [1", "not a YAML file"),
    ],
)
def test_damaged_ros(tmp_path, info, extrinsics, match):
    with pytest.raises(InputError, match=match) as caught:
        from_ros(tmp_path, calibrated(**info), extrinsics)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    assert "front.yaml" in text or "extrinsics.yaml" in text
    assert not (tmp_path / "rig" / "rig.yaml").exists()


def test_which_camera_is_it(tmp_path):
    with pytest.raises(InputError, match="called a or narrow_stereo; found left, right"):
        from_ros(tmp_path, calibrated(), MATRIX, ("left", "right"), "a.yaml")
    with pytest.raises(InputError, match="no camera_info file given"):
        rig_import.from_ros([], tmp_path / "in" / "extrinsics.yaml", tmp_path / "rig")


def test_a_camera_twice(tmp_path):
    rig = make_rig(tmp_path / "rig")
    infos = [write(tmp_path / name, calibrated()) for name in ("front.yaml", "front_info.yaml")]
    with pytest.raises(InputError, match=r"front_info.yaml: a second camera_info for 'front'"):
        rig_import.from_ros(infos, write(tmp_path / "e.yaml", MATRIX), rig)


def test_the_direction_of_a_point(tmp_path):
    """A point ahead of the camera falls into the middle of the picture, without the code under test deciding it."""
    rig = from_ros(tmp_path, calibrated(distortion_coefficients={"data": [0.0] * 5}), transforms(True))
    view = view_of(rig, "front")
    assert isinstance(view, CameraView)
    pixels, depth = project(np.array([[10.5, 0.1, -0.3], [10.5, -0.9, -0.3], [10.5, 0.1, 0.7]]), view)
    np.testing.assert_allclose(depth, 10)
    np.testing.assert_allclose(pixels, [[100, 60], [150, 60], [100, 9]], atol=1e-9)
