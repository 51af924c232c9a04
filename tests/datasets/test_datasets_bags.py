"""ROS recordings of every kind become rig folders that hold what was recorded, exactly."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

pytest.importorskip("rosbags", reason="pip install lidistill[ros]")

from bag_writer import KINDS, START, Messages, encoded, write_bag
from lidistill.datasets.imports import bags
from lidistill.datasets.imports.bags import bag_to_rig
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.rigid import from_quaternion, invert

SIZE = (24, 40)
K = np.array([[30.0, 0, 20.5], [0, 31.0, 11.5], [0, 0, 1]])
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""x y z w: an optical frame in one with x forward and z up."""
STEP = 100_000_000
RNG = np.random.default_rng(0)


def rows_of(count=50, kind=(("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"))):
    """Random points in a structured array."""
    rows = np.zeros(count, list(kind))
    for name in rows.dtype.names:
        whole = rows.dtype[name].kind != "f"
        rows[name] = RNG.integers(0, 16, count) if whole else RNG.normal(0, 9, count).astype(np.float32)
    return rows


def steps():
    """base -> lidar, base -> camera body -> optical frame, written with and without the slash of tf."""
    return [
        ("base", "velodyne", (0.1, 0, 1.8), (0, 0, 0.7071067811865476, 0.7071067811865476)),
        ("/base", "/front_link", (1, 0.2, 1.5), (0, 0, 0, 1)),
        ("front_link", "front_optical", (0, 0, 0.05), OPTICAL),
    ]


def expected_pose():
    (_, _, t1, q1), (_, _, t2, q2), (_, _, t3, q3) = steps()
    lidar, link, optical = (from_quaternion((q[3], *q[:3]), t) for t, q in ((t1, q1), (t2, q2), (t3, q3)))
    return invert(link @ optical) @ lidar


def drive(version, scans=3, offset=20_000_000):
    """Recording of one lidar and one camera; the picture of scan i is i + 1 times grey and ``offset`` ns later."""
    make = Messages(version)
    clouds = [rows_of() for _ in range(scans)]
    pictures = [RNG.integers(0, 255, (*SIZE, 3)).astype(np.uint8) for _ in range(scans)]
    messages = [("/tf_static", START - 1, make.transforms(steps()))]
    for i, (rows, picture) in enumerate(zip(clouds, pictures, strict=True)):
        time = START + i * STEP
        later = time + offset
        messages += [
            (
                "/front/camera_info",
                later,
                make.info(later, "front_optical", K, SIZE, d=np.array([-0.1, 0.02, 0, 0, 0.0])),
            ),
            ("/velodyne_points", time + 5, make.cloud(rows, time)),
            ("/front/image_raw", later + 5, make.image(picture[:, :, ::-1], "bgr8", later, "front_optical", pad=6)),
        ]
    return make, messages, clouds, pictures


def one(version, messages):
    """The messages a conversion without cameras needs, with a lidar message replaced."""
    return [("/points", START, message) for message in messages]


# ---- what was recorded is what is read


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_recording(tmp_path, kind):
    _, messages, clouds, pictures = drive(1 if kind == "ros1" else 2)
    bag = write_bag(tmp_path / "drive", kind, messages)
    out = bag_to_rig(bag, tmp_path / "rig")
    rig = open_source(str(out))
    assert len(rig) == 3
    assert rig.sensor.rate == 10
    assert rig.sensor.rings == max(int(rows["ring"].max()) for rows in clouds) + 1
    for i, (rows, picture) in enumerate(zip(clouds, pictures, strict=True)):
        frame = rig[i]
        np.testing.assert_array_equal(frame.points, np.stack([rows[axis] for axis in "xyz"], 1))
        np.testing.assert_array_equal(frame.intensity, rows["intensity"])
        np.testing.assert_array_equal(frame.ring, rows["ring"])
        assert frame.timestamp == (START + i * STEP) / 1e9
        view = frame.view("front")
        np.testing.assert_array_equal(view.image(), picture)
        assert view.timestamp == (START + i * STEP + 20_000_000) / 1e9
        np.testing.assert_array_equal(view.intrinsics, K)
        np.testing.assert_allclose(view.from_lidar, expected_pose(), atol=1e-12)
        assert view.distortion.coefficients == (-0.1, 0.02, 0, 0, 0)
    assert (out / "scans" / "000000.bin").exists()


