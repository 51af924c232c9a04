from __future__ import annotations

import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from lidistill.datasets import argoverse2
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import project
from lidistill.sensing.pairing import pair
from lidistill.sensing.rigid import transform

LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
START, STEP = 315966265259836000, 100_196_000
WIDTH, HEIGHT = 60, 40
FX, FY, CX, CY = 30.0, 31.0, 29.5, 20.5
UPPER = np.array([1.35, 0.01, 1.64])
CAMERA = Rotation.from_euler("ZYX", [10, 2, -1], degrees=True) * Rotation.from_matrix(
    [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
)
CAMERA_AT = np.array([1.6, -0.1, 1.4])


@pytest.fixture(autouse=True)
def fresh():
    """Tables that a process keeps are those of another test's file."""
    for function in ("_poses", "_mounts", "_intrinsics", "_image_times"):
        getattr(argoverse2, function).cache_clear()


def vehicle(time):
    """Pose in the city of a vehicle that drives a bend at 12 m/s."""
    seconds = (time - START) / 1e9
    turn = Rotation.from_euler("ZYX", [40 + 20 * seconds, -2, 1], degrees=True)
    return turn, np.array([2000 + 12 * seconds, 500 - seconds, 60.0])


def sweep(number, points=30):
    rng = np.random.default_rng(number)
    return {
        **{
            axis: rng.uniform(low, high, points).astype(np.float16)
            for axis, low, high in (("x", 5, 40), ("y", -4, 4), ("z", -0.3, 3))
        },
        "intensity": rng.integers(0, 256, points).astype(np.uint8),
        "laser_number": rng.integers(0, 64, points).astype(np.uint8),
        "offset_ns": np.linspace(2_654_000, 106_085_816, points).astype(np.int32),
    }


def write(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(columns), str(path), compression="zstd")
    return path


def poses(turns, places):
    x, y, z, w = np.array([turn.as_quat() for turn in turns]).T
    tx, ty, tz = np.array(places).T
    return {"qw": w, "qx": x, "qy": y, "qz": z, "tx_m": tx, "ty_m": ty, "tz_m": tz}


def make_log(root, log=LOG, sweeps=3, cameras=("ring_front_center",), delay=-10_000_000):
    """A log in ``root`` (``.../val``); pictures are taken ``delay`` after each sweep, poses kept for both."""
    times = [START + n * STEP for n in range(sweeps)]
    stamps = sorted([*times, *(time + delay for time in times)])
    turns, places = zip(*map(vehicle, stamps), strict=True)
    write(root / log / "city_SE3_egovehicle.feather", {"timestamp_ns": np.array(stamps), **poses(turns, places)})
    for number, time in enumerate(times):
        write(root / log / f"sensors/lidar/{time}.feather", sweep(number))
        for camera in cameras:
            path = root / log / "sensors/cameras" / camera / f"{time + delay}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), (10, 200, 30)).save(path)
    names = [*cameras, "up_lidar"]
    mounts = poses([*[CAMERA] * len(cameras), Rotation.identity()], [*[CAMERA_AT] * len(cameras), UPPER])
    write(root / log / "calibration/egovehicle_SE3_sensor.feather", {"sensor_name": names, **mounts})
    rows = {"fx_px": FX, "fy_px": FY, "cx_px": CX, "cy_px": CY, "k1": -0.24, "k2": -0.21, "k3": 0.33}
    table = {key: np.full(len(cameras), value) for key, value in rows.items()}
    sizes = {"height_px": np.full(len(cameras), HEIGHT, np.uint16), "width_px": np.full(len(cameras), WIDTH, np.uint16)}
    write(
        root / log / "calibration/intrinsics.feather", {"sensor_name": pa.array(cameras, pa.string()), **table, **sizes}
    )
    return root / log


def points_of(columns):
    return np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)


# ---- frames


