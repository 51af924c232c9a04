from __future__ import annotations

import json
import pickle

import numpy as np
import pandaset_folder as make
import pytest
from pickle_writer import Call, Global, write, write_table
from PIL import Image

from lidistill.datasets import pandaset_tables
from lidistill.datasets.pandaset import RAISE, from_world
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import Frame, Sensor
from lidistill.sensing.pairing import pair
from lidistill.sensing.rigid import from_quaternion, transform

NAMES = {"pandaset-64": 0, "pandaset-gt": 1}


@pytest.fixture(autouse=True)
def fresh():
    """Tables that a process keeps are those of another test's file."""
    for function in (pandaset_tables.read_intrinsics, pandaset_tables._poses, pandaset_tables._times):
        function.cache_clear()


# ---- frames


@pytest.mark.parametrize("name", NAMES)
def test_points_of_one_sensor_in_its_frame(tmp_path, name):
    make.make_sequence(tmp_path)
    source = open_source(f"{name}:{tmp_path}")
    assert [frame.token for frame in source] == [f"{name}/001/{n:02d}" for n in range(3)]
    assert source.sensor.forward == "+y"
    for number, frame in enumerate(source):
        columns = make.sweep(number)
        kept = columns["d"] == NAMES[name]
        turn, place = make.lidar_pose(number)
        world = np.stack([columns[axis] for axis in "xyz"], axis=1)[kept]
        local = turn.inv().apply(world - place) - [0, 0, 1.6]
        np.testing.assert_allclose(frame.points, local, atol=1e-5)
        assert (frame.points[:, 1] > 3.9).all()  # ahead
        np.testing.assert_array_equal(frame.intensity, columns["i"][kept])
        np.testing.assert_array_equal(frame.labels, source.taxonomy.table[make.classes(number)[kept]])
        np.testing.assert_allclose(frame.time, columns["t"][kept] - columns["t"][kept].min(), atol=1e-6)
        assert frame.timestamp == pytest.approx(1557539924.5 + 0.1 * number)
    assert len(pickle.dumps(source)) < 10_000


@pytest.mark.parametrize("name", NAMES)
def test_poses_take_points_back_to_the_world(tmp_path, name):
    make.make_sequence(tmp_path)
    for number, frame in enumerate(open_source(f"{name}:{tmp_path}")):
        columns = make.sweep(number)
        world = np.stack([columns[axis] for axis in "xyz"], axis=1)[columns["d"] == NAMES[name]]
        assert frame.pose.drive == f"{name}/001"
        np.testing.assert_allclose(transform(frame.points, frame.pose.to_world), world, atol=2e-5)


def test_the_two_sensors_share_no_point(tmp_path):
    make.make_sequence(tmp_path)
    counts = [len(open_source(f"{name}:{tmp_path}")[0]) for name in NAMES]
    assert counts == [40, 20]


def test_statistics_of_the_sensors(tmp_path):
    make.make_sequence(tmp_path)
    found = {name: open_source(f"{name}:{tmp_path}").sensor.intensity for name in NAMES}
    assert found == {"pandaset-64": (18.23640649, 25.86983417), "pandaset-gt": (23.06113565, 16.76273235)}


@pytest.mark.parametrize("name", NAMES)
def test_projection_is_that_of_the_documentation(tmp_path, name):
    make.make_sequence(tmp_path)
    frame = open_source(f"{name}:{tmp_path}")[2]
    (view,) = frame.views
    assert view.name == "front_camera"
    assert view.timestamp == pytest.approx(frame.timestamp - 0.05)
    assert view.image().shape == (40, 60, 3)
    pixels, depth = project(frame.points, view)
    assert (depth > 1).all()
    np.testing.assert_allclose(pixels, make.expected_pixels(2, NAMES[name]), atol=1e-3)