def test_the_calibration_looks_forward(tmp_path):
    """A point ahead of the camera lands in the middle: directions are right, not only consistent."""
    from lidistill.sensing.cameras import project

    _, messages, _, _ = drive(2)
    rig = open_source(str(bag_to_rig(write_bag(tmp_path / "b", "mcap", messages), tmp_path / "rig")))
    view = rig[0].view("front")
    # the lidar is turned left by 90 degrees: the vehicle's x is its -y; the camera is 0.25 m below and 0.2 to the left
    ahead = np.array([[0.2, -10.0, -0.25]])
    pixels, depth = project(ahead, view)
    np.testing.assert_allclose(pixels, [[20.5, 11.5]], atol=1e-9)
    np.testing.assert_allclose(depth, 9.1)


def test_compressed_pictures_stay_as_they_are(tmp_path):
    make, messages, _, pictures = drive(1)
    content = {i: encoded(picture, "JPEG" if i else "PNG") for i, picture in enumerate(pictures)}
    messages = [entry for entry in messages if entry[0] != "/front/image_raw"]
    for i, data in content.items():
        time = START + i * STEP
        message = make.compressed(data, "bgr8; jpeg compressed bgr8", time, "front_optical")
        messages.append(("/front/image_raw/compressed", time, message))
    out = bag_to_rig(write_bag(tmp_path / "b", "ros1", messages), tmp_path / "rig")
    assert (out / "images" / "front" / "000000.png").read_bytes() == content[0]
    assert (out / "images" / "front" / "000001.jpg").read_bytes() == content[1]
    assert open_source(str(out))[2].view("front").image().shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1), ("8UC3", 3)],
)
def test_encodings(encoding, channels):
    from lidistill.datasets.imports.image_message import image_file

    pixels = RNG.integers(0, 255, (5, 7, channels)).astype(np.uint8)
    suffix, content, size = image_file(Messages(2).image(pixels, encoding, START, "f", pad=3), "here")
    assert (suffix, size) == (".png", (5, 7))
    import io

    red_first = pixels if encoding.startswith("rgb") else pixels[:, :, [2, 1, 0]] if channels > 1 else pixels
    expected = np.repeat(pixels, 3, axis=2) if channels == 1 else red_first[:, :, :3]
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(content)).convert("RGB")), expected)


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_bayer_patterns(encoding):
    """A flat colour comes back exactly, and a known pixel keeps its value."""
    import io

    from lidistill.datasets.imports.image_message import image_file

    color = {"r": 200, "g": 90, "b": 30}
    pattern = np.array([color[letter] for letter in encoding[6:10]]).reshape(2, 2)
    mosaic = np.tile(pattern, (4, 5)).astype(np.uint8)
    picture = np.array(Image.open(io.BytesIO(image_file(Messages(2).image(mosaic, encoding, 0, "f"), "here")[1])))
    np.testing.assert_array_equal(picture, np.broadcast_to([200, 90, 30], (8, 10, 3)))
    mosaic[4, 4] = 7
    picture = np.array(Image.open(io.BytesIO(image_file(Messages(2).image(mosaic, encoding, 0, "f"), "here")[1])))
    assert picture[4, 4]["rgb".index(encoding[6])] == 7


# ---- any layout of points


def converted(tmp_path, *messages, kind="sqlite3", **options):
    bag = write_bag(tmp_path / "b", kind, [("/points", START + i * STEP, m) for i, m in enumerate(messages)])
    return open_source(str(bag_to_rig(bag, tmp_path / "rig", **options)))


def test_double_coordinates_and_whole_intensities(tmp_path):
    kind = [("label", "u1"), ("reflectivity", "<u2"), ("z", "<f8"), ("y", "<f8"), ("x", "<f8")]
    rows = rows_of(30, kind)
    frame = converted(tmp_path, Messages(2).cloud(rows))[0]
    np.testing.assert_array_equal(frame.points[:, 0], rows["x"].astype(np.float32))
    np.testing.assert_array_equal(frame.points[:, 2], rows["z"].astype(np.float32))
    np.testing.assert_array_equal(frame.intensity, rows["reflectivity"].astype(np.float32))
    assert frame.ring is None