def test_points_are_those_of_the_file(tmp_path):
    make_log(tmp_path / "val")
    source = open_source(f"argoverse2:{tmp_path}")
    assert [frame.token for frame in source] == [f"argoverse2/val/{LOG}/{START + n * STEP}" for n in range(3)]
    assert (source.sensor.forward, source.sensor.rings, source.taxonomy) == ("+x", 64, None)
    for number, frame in enumerate(source):
        columns = sweep(number)
        np.testing.assert_array_equal(frame.points, points_of(columns))
        np.testing.assert_array_equal(frame.intensity, columns["intensity"])
        np.testing.assert_array_equal(frame.ring, columns["laser_number"])
        np.testing.assert_allclose(frame.time, columns["offset_ns"] / 1e9, atol=1e-8)
        assert frame.timestamp == pytest.approx((START + number * STEP) / 1e9, abs=1e-6)
        assert frame.labels is None
    assert len(pickle.dumps(source)) < 10_000


def test_splits_by_folder(tmp_path):
    for part, log in (("val", "b"), ("train", "z"), ("train", "a"), ("test", "c")):
        make_log(tmp_path / "sensor" / part, log, sweeps=2, cameras=())
    source = open_source(f"argoverse2:{tmp_path}")
    assert source.logs == ("train/a", "train/z", "val/b", "test/c")
    assert source.splits == {"train": (0, 1, 2, 3), "val": (4, 5), "test": (6, 7)}
    assert source.split("test")[0].token == f"argoverse2/test/c/{START}"


def test_projection_through_both_poses(tmp_path):
    make_log(tmp_path / "val", cameras=("ring_front_center", "stereo_front_left"))
    frame = open_source(f"argoverse2:{tmp_path}")[1]
    assert [view.name for view in frame.views] == ["ring_front_center", "stereo_front_left"]
    view, time = frame.views[0], START + STEP
    assert view.timestamp == pytest.approx(frame.timestamp - 0.01, abs=1e-6)
    assert view.distortion is None
    assert view.image().shape == (HEIGHT, WIDTH, 3)
    (turn, place), (then, there) = vehicle(time), vehicle(time - 10_000_000)
    city = turn.apply(frame.points.astype(float)) + place
    x, y, z = CAMERA.inv().apply(then.inv().apply(city - there) - CAMERA_AT).T
    expected = np.stack([FX * x / z + CX, FY * y / z + CY], axis=1)
    pixels, depth = project(frame.points, view)
    assert (depth > 1).all()
    np.testing.assert_allclose(pixels, expected, atol=1e-5)


def test_origin_of_the_lidar(tmp_path):
    make_log(tmp_path / "val")
    vehicle_frame, lidar = (open_source(f"argoverse2:{tmp_path}{o}")[1] for o in ("", "?origin=lidar"))
    np.testing.assert_allclose(vehicle_frame.points - lidar.points, np.tile(UPPER, (30, 1)), atol=1e-5)
    there, here = (project(frame.points, frame.views[0])[0] for frame in (vehicle_frame, lidar))
    np.testing.assert_allclose(there, here, atol=1e-3)


@pytest.mark.parametrize("origin", ["vehicle", "lidar"])
def test_poses_take_points_to_the_city(tmp_path, origin):
    make_log(tmp_path / "val", cameras=())
    for number, frame in enumerate(open_source(f"argoverse2:{tmp_path}?origin={origin}")):
        turn, place = vehicle(START + number * STEP)
        city = turn.apply(points_of(sweep(number)).astype(float)) + place
        assert frame.pose.drive == f"argoverse2/val/{LOG}"
        np.testing.assert_allclose(transform(frame.points.astype(float), frame.pose.to_world), city, atol=1e-5)


@pytest.mark.parametrize("delay", [20_000_000, -45_000_000, 55_000_000, 70_000_000])
def test_the_nearest_picture(tmp_path, delay):
    make_log(tmp_path / "val", delay=delay)
    source = open_source(f"argoverse2:{tmp_path}")
    offset = source[1].views[0].timestamp - source[1].timestamp
    assert abs(offset) < 0.0502
    # a picture 70 ms late is 30 ms early for the next sweep
    assert offset == pytest.approx((delay if delay < STEP / 2 else delay - STEP) / 1e9, abs=1e-6)