def test_cameras_that_are_there(tmp_path):
    sequence = make.make_sequence(tmp_path, cameras=("left_camera", "back_camera", "front_camera"))
    (sequence / "camera/left_camera/01.jpg").unlink()
    views = [[view.name for view in frame.views] for frame in open_source(f"pandaset-gt:{tmp_path}")]
    assert views == [["back_camera", "front_camera", "left_camera"], ["back_camera", "front_camera"], views[0]]


def test_without_pictures_and_times(tmp_path):
    sequence = make.make_sequence(tmp_path, cameras=(), labelled=False)
    (sequence / "lidar/timestamps.json").unlink()
    frame = open_source(f"pandaset-64:{tmp_path}")[0]
    assert (frame.views, frame.labels, frame.timestamp) == ((), None, None)


def test_classes(tmp_path):
    make.make_sequence(tmp_path)
    assert open_source(f"pandaset-64:{tmp_path}").taxonomy.name == "pandaset-17"
    source = open_source(f"pandaset-64:{tmp_path}", classes="pandaset-8")
    assert source.taxonomy.name == "pandaset-8"
    assert set(np.unique(source[0].labels)) <= {*range(8), 255}


# ---- splits


def make_three(root):
    make.make_sequence(root / "pandaset", "002", (0, 49, 50, 79), cameras=())
    make.make_sequence(root / "pandaset", "011", (0, 50), latitude=make.SOUTH, cameras=())
    make.make_sequence(root / "pandaset", "004", (0, 1), labelled=False, cameras=())
    return root


def test_geographic_split(tmp_path):
    source = open_source(f"pandaset-64:{make_three(tmp_path)}")
    assert source.frames == (
        *(("002", n) for n in ("00", "49", "50", "79")),
        *(("004", n) for n in ("00", "01")),
        *(("011", n) for n in ("00", "50")),
    )
    assert source.splits["train"] == (0, 1, 2, 3)
    assert source.splits["val"] == (6, 7)
    assert source.splits["train-25"] == (0,)
    assert source.splits["train-50"] == (0, 2)
    assert len(source.split("val")) == 2


def test_temporal_split(tmp_path):
    source = open_source(f"pandaset-64:{make_three(tmp_path)}?split=temporal")
    assert source.splits["train"] == (0, 1, 6)
    assert source.splits["val"] == (2, 3, 7)
    assert source.spec.endswith("?split=temporal")


def test_all_frames(tmp_path):
    source = open_source(f"pandaset-64:{make_three(tmp_path)}?frames=all&split=temporal")
    assert source.splits["train"] == (0, 1, 4, 5, 6)
    make.make_sequence(tmp_path / "other", labelled=False, cameras=())
    assert open_source(f"pandaset-gt:{tmp_path / 'other'}").splits["train"] == (0, 1, 2)  # none has labels


def test_a_frame_without_labels_is_in_no_split(tmp_path):
    make.make_sequence(tmp_path, labelled=(0, 2))
    source = open_source(f"pandaset-64:{tmp_path}")
    assert source.splits["train"] == (0, 2)
    assert source[1].labels is None


