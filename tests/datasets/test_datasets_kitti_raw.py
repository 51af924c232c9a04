from __future__ import annotations

import logging
import pickle

import kitti_folders as make
import numpy as np
import pytest

from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import project
from lidistill.sensing.pairing import pair

DATE = "2011_09_26"


def cam_to_cam(**changes):
    """``calib_cam_to_cam.txt`` with the lines that matter and some that do not; None leaves one out."""
    lines = {"calib_time": " 09-Jan-2012 13:57:47", "corner_dist": " 9.95e-02", "R_rect_00": make.text(make.RECTIFY)}
    for number, shift in (("02", make.SHIFT), ("03", -make.SHIFT)):
        lines[f"S_rect_{number}"] = f"{make.WIDTH}.0 {make.HEIGHT}.0"
        lines[f"R_rect_{number}"] = make.text(np.eye(3))  # not the one that is meant
        lines[f"P_rect_{number}"] = make.text(make.projection(shift))
    return "".join(f"{key}: {line}\n" for key, line in (lines | changes).items() if line is not None)


def make_drive(root, number="0001", frames=(0, 1, 3), date=DATE, images=("02",), times=True):
    """One drive; the scans' numbers may have gaps, the lists of times have none."""
    drive = root / date / f"{date}_drive_{number}_sync"
    make.write_text(root / date / "calib_cam_to_cam.txt", cam_to_cam())
    velodyne = f"calib_time: x\nR: {make.text(make.ROTATION)}\nT: {make.text(make.TRANSLATION)}\ndelta_f: 0 0\n"
    make.write_text(root / date / "calib_velo_to_cam.txt", velodyne)
    for frame in frames:
        make.scan(drive / f"velodyne_points/data/{frame:010d}.bin", seed=frame)
        for camera in images:
            make.image(drive / f"image_{camera}/data/{frame:010d}.png")
    for folder, delay in (("velodyne_points", 25), *((f"image_{camera}", 30) for camera in images)):
        if times:
            stamps = [f"2011-09-26 13:02:{delay + n}.100000500\n" for n in range(max(frames) + 1)]
            make.write_text(drive / folder / "timestamps.txt", "".join(stamps))
    return drive


def test_frames_by_number(tmp_path):
    make_drive(tmp_path, "0005", frames=(7,))
    make_drive(tmp_path)
    source = open_source(f"kitti-raw:{tmp_path}")
    name = f"kitti-raw/{DATE}_drive"
    assert [frame.token for frame in source] == [
        *(f"{name}_0001_sync/{n:010d}" for n in (0, 1, 3)),
        f"{name}_0005_sync/0000000007",
    ]
    assert source.splits == {"train": (0, 1, 2, 3)}
    assert source.sensor.rings == 64
    assert source.taxonomy is None
    gap = source[2]
    assert gap.labels is None
    assert len(gap) == 20
    assert gap.views[0].image().shape == (make.HEIGHT, make.WIDTH, 3)
    assert len(pickle.dumps(source)) < 10_000


def test_a_date_alone_is_a_data_set(tmp_path):
    make_drive(tmp_path)
    assert len(open_source(f"kitti-raw:{tmp_path / DATE}")) == 3


def test_times_are_those_of_the_number(tmp_path):
    make_drive(tmp_path)
    frame = open_source(f"kitti-raw:{tmp_path}")[2]
    start = np.datetime64("2011-09-26T13:02:25.1000005").astype("datetime64[ns]").astype(int) / 1e9
    assert frame.timestamp == pytest.approx(start + 3, abs=1e-6)
    assert frame.views[0].timestamp == pytest.approx(start + 8, abs=1e-6)


def test_without_times_and_pictures(tmp_path):
    make_drive(tmp_path, images=(), times=False)
    (tmp_path / DATE / "calib_cam_to_cam.txt").unlink()  # nothing needs it
    frame = open_source(f"kitti-raw:{tmp_path}")[0]
    assert frame.timestamp is None
    assert frame.views == ()


def test_projection_is_that_of_the_documentation(tmp_path):
    make_drive(tmp_path, images=("02", "03"))
    frame = open_source(f"kitti-raw:{tmp_path}")[0]
    assert [view.name for view in frame.views] == ["image_02", "image_03"]
    for view, shift in zip(frame.views, (make.SHIFT, -make.SHIFT), strict=True):
        pixels, _ = project(frame.points, view)
        np.testing.assert_allclose(pixels, make.expected_pixels(frame.points.astype(float), shift), atol=1e-6)


def test_drives_option(tmp_path):
    for number in ("0001", "0005", "0009"):
        make_drive(tmp_path, number, frames=(0,))
    for wanted, expected in (("0009,0001", ["0001", "0009"]), (f"{DATE}_drive_0005_sync", ["0005"])):
        source = open_source(f"kitti-raw:{tmp_path}?drives={wanted}")
        assert [frame.token.split("_")[4] for frame in source] == expected
        assert source.spec == f"kitti-raw:{tmp_path}?drives={wanted}"
    with pytest.raises(InputError, match=r"no drive '0006' with scans; did you mean '000"):
        open_source(f"kitti-raw:{tmp_path}?drives=0006")
    with pytest.raises(InputError, match="has no option 'drive'; did you mean 'drives'"):
        open_source(f"kitti-raw:{tmp_path}?drive=0006")