def test_pictures_far_in_time_are_no_views(tmp_path):
    log = make_log(tmp_path / "val")
    for time in (START - 10_000_000, START + STEP - 10_000_000):
        (log / f"sensors/cameras/ring_front_center/{time}.jpg").unlink()
    assert [len(frame.views) for frame in open_source(f"argoverse2:{tmp_path}")] == [0, 0, 1]


def test_without_pictures_only_sweeps_are_needed(tmp_path):
    log = make_log(tmp_path / "val", cameras=())
    for path in (*log.glob("calibration/*"), log / "city_SE3_egovehicle.feather"):
        path.unlink()
    frame = open_source(f"argoverse2:{tmp_path}")[0]
    assert (frame.views, frame.pose) == ((), None)
    with pytest.raises(InputError, match=r"egovehicle_SE3_sensor.feather: the file is missing"):
        open_source(f"argoverse2:{tmp_path}?origin=lidar")[0]


# ---- damage


def test_wrong_options(tmp_path):
    make_log(tmp_path / "val")
    with pytest.raises(InputError, match="no labels of points, so no classes 'kitti-10'"):
        open_source(f"argoverse2:{tmp_path}", classes="kitti-10")
    with pytest.raises(InputError, match="there is no origin 'vehicel'; did you mean 'vehicle'"):
        open_source(f"argoverse2:{tmp_path}?origin=vehicel")


def test_nothing_there(tmp_path):
    (tmp_path / "val" / LOG / "sensors/lidar").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no scan found, expected Argoverse 2: .* found val"):
        open_source(f"argoverse2:{tmp_path}")
    make_log(tmp_path / "val", "other", sweeps=2)
    source = open_source(f"argoverse2:{tmp_path}")  # the empty log is no part of it
    assert len(source) == 2
    with pytest.raises(InputError, match=r"no split 'train'; there are: val \(2 frames\)"):
        source.split("train")


def test_without_pyarrow(tmp_path, monkeypatch):
    make_log(tmp_path / "val")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install lidistill\[datasets\]"):
        open_source(f"argoverse2:{tmp_path}")[0]


def test_damaged_sweeps(tmp_path):
    log = make_log(tmp_path / "val", sweeps=7, cameras=())
    source = open_source(f"argoverse2:{tmp_path}")
    good = sweep(0)
    paths = [log / f"sensors/lidar/{START + n * STEP}.feather" for n in range(7)]
    paths[0].write_bytes(paths[0].read_bytes()[:-50])
    paths[1].write_bytes(b"")
    write(paths[2], {name: column for name, column in good.items() if name != "laser_number"})
    write(paths[3], {**good, "z": ["high"] * 30})
    write(paths[4], {name: column[:0] for name, column in good.items()})
    write(paths[5], {**good, "y": np.full(30, np.inf, np.float16)})
    paths[6].unlink()
    messages = (
        "truncated or damaged",
        "truncated or damaged",
        "no column 'laser_number', found x, y, z, intensity, offset_ns",
        "column 'z' is of type string, expected numbers",
        "no points in the scan",
        "30 of 30 points are NaN or infinite",
        "the file is missing",
    )
    for index, (path, message) in enumerate(zip(paths, messages, strict=True)):
        with pytest.raises(InputError, match=message) as caught:
            source[index]
        assert str(path) in str(caught.value)


TABLES = ("calibration/intrinsics.feather", "calibration/egovehicle_SE3_sensor.feather", "city_SE3_egovehicle.feather")


@pytest.mark.parametrize("file", TABLES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "column", "text"])
def test_damaged_tables(tmp_path, file, damage):
    path = make_log(tmp_path / "val") / file
    table = feather.read_table(str(path), memory_map=False)
    name = "cx_px" if "intrinsics" in file else "tz_m"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "column":
        write(path, {key: table[key] for key in table.column_names if key != name})
    else:
        write(path, {**{key: table[key] for key in table.column_names}, name: ["x"] * len(table)})
    message = {
        "missing": "the file is missing",
        "truncated": "truncated or damaged",
        "column": f"no column '{name}'",
        "text": f"column '{name}' is of type string",
    }[damage]
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"argoverse2:{tmp_path}")[0]
    assert str(path) in str(caught.value)