def test_wrong_options(tmp_path):
    make.make_sequence(tmp_path)
    for option, message in (
        ("split=geografic", "no split 'geografic'; did you mean 'geographic'"),
        ("frames=label", "no frames 'label'; did you mean 'labelled'"),
        ("sensor=1", "no option 'sensor'"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(f"pandaset-64:{tmp_path}?{option}")


# ---- damage


def test_nothing_there(tmp_path):
    (tmp_path / "001/lidar").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no scan found, expected PandaSet: 001/lidar/00.pkl.gz .*found 001"):
        open_source(f"pandaset-64:{tmp_path}")


def test_an_empty_split(tmp_path):
    make.make_sequence(tmp_path)
    with pytest.raises(InputError, match=r"no split 'val'; there are: train \(3 frames\)"):
        open_source(f"pandaset-64:{tmp_path}").split("val")


def test_without_gps(tmp_path):
    sequence = make.make_sequence(tmp_path)
    gps = sequence / "meta/gps.json"
    gps.unlink()
    assert open_source(f"pandaset-64:{tmp_path}?split=temporal").splits["train"] == (0, 1, 2)
    for content, message in ((None, r"is missing, the geographic split needs it; .*\?split=temporal"), ([], "entry 0")):
        if content is not None:
            make.write_json(gps, content)
        with pytest.raises(InputError, match=message) as caught:
            open_source(f"pandaset-64:{tmp_path}")
        assert str(gps) in str(caught.value)


def damaged_scan(path, frame):
    columns = make.sweep(frame)
    match frame:
        case 0:
            path.write_bytes(path.read_bytes()[:-30])
        case 1:
            path.write_bytes(b"no gzip")
        case 2:
            write(path, Call(Global("os", "system"), ("false",)))
        case 3:
            write_table(path, **{name: column for name, column in columns.items() if name != "d"})
        case 4:
            write_table(path, **{**columns, "z": columns["z"].astype(str).astype(object)})
        case 5:
            write_table(path, **{name: column[:0] for name, column in columns.items()})
        case 6:
            write_table(path, **{**columns, "x": np.full(60, np.nan)})
        case 7:
            path.unlink()


SCANS = (
    "truncated, its gzip has no end",
    "damaged or no gzip",
    "the pickle asks for os.system",
    "no column 'd', found x, y, z, i, t",
    "column 'z' is of type 'O8', expected numbers",
    "no points in the scan",
    "40 of 40 points are NaN",
    "cannot be read",
)


def test_damaged_scans(tmp_path):
    sequence = make.make_sequence(tmp_path, frames=range(len(SCANS)), labelled=False, cameras=())
    source = open_source(f"pandaset-64:{tmp_path}")
    for frame, message in enumerate(SCANS):
        path = sequence / f"lidar/{frame:02d}.pkl.gz"
        damaged_scan(path, frame)
        with pytest.raises(InputError, match=message) as caught:
            source[frame]
        assert str(path) in str(caught.value)


def test_a_scan_without_this_sensor(tmp_path):
    sequence = make.make_sequence(tmp_path, cameras=())
    write_table(sequence / "lidar/00.pkl.gz", **{**make.sweep(0), "d": np.zeros(60, int)})
    assert len(open_source(f"pandaset-64:{tmp_path}")[0]) == 60
    with pytest.raises(InputError, match="no points in the scan"):
        open_source(f"pandaset-gt:{tmp_path}")[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"class": np.zeros(59, int)}, "59 labels, expected 60 as there are points in"),
        ({"class": np.full(60, 7.5)}, "expected class numbers from 0 to 255, found float64"),
        ({"class": np.full(60, -1)}, "expected class numbers from 0 to 255, found int64"),
        ({"instance": np.zeros(60, int)}, "no column 'class', found instance"),
        ({"class": np.array(["road"] * 60, object)}, "column 'class' is of type 'O8'"),
    ],
)
def test_damaged_labels(tmp_path, content, message):
    sequence = make.make_sequence(tmp_path, cameras=())
    path = write_table(sequence / "annotations/semseg/00.pkl.gz", **content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"pandaset-64:{tmp_path}")[0]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("file", ["lidar/poses.json", "camera/front_camera/poses.json"])
def test_damaged_poses(tmp_path, file):
    path = make.make_sequence(tmp_path) / file
    source = open_source(f"pandaset-64:{tmp_path}")
    good = json.loads(path.read_text())
    no_turn = {**good[1], "heading": dict.fromkeys("wxyz", 0.0)}
    for content, message in (
        (good[:2], "2 poses, expected one for frame 02"),
        ([good[0], {"position": good[1]["position"]}, good[2]], "entry 1: heading: expected numbers w, x, y, z"),
        ([good[0], no_turn, good[2]], r"entry 1: quaternion \(0.0, 0.0, 0.0, 0.0\) is not a rotation"),
        ({"poses": good}, "expected a list"),
        ("{", "not JSON"),
        (None, "cannot be read"),
    ):
        fresh_tables()
        if content is None:
            path.unlink()
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(InputError, match=message) as caught:
            source[2]
        assert str(path) in str(caught.value)