@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_big_endian_padding_and_organised_clouds(tmp_path, kind):
    """Gaps between fields, points and rows; no-return points are NaN or zero and leave nothing behind."""
    layout = np.dtype(
        {"names": ["x", "y", "z", "intensity", "ring"], "formats": [">f4", ">f4", ">f4", ">u1", ">u2"],
         "offsets": [4, 8, 16, 21, 24], "itemsize": 32}
    )  # fmt: skip
    rows = np.zeros((4, 10), layout)
    for name in layout.names:
        rows[name] = RNG.integers(1, 9, (4, 10))
    rows["x"][1, 3], rows["z"][2, 2] = np.nan, np.inf
    for axis in "xyz":
        rows[axis][3, 9] = 0
    row_step = 10 * 32 + 12
    padded = np.concatenate([np.frombuffer(row.tobytes() + bytes(12), np.uint8) for row in rows])
    make = Messages(1 if kind == "ros1" else 2)
    message = make.cloud(rows, is_bigendian=True, row_step=row_step, data=padded[:-12])  # the last row has no padding
    frame = converted(tmp_path, message, kind=kind)[0]
    kept = np.ones(40, bool)
    kept[[13, 22, 39]] = False
    flat = rows.reshape(-1)[kept]
    np.testing.assert_array_equal(frame.points, np.stack([flat[axis] for axis in "xyz"], 1))
    np.testing.assert_array_equal(frame.intensity, flat["intensity"])
    np.testing.assert_array_equal(frame.ring, flat["ring"])


@pytest.mark.parametrize(
    ("field", "kind", "recorded", "seconds"),
    [
        ("time", "<f4", lambda t: -t, lambda t: -t),  # Velodyne
        ("t", "<u4", lambda t: np.round(t * 1e9), lambda t: t),  # Ouster
        ("timestamp", "<f8", lambda t: START / 1e9 + t, lambda t: t),  # Hesai
        ("timestamp", "<f8", lambda t: START + t * 1e9, lambda t: t),  # Livox
        ("timestamp", "f8", lambda t: START - 50_000_000 + t * 1e9, lambda t: t - 0.05),
    ],
)
def test_point_times(tmp_path, field, kind, recorded, seconds):
    rows = rows_of(40, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), (field, kind)])
    times = np.linspace(0, 0.0999, 40)
    rows[field] = recorded(times)
    rig = converted(tmp_path, Messages(2).cloud(rows))
    assert rig.scans == ("000000.npz",)
    np.testing.assert_allclose(rig[0].time, seconds(times), atol=1e-6)
    np.testing.assert_array_equal(rig[0].points[:, 1], rows["y"])


def test_scans_without_intensity_and_empty_scans(tmp_path):
    layout = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    full, nothing = rows_of(20, layout), rows_of(0, layout)
    missing = rows_of(20, layout)
    missing["y"] = np.nan
    make = Messages(2)
    clouds = [make.cloud(rows, START + i * STEP) for i, rows in enumerate((nothing, full, missing))]
    rig = converted(tmp_path, *clouds)
    assert rig.stems == ("000001",)
    assert not rig[0].intensity.any()
    assert rig[0].timestamp == (START + STEP) / 1e9


# ---- time


def test_the_nearest_picture(tmp_path):
    """Camera at a third of the lidar's rate and far away at the end: pictures are shared, late scans have none."""
    make = Messages(2)
    clouds = [make.cloud(rows_of(), START + i * STEP) for i in range(6)]
    pictures = {START + 110_000_000: 10, START - 60_000_000: 20, START + 290_000_000: 30}
    messages = [("/points", 0, cloud) for cloud in clouds] + [("/tf_static", 0, make.transforms(steps()))]
    for time, grey in pictures.items():  # recorded out of order
        messages.append(("/cam/image", 1, make.image(np.full(SIZE, grey, np.uint8), "mono8", time, "front_optical")))
    messages.append(("/cam/camera_info", 0, make.info(START, "front_optical", K, SIZE)))
    out = bag_to_rig(write_bag(tmp_path / "b", "mcap", messages), tmp_path / "rig")
    rig = open_source(str(out))
    seen = [frame.views[0].image()[0, 0, 0] if (frame := rig[i]).views else None for i in range(6)]
    assert seen == [20, 10, 10, 30, None, None]  # 0.4 s is 110 ms from the last picture
    assert rig[1].views[0].timestamp == (START + 110_000_000) / 1e9
    table = list(csv.reader((out / "times.csv").open()))
    assert table[0] == ["scan", "time", "cam"]
    assert table[1] == ["000000", "1700000000.123456789", "1700000000.063456789"]
    assert table[5] == ["000004", "1700000000.523456789", ""]