def test_poses_shorter_than_frames(tmp_path):
    path = make_log(tmp_path / "val") / TABLES[2]
    write(path, feather.read_table(str(path), memory_map=False).slice(0, 2).to_pydict())
    source = open_source(f"argoverse2:{tmp_path}")
    assert len(source[0].views) == 1
    for index in (1, 2):
        with pytest.raises(InputError, match=r"city_SE3_egovehicle.feather: no pose within 50 ms of 3159"):
            source[index]


def test_wrong_rows(tmp_path):
    log = make_log(tmp_path / "val")
    for file, change, message in (
        (TABLES[0], {"sensor_name": ["left"]}, "no row for 'ring_front_center', found left"),
        (TABLES[0], {"fx_px": [0.0]}, "ring_front_center: intrinsics have focal lengths 0 and 31"),
        (TABLES[1], {"sensor_name": ["left", "up_lidar"]}, "no row for 'ring_front_center', found left, up_lidar"),
        (TABLES[1], {"qw": [np.nan, 1.0]}, "row 0 is no pose"),
        (TABLES[2], {"qw": [0.0] * 6}, "row 0 is no pose"),
    ):
        path = log / file
        before = path.read_bytes()
        write(path, feather.read_table(str(path), memory_map=False).to_pydict() | change)
        for function in ("_poses", "_mounts", "_intrinsics"):
            getattr(argoverse2, function).cache_clear()
        with pytest.raises(InputError, match=message) as caught:
            open_source(f"argoverse2:{tmp_path}")[0]
        assert str(path) in str(caught.value)
        path.write_bytes(before)


def test_damaged_pictures(tmp_path):
    folder = make_log(tmp_path / "val") / "sensors/cameras/ring_front_center"
    source = open_source(f"argoverse2:{tmp_path}")
    (folder / f"{START - 10_000_000}.jpg").write_bytes(b"\xff\xd8")
    Image.new("RGB", (30, 20)).save(folder / f"{START + STEP - 10_000_000}.jpg")
    for index, message in enumerate(("image cannot be read", "the image is 20 x 30, the calibration says 40 x 60")):
        with pytest.raises(InputError, match=message):
            source[index].views[0].image()


# ---- the real thing


def test_real_sweeps(real):
    source = open_source(f"argoverse2:{real('argoverse2')}")
    assert source.splits == {"val": (0, 1)}
    assert [len(frame) for frame in source] == [99_229, 99_466]
    for frame in source:
        assert frame.views == ()
        assert {*np.unique(frame.ring)} == {*range(64)}
        near = np.hypot(*frame.points[:, :2].T) < 10
        assert -0.6 < np.percentile(frame.points[near, 2], 5) < -0.3  # the road below the axle
    lidar = open_source(f"argoverse2:{real('argoverse2')}?origin=lidar")[0]
    elevation = np.degrees(np.arctan2(lidar.points[:, 2], np.hypot(*lidar.points[:, :2].T)))
    far = np.linalg.norm(lidar.points, axis=1) > 10
    # seen from the upper lidar, each of its beams has one elevation
    beams = [elevation[far & (lidar.ring == beam)] for beam in range(32)]
    spreads = [beam.std() for beam in beams if len(beam) > 100]
    assert len(spreads) > 20
    assert max(spreads) < 0.1


def test_real_calibration_looks_ahead(real):
    """The front camera of the real calibration sees what is ahead, cars at 20 m in the middle of the picture."""
    frame = open_source(f"argoverse2:{real('argoverse2')}")[0]
    root = real("argoverse2") / "sensor/val" / LOG
    mount = argoverse2._mounts(root)["ring_front_center"]
    height, width, intrinsics = argoverse2._intrinsics(root / "calibration/intrinsics.feather")["ring_front_center"]
    view = argoverse2.CameraView("front", height, width, intrinsics, np.linalg.inv(mount), lambda: None)
    pairs = pair(frame, view, occlusion=False)
    points = frame.points[pairs.rows]
    assert (points[:, 0] > 1).all()
    assert 3_000 < len(pairs) < 20_000
    right = points[:, 1] < -1
    assert pairs.pixels[right, 0].min() > width / 2 - 20