def test_no_classes(tmp_path):
    make_drive(tmp_path)
    with pytest.raises(InputError, match="no labels of single scans, so no classes 'kitti-10'"):
        open_source(f"kitti-raw:{tmp_path}", classes="kitti-10")


# ---- damage


DAMAGE = {
    "no calib": ("calib_cam_to_cam.txt", None, "cannot be read .*images need this calibration"),
    "no lidar calib": ("calib_velo_to_cam.txt", None, "cannot be read"),
    "no P": ("calib_cam_to_cam.txt", {"P_rect_02": None}, "no line 'P_rect_02'"),
    "no R": ("calib_cam_to_cam.txt", {"R_rect_00": None}, "no line 'R_rect_00'"),
    "no size": ("calib_cam_to_cam.txt", {"S_rect_02": None}, "no line 'S_rect_02'"),
    "short": ("calib_cam_to_cam.txt", {"P_rect_02": "1 2 3"}, "'P_rect_02' has 3 numbers, expected 12"),
    "nan": ("calib_cam_to_cam.txt", {"P_rect_02": "700 0 600 nan 0 700 170 0 0 0 1 0"}, "holds NaN"),
    "word": ("calib_cam_to_cam.txt", {"S_rect_02": "wide high"}, "line 'S_rect_02': could not convert"),
    "no rotation": ("calib_cam_to_cam.txt", {"R_rect_00": "1 0 0 0 2 0 0 0 1"}, "R_rect_00: not a rigid transform"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_calibration(tmp_path, name):
    make_drive(tmp_path)
    file, changes, message = DAMAGE[name]
    path = tmp_path / DATE / file
    path.unlink() if changes is None else path.write_text(cam_to_cam(**changes))
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"kitti-raw:{tmp_path}")
    assert str(path) in str(caught.value)


def test_damaged_frames(tmp_path):
    drive = make_drive(tmp_path, frames=(0, 1, 2, 3, 4))
    data = drive / "velodyne_points/data"
    (data / "0000000000.bin").write_bytes(b"0" * 35)
    make.scan(data / "0000000001.bin", points=100).astype("<f8").tofile(data / "0000000001.bin")
    (data / "0000000002.bin").write_bytes(b"")
    (drive / "image_02/data/0000000003.png").write_bytes(b"PNG")
    make.image(drive / "image_02/data/0000000004.png", size=(30, 20))
    source = open_source(f"kitti-raw:{tmp_path}")
    for index, message in enumerate(("35 bytes, expected a multiple of 16", "values are float64", "the file is empty")):
        with pytest.raises(InputError, match=message) as caught:
            source[index]
        assert f"{index:010d}.bin" in str(caught.value)
    for index, message in ((3, "image cannot be read"), (4, "the image is 20 x 30, the calibration says 40 x 60")):
        with pytest.raises(InputError, match=message):
            source[index].views[0].image()
    (drive / "image_02/data/0000000004.png").unlink()
    assert source[4].views == ()


def test_times_shorter_than_frames(tmp_path, caplog):
    drive = make_drive(tmp_path)
    make.write_text(drive / "velodyne_points/timestamps.txt", "2011-09-26 13:02:25.1\n\n")
    with caplog.at_level(logging.WARNING):
        source = open_source(f"kitti-raw:{tmp_path}")
    assert "2 lines, but scans up to number 0000000003; 1 frames have no time" in caplog.text
    assert [frame.timestamp is None for frame in source] == [False, True, True]
    make.write_text(drive / "velodyne_points/timestamps.txt", "2011-09-26 13:02:25.1\nnoon\n")
    with pytest.raises(InputError, match=r"timestamps.txt: .*noon"):
        open_source(f"kitti-raw:{tmp_path}")


def test_nothing_there(tmp_path):
    drive = make_drive(tmp_path, "0002", frames=(0,))
    for scan in drive.glob("velodyne_points/data/*"):
        scan.unlink()
    with pytest.raises(InputError, match=r"no scan found, expected KITTI raw: .*found 2011_09_26"):
        open_source(f"kitti-raw:{tmp_path}")
    make_drive(tmp_path, "0001", frames=(0,))
    assert len(open_source(f"kitti-raw:{tmp_path}")) == 1  # the empty drive is no part of it


# ---- the real thing


def test_real_drive(real):
    source = open_source(f"kitti-raw:{real('kitti_raw')}")
    assert [frame.token[-3:] for frame in source] == ["000", "001", "002", "010"]
    assert source.splits == {"train": (0, 1, 2, 3)}
    for frame in source:
        (view,) = frame.views
        assert 113_000 < len(frame) < 115_000
        assert (view.height, view.width) == (375, 1242)
        assert view.image().shape == (375, 1242, 3)
        assert frame.timestamp is None
        assert 15_000 < len(pair(frame, view, occlusion=False)) < 17_000


def test_real_cars_are_where_the_picture_shows_them(real):
    """The car ahead: points 8 to 14 m away in its lane lie on it; looked at in an overlay."""
    frame = open_source(f"kitti-raw:{real('kitti_raw')}")[0]
    pairs = pair(frame, frame.views[0])
    points = frame.points[pairs.rows]
    ahead = (abs(points[:, 1]) < 0.8) & (points[:, 0] > 8) & (points[:, 0] < 14) & (points[:, 2] > -1.3)
    assert ahead.sum() > 300
    u, v = np.median(pairs.pixels[ahead], axis=0)
    assert 560 < u < 700
    assert 200 < v < 300