def test_every(tmp_path):
    """Jitter of some milliseconds does not lose every other scan."""
    make = Messages(2)
    times = [START + i * STEP + int(RNG.integers(-3_000_000, 3_000_000)) for i in range(21)]
    rig = converted(tmp_path, *(make.cloud(rows_of(), time) for time in times), every=0.5)
    np.testing.assert_allclose([rig[i].timestamp - START / 1e9 for i in range(len(rig))], np.arange(5) / 2, atol=0.01)
    assert rig.sensor.rate == pytest.approx(10, abs=0.5)


def test_messages_without_a_time_have_that_of_the_recording(tmp_path):
    assert converted(tmp_path, Messages(1).cloud(rows_of(), 0), kind="ros1")[0].timestamp == START / 1e9


# ---- cameras


def test_topics_by_name(tmp_path):
    """Two lidars and a camera that is there twice: named ones are taken."""
    make, messages, clouds, _ = drive(2)
    messages += [("/rear_points", START, make.cloud(rows_of(), START))]
    messages += [("/front/image_rect", t, m) for topic, t, m in messages if topic == "/front/image_raw"]
    bag = write_bag(tmp_path / "b", "mcap", messages)
    rig = open_source(
        str(bag_to_rig(bag, tmp_path / "rig", lidar="/velodyne_points", cameras={"nose": "/front/image_raw"}))
    )
    assert [view.name for view in rig[0].views] == ["nose"]
    np.testing.assert_array_equal(rig[0].points[:, 0], clouds[0]["x"])
    with pytest.raises(InputError, match=r"/front/image_raw, /front/image_rect; name one"):
        bag_to_rig(bag, tmp_path / "other", lidar="/velodyne_points")
    assert len(open_source(str(bag_to_rig(bag, tmp_path / "points", lidar="/rear_points", cameras={})))) == 1


def test_raw_before_compressed_and_no_depth(tmp_path):
    make, messages, _, pictures = drive(2)
    content = encoded(pictures[0], "JPEG")
    messages.append(("/front/image_raw/compressed", START, make.compressed(content, "jpeg", START, "front_optical")))
    depth = make.image(np.zeros((4, 4), np.uint8), "16UC1", START, "front_optical")
    messages += [(topic, START, depth) for topic in ("/front/depth/image", "/ouster/range_image")]
    rig = open_source(str(bag_to_rig(write_bag(tmp_path / "b", "sqlite3", messages), tmp_path / "rig")))
    np.testing.assert_array_equal(rig[0].view("front").image(), pictures[0])


def test_rectified_pictures_have_another_matrix(tmp_path):
    """image_rect: P instead of K, turned by R, and no distortion."""
    make, messages, _, pictures = drive(2)
    p = np.array([[28.0, 0, 19, 0], [0, 28, 12, 0], [0, 0, 1, 0]])
    turn = from_quaternion((1, 0.01, 0.02, -0.01))[:3, :3]
    info = make.info(START, "front_optical", K, SIZE, d=np.full(5, 0.1), p=p.ravel(), r=turn.ravel())
    messages = [entry for entry in messages if not entry[0].startswith("/front")]
    image = make.image(pictures[0], "rgb8", START, "front_optical")
    messages += [("/front/camera_info", START, info), ("/front/image_rect_color", START, image)]
    view = open_source(str(bag_to_rig(write_bag(tmp_path / "b", "mcap", messages), tmp_path / "rig")))[0].view("front")
    np.testing.assert_array_equal(view.intrinsics, p[:, :3])
    np.testing.assert_allclose(view.from_lidar[:3], turn @ expected_pose()[:3], atol=1e-12)
    assert view.distortion is None


def test_extrinsics_from_a_file(tmp_path):
    _, messages, _, _ = drive(2)
    messages = [entry for entry in messages if entry[0] != "/tf_static"]
    bag = write_bag(tmp_path / "b", "mcap", messages)
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({"front": {"from_lidar": expected_pose().tolist()}}))
    view = open_source(str(bag_to_rig(bag, tmp_path / "rig", extrinsics=tmp_path / "e.yaml")))[0].view("front")
    np.testing.assert_allclose(view.from_lidar, expected_pose())