def fresh_tables():
    pandaset_tables._poses.cache_clear()


def test_frames_whose_pose_is_there_are_read(tmp_path):
    path = make.make_sequence(tmp_path) / "lidar/poses.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    source = open_source(f"pandaset-64:{tmp_path}")
    assert [len(source[i]) for i in range(2)] == [40, 40]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ({"fx": 30, "fy": 31, "cx": 29}, "expected numbers fx, fy, cx, cy"),
        ({**make.INTRINSICS, "fx": 0}, "intrinsics have focal lengths 0 and 31"),
        ([30, 31, 29, 20], "expected numbers fx, fy, cx, cy"),
    ],
)
def test_damaged_intrinsics(tmp_path, content, message):
    path = make.make_sequence(tmp_path) / "camera/front_camera/intrinsics.json"
    path.unlink()
    if content is not None:
        make.write_json(path, content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"pandaset-64:{tmp_path}")[0]
    assert str(path) in str(caught.value)


def test_damaged_pictures_and_times(tmp_path):
    sequence = make.make_sequence(tmp_path)
    source = open_source(f"pandaset-64:{tmp_path}")
    (sequence / "camera/front_camera/00.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(InputError, match="the image cannot be read"):
        source[0]
    (sequence / "camera/front_camera/01.jpg").unlink()
    assert source[1].views == ()
    make.write_json(sequence / "lidar/timestamps.json", ["noon"])
    pandaset_tables._times.cache_clear()
    with pytest.raises(InputError, match="expected a list of seconds"):
        source[1]


# ---- the reference implementation


@pytest.mark.parametrize("name", NAMES)
def test_parity(parity, tmp_path, name):
    """The fixture's cloud, written in the data set's layout and read back, is what ScaLR makes of it.

    Its float64 results exactly by the functions of the reader; those of the frame up to its rounding to float32.
    """
    file = {"pandaset-64": "panda64", "pandaset-gt": "pandagt"}[name]
    cloud = np.load(parity(f"02_preprocessing/{file}.npz"))
    expected = np.load(parity(f"03_point_to_pixel/{file}.npz"))
    calibration = json.loads(parity("03_point_to_pixel/pandaset_calibration.json").read_text())
    frame, world, pose = written_and_read(tmp_path, name, cloud, calibration)
    np.testing.assert_array_equal(frame.labels, cloud["labels_train"])

    exact = from_world(world, pose)
    assert np.abs(exact[cloud["ego_rows"]] - cloud["ego_xyz"]).max() < 1e-9
    assert np.abs(frame.points - exact).max() < 2e-5
    assert np.abs(exact[expected["kept"]][expected["ego_rows"]] - expected["ego_xyz"]).max() < 1e-9

    (view,) = frame.views
    pixels, depth = project(exact, view)
    kept = np.flatnonzero(in_image(pixels, depth, view.height, view.width, min_depth=0, margin=0))
    np.testing.assert_array_equal(kept, expected["kept"])
    np.testing.assert_array_equal(np.floor(pixels[kept, ::-1]), expected["row_col"])
    assert np.abs(pixels[kept] - expected["xy"]).max() < 1e-7

    pairs = pair(frame, view, occlusion=False, min_depth=0, margin=0)
    assert len(np.setxor1d(pairs.rows, expected["kept"])) <= 2
    _, mine, theirs = np.intersect1d(pairs.rows, expected["kept"], return_indices=True)
    assert np.abs(pairs.pixels[mine] - expected["xy"][theirs]).max() < 0.01
    assert (np.floor(pairs.pixels[mine][:, ::-1]) != expected["row_col"][theirs]).any(axis=1).mean() < 1e-3


def test_parity_of_a_distillation_item(parity, tmp_path):
    """The pixels of one whole training item of ScaLR are those of the view."""
    item = np.load(parity("03_point_to_pixel/distill_item_pandagt.npz"))
    cloud = np.load(parity("02_preprocessing/pandagt.npz"))
    calibration = json.loads(parity("03_point_to_pixel/pandaset_calibration.json").read_text())
    frame, world, pose = written_and_read(tmp_path, "pandaset-gt", cloud, calibration)
    (view,) = frame.views
    exact = Frame(from_world(world, pose), frame.intensity, Sensor("any"), "any")
    pixels = pair(exact, view, occlusion=False, min_depth=0, margin=0).pixels[:, ::-1]
    resized = np.floor(np.floor(pixels) * [224 / 1080, 448 / 1920]).astype(int)
    assert set(map(tuple, item["pairing_pixels"][:, 1:].tolist())) <= set(map(tuple, resized.tolist()))


def written_and_read(root, name, cloud, calibration):
    x, y, z, intensity = cloud["points"].T
    sequence = root / "001"
    time = np.zeros(len(x))
    device = cloud["sensor_id"].astype(np.int64)
    write_table(sequence / "lidar/00.pkl.gz", x=x, y=y, z=z, i=intensity, t=time, d=device)
    write_table(sequence / "annotations/semseg/00.pkl.gz", **{"class": cloud["labels_raw"].astype(np.int64)})
    camera = sequence / "camera/front_camera"
    make.write_json(sequence / "lidar/poses.json", [calibration["lidar_pose"]])
    make.write_json(camera / "poses.json", [calibration["camera_pose"]])
    make.write_json(camera / "intrinsics.json", calibration["camera_intrinsics"])
    make.write_json(sequence / "meta/gps.json", [{"lat": make.NORTH}])
    height, width = calibration["image_hw"]
    Image.new("RGB", (width, height)).save(camera / "00.jpg")
    world = np.stack([x, y, z], axis=1)[cloud["selected_rows"]]
    pose = from_quaternion(cloud["pose_heading_wxyz"].tolist(), cloud["pose_position_xyz"].tolist())
    return open_source(f"{name}:{root}")[0], world, pose


# ---- the real thing


@pytest.mark.parametrize(
    ("name", "points", "seen"), [("pandaset-64", 106_000, 13_500), ("pandaset-gt", 62_000, 54_500)]
)
def test_real_frames(real, name, points, seen):
    source = open_source(f"{name}:{real('pandaset')}")
    assert source.frames == (*(("001", f"{n:02d}") for n in range(4)), ("002", "00"), ("002", "01"))
    assert source.splits["train"] == (0, 1, 2, 3, 4, 5)
    for frame in source:
        (view,) = frame.views
        assert (view.name, view.height, view.width) == ("front_camera", 1080, 1920)
        assert abs(len(frame) - points) < 0.05 * points
        assert abs(len(pair(frame, view)) - seen) < 0.05 * seen
        assert abs(view.timestamp - frame.timestamp) < 0.06
        assert (frame.labels != 255).mean() > 0.98
        near = (np.hypot(*frame.points[:, :2].T) < 15) & (frame.labels == source.taxonomy.classes.index("road"))
        assert -2.2 < np.median(frame.points[near, 2]) < -1.5
        assert view.from_lidar[2, 1] > 0.99  # the front camera looks along +y


def test_real_points_lie_on_what_they_are(real):
    """The car ahead in frame 001/00 spans the pixels (330-640, 560-760); looked at in an overlay."""
    source = open_source(f"pandaset-64:{real('pandaset')}")
    frame = source[0]
    pairs = pair(frame, frame.views[0])
    car = frame.labels[pairs.rows] == source.taxonomy.classes.index("car")
    ahead = car & (pairs.depth < 20) & (np.abs(pairs.pixels[:, 0] - 475) < 225)
    assert ahead.sum() > 500
    low, high = np.percentile(pairs.pixels[ahead], [1, 99], axis=0)
    assert np.abs(low - [325, 555]).max() < 40
    assert np.abs(high - [640, 760]).max() < 40


def test_raising_undoes_lowering():
    lowered = from_world(np.array([[1.0, 2, 3]]), np.eye(4))
    np.testing.assert_allclose(lowered + RAISE[:3, 3], [[1, 2, 3]])