def test_a_transform_from_a_file_completes_those_of_the_recording(tmp_path):
    make, messages, _, _ = drive(2)
    messages = [entry for entry in messages if entry[0] != "/tf_static"]
    messages.append(("/tf_static", 0, make.transforms(steps()[:2])))
    bag = write_bag(tmp_path / "b", "mcap", messages)
    parent, child, t, q = steps()[2]
    step = {"parent": parent, "child": child, "translation": list(t), "rotation": list(q)}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({"transforms": [step]}))
    view = open_source(str(bag_to_rig(bag, tmp_path / "rig", extrinsics=tmp_path / "e.yaml")))[0].view("front")
    np.testing.assert_allclose(view.from_lidar, expected_pose(), atol=1e-12)


def test_recordings_in_parts(tmp_path):
    """A folder with the pieces that rosbag record --split writes."""
    make = Messages(1)
    (tmp_path / "parts").mkdir()
    for i in range(2):
        write_bag(
            tmp_path / "parts" / f"x_{i}", "ros1", [("/points", START + i, make.cloud(rows_of(), START + i * STEP))]
        )
    assert len(open_source(str(bag_to_rig(tmp_path / "parts", tmp_path / "rig")))) == 2


# ---- what goes wrong


def refused(tmp_path, messages, match, kind="mcap", **options):
    bag = write_bag(tmp_path / "bad", kind, messages)
    with pytest.raises(InputError, match=match) as caught:
        bag_to_rig(bag, tmp_path / "rig", **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(bag) in text or "e.yaml" in text
    assert not [path for path in (tmp_path / "rig").rglob("*") if path.is_file()]


def test_no_lidar(tmp_path):
    _, messages, _, _ = drive(2)
    messages = [entry for entry in messages if entry[0] != "/velodyne_points"]
    refused(tmp_path, messages, r"no PointCloud2 topic.*found /front/camera_info \(sensor_msgs/msg/CameraInfo\)")


def test_two_lidars(tmp_path):
    make = Messages(1)
    messages = [(topic, START, make.cloud(rows_of())) for topic in ("/left/points", "/right/points")]
    refused(tmp_path, messages, "/left/points, /right/points; name one as lidar", kind="ros1")


def test_a_lidar_that_is_not_there(tmp_path):
    messages = [("/left/points", START, Messages(2).cloud(rows_of()))]
    refused(tmp_path, messages, "did you mean '/left/points'", lidar="/left/point")


def test_no_z(tmp_path):
    rows = rows_of(9, [("x", "<f4"), ("y", "<f4"), ("range", "<f4")])
    refused(tmp_path, [("/points", START, Messages(2).cloud(rows))], "no column 'z'.*found x, y, range")


def test_fewer_bytes_than_points(tmp_path):
    rows = rows_of(9)
    message = Messages(2).cloud(rows, data=np.zeros(100, np.uint8))
    refused(tmp_path, [("/points", START, message)], r"100 bytes, expected 162 \(1 x 9 points of 18 bytes\)")


def test_a_field_beyond_the_point(tmp_path):
    message = Messages(2).cloud(rows_of(9), point_step=12)
    refused(tmp_path, [("/points", START, message)], "fields reach to byte 18 of points of 12")


def test_no_return_at_all(tmp_path):
    rows = rows_of(9)
    rows["x"] = np.nan
    refused(tmp_path, [("/points", START, Messages(2).cloud(rows))], "every scan of /points is empty or has no return")


def replaced(messages, topic, change):
    return [(t, time, change(message) if t == topic else message) for t, time, message in messages]


def test_unknown_encoding(tmp_path):
    make, messages, _, _ = drive(2)
    image = make.image(np.zeros((24, 80), np.uint8), "yuv422", START, "front_optical")
    refused(
        tmp_path, replaced(messages, "/front/image_raw", lambda _: image), "unknown encoding 'yuv422', expected rgb8"
    )


def test_a_truncated_picture(tmp_path):
    make, messages, _, _ = drive(2)
    image = make.image(np.zeros((*SIZE, 3), np.uint8), "rgb8", START, "front_optical")
    image.data = image.data[:-1]
    refused(tmp_path, replaced(messages, "/front/image_raw", lambda _: image), "2879 bytes in rows of 120, expected 24")


def test_a_damaged_compressed_picture(tmp_path):
    make, messages, _, _ = drive(2)
    image = make.compressed(b"\xff\xd8nonsense", "jpeg", START, "front_optical")
    messages = [entry for entry in messages if entry[0] != "/front/image_raw"]
    refused(tmp_path, [*messages, ("/front/image/compressed", START, image)], r"\('jpeg'\) cannot be decoded")


def test_pictures_of_another_size(tmp_path):
    make, messages, _, _ = drive(2)
    image = make.image(np.zeros((12, 20, 3), np.uint8), "rgb8", START, "front_optical")
    refused(tmp_path, replaced(messages, "/front/image_raw", lambda _: image), "12 x 20 pixels, but its camera_info is")


def test_a_camera_without_info(tmp_path):
    _, messages, _, _ = drive(2)
    messages = [entry for entry in messages if entry[0] != "/front/camera_info"]
    refused(tmp_path, messages, "/front/image_raw has no /front/camera_info with messages; name the topics")


def test_a_camera_that_is_not_there(tmp_path):
    _, messages, _, _ = drive(2)
    refused(tmp_path, messages, "did you mean '/front/image_raw'", cameras={"front": "/front/image"})


def test_a_topic_for_two_cameras(tmp_path):
    _, messages, _, _ = drive(2)
    refused(tmp_path, messages, "is given to two", cameras={"a": "/front/image_raw", "b": "/front/image_raw"})


def test_no_transforms(tmp_path):
    _, messages, _, _ = drive(2)
    messages = [entry for entry in messages if entry[0] != "/tf_static"]
    refused(tmp_path, messages, "no transform of camera 'front', there is none at all; give an extrinsics file")


def test_no_chain_of_transforms(tmp_path):
    make, messages, _, _ = drive(2)
    broken = make.transforms([steps()[0], steps()[2]])
    match = "links 'velodyne' and 'front_optical' .reached velodyne, base and front_optical, front_link"
    refused(tmp_path, replaced(messages, "/tf_static", lambda _: broken), match)


def test_a_frame_that_no_transform_names(tmp_path):
    make, messages, _, _ = drive(2)
    broken = make.transforms([(a, b.replace("optical", "optica"), t, q) for a, b, t, q in steps()])
    match = "names the frame 'front_optical'; did you mean 'front_optica'"
    refused(tmp_path, replaced(messages, "/tf_static", lambda _: broken), match)


def test_a_turn_of_length_zero(tmp_path):
    make, messages, _, _ = drive(2)
    broken = make.transforms([(a, b, t, (0, 0, 0, 0)) for a, b, t, _ in steps()])
    refused(tmp_path, replaced(messages, "/tf_static", lambda _: broken), "is not a rotation")


def test_a_frame_that_is_not_optical(tmp_path):
    make, messages, _, _ = drive(2)
    broken = make.transforms([*steps()[:2], (*steps()[2][:3], (0, 0, 0, 1))])
    refused(tmp_path, replaced(messages, "/tf_static", lambda _: broken), "z of the camera frame points up")


def test_unknown_lens(tmp_path):
    make, messages, _, _ = drive(2)
    info = make.info(START, "front_optical", K, SIZE, distortion_model="plumb_bobby", d=np.full(5, 0.1))
    refused(tmp_path, replaced(messages, "/front/camera_info", lambda _: info), "did you mean 'plumb_bob'")


def test_an_uncalibrated_camera(tmp_path):
    make, messages, _, _ = drive(2)
    info = make.info(START, "front_optical", np.zeros((3, 3)), SIZE)
    refused(tmp_path, replaced(messages, "/front/camera_info", lambda _: info), "focal lengths 0 and 0")


def test_binned_pictures(tmp_path):
    make, messages, _, _ = drive(2)
    info = make.info(START, "front_optical", K, SIZE, binning_x=2, binning_y=2)
    refused(tmp_path, replaced(messages, "/front/camera_info", lambda _: info), "binned or cropped")


def test_clocks_that_differ(tmp_path):
    _, messages, _, _ = drive(2, offset=37_000_000_000)
    refused(tmp_path, messages, "the nearest is 36.8 s away; do both clocks run alike")


def test_singular_extrinsics(tmp_path):
    _, messages, _, _ = drive(2)
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({"front": {"from_lidar": np.diag([1.0, 1, 0, 1]).tolist()}}))
    refused(tmp_path, messages, "the rotation is singular", extrinsics=tmp_path / "e.yaml")


def test_nothing_in_the_recording(tmp_path):
    for kind in ("ros1", "mcap", "sqlite3"):
        (tmp_path / kind).mkdir()
        refused(tmp_path / kind, [], "no messages in the recording|cannot be read", kind=kind)


@pytest.mark.parametrize("kind", ["ros1", "mcap-file", "sqlite3"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_truncated_recordings(tmp_path, kind, share):
    _, messages, _, _ = drive(1 if kind == "ros1" else 2)
    bag = write_bag(tmp_path / "b", kind, messages)
    file = next(bag.glob("*.db3")) if bag.is_dir() else bag
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"recording cannot be read \(.+\); if the recording was cut") as caught:
        bag_to_rig(bag, tmp_path / "rig")
    assert str(bag) in str(caught.value)
    assert not [path for path in (tmp_path / "rig").rglob("*") if path.is_file()]


def test_no_recording(tmp_path):
    with pytest.raises(InputError, match=r"missing.bag: does not exist, expected a ROS 1 .bag"):
        bag_to_rig(tmp_path / "missing.bag", tmp_path / "rig")
    (tmp_path / "x.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "x.txt"):
        with pytest.raises(InputError, match="no ROS recording"):
            bag_to_rig(path, tmp_path / "rig")


def test_output_in_use(tmp_path, tiny_rig):
    bag = write_bag(tmp_path / "b", "ros1", [("/points", START, Messages(1).cloud(rows_of()))])
    rig = tiny_rig(tmp_path / "rig")
    with pytest.raises(InputError, match="already there and not empty; choose another folder"):
        bag_to_rig(bag, rig)
    (rig / "rig.yaml").unlink()
    with pytest.raises(InputError, match=r"an interrupted conversion"):
        bag_to_rig(bag, rig)
    with pytest.raises(InputError, match="already there"):
        bag_to_rig(bag, bag)


@pytest.mark.parametrize("every", [0, -1.0, float("nan")])
def test_no_time_between_scans(tmp_path, every):
    with pytest.raises(InputError, match="expected seconds above 0"):
        bag_to_rig(tmp_path / "b.bag", tmp_path / "rig", every=every)


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    _, messages, _, _ = drive(2)
    bag = write_bag(tmp_path / "b", "mcap", messages)
    write, calls = bags.write_points, []

    def interrupted(path, cloud):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(path, cloud)

    monkeypatch.setattr(bags, "write_points", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bag_to_rig(bag, tmp_path / "rig")
    assert not list((tmp_path / "rig").iterdir())
    monkeypatch.undo()
    assert len(open_source(str(bag_to_rig(bag, tmp_path / "rig")))) == 3


def test_a_folder_without_a_scan_of_the_times(tmp_path):
    """times.csv may know scans that are no longer there, and miss some that are."""
    make = Messages(2)
    bag = write_bag(tmp_path / "b", "mcap", [("/p", i, make.cloud(rows_of(), START + i * STEP)) for i in range(3)])
    out = bag_to_rig(bag, tmp_path / "rig")
    (out / "scans" / "000001.bin").unlink()
    shutil.copy(out / "scans" / "000002.bin", out / "scans" / "extra.bin")
    rig = open_source(str(out))
    assert [rig[i].timestamp for i in range(3)] == [START / 1e9, (START + 2 * STEP) / 1e9, None]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "found nothing"),
        ("stem,time\n", "expected a first row scan,time"),
        ("scan,time,frnt\n", "column 'frnt' is no camera of rig.yaml; did you mean 'front'"),
        ("scan,time,front\n000000,1.0\n", "line 2: 2 cells, expected 3"),
        ("scan,time\n000000,soon\n", "line 2: could not convert string to float: 'soon'"),
        ("scan,time\n000000,1\n000000,2\n", "line 3: scan '000000' has two rows"),
    ],
)
def test_damaged_times(tmp_path, tiny_rig, text, match):
    rig = tiny_rig(tmp_path / "rig")
    (rig / "times.csv").write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        open_source(str(rig))
    assert "times.csv" in str(caught.value)


def test_without_the_library(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(InputError, match=r"pip install 'lidistill\[ros\]'"):
        bag_to_rig(tmp_path / "b.bag", tmp_path / "rig")
