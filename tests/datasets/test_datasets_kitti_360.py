from __future__ import annotations

import kitti_folders as make
import numpy as np
import pytest

from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import project

DRIVE = "2013_05_28_drive_{}_sync"


def perspective(**changes):
    lines = {"calib_time": "x", "R_rect_00": make.text(make.RECTIFY), "R_rect_01": make.text(np.eye(3))}
    for number, shift in (("00", np.zeros(3)), ("01", make.SHIFT)):
        lines[f"S_rect_{number}"] = f"{make.WIDTH} {make.HEIGHT}"
        lines[f"P_rect_{number}"] = make.text(make.projection(shift))
    return "".join(f"{key}: {line}\n" for key, line in (lines | changes).items() if line is not None)


def make_tree(root, drives=("0000", "0008"), frames=(1, 2, 5), images=("00", "01")):
    whole = np.eye(4)
    whole[:3] = make.pose()
    make.write_text(root / "calibration/perspective.txt", perspective())
    make.write_text(root / "calibration/calib_cam_to_velo.txt", make.text(np.linalg.inv(whole)[:3]) + "\n")
    stamps = "".join(f"2013-05-28 08:46:{n:02d}.5\n" for n in range(max(frames) + 1))
    for number in drives:
        drive = DRIVE.format(number)
        raw = root / "data_3d_raw" / drive / "velodyne_points"
        make.write_text(raw / "timestamps.txt", stamps)
        for frame in frames:
            make.scan(raw / f"data/{frame:010d}.bin", seed=frame)
            for camera in images:
                make.image(root / "data_2d_raw" / drive / f"image_{camera}/data_rect/{frame:010d}.png")
        for camera in images:
            make.write_text(root / "data_2d_raw" / drive / f"image_{camera}/timestamps.txt", stamps)
    return root


def test_frames_and_splits(tmp_path):
    source = open_source(f"kitti-360:{make_tree(tmp_path)}")
    assert source.splits == {"train": (0, 1, 2), "test": (3, 4, 5)}
    frame = source[4]
    assert frame.token == f"kitti-360/{DRIVE.format('0008')}/0000000002"
    assert frame.labels is None
    assert [view.name for view in frame.views] == ["image_00", "image_01"]
    moment = np.datetime64("2013-05-28T08:46:02.5").astype("datetime64[ms]").astype(int) / 1e3
    assert frame.timestamp == frame.views[1].timestamp == pytest.approx(moment, abs=1e-6)
    assert len(open_source(f"kitti-360:{tmp_path}?drives=0000")) == 3


def test_projection_is_that_of_the_documentation(tmp_path):
    frame = open_source(f"kitti-360:{make_tree(tmp_path)}")[0]
    for view, shift in zip(frame.views, (np.zeros(3), make.SHIFT), strict=True):
        pixels, _ = project(frame.points, view)
        np.testing.assert_allclose(pixels, make.expected_pixels(frame.points.astype(float), shift), atol=1e-6)


def test_partial_data(tmp_path):
    make_tree(tmp_path, drives=("0003",), images=("00",))
    (tmp_path / "data_2d_raw" / DRIVE.format("0003") / "image_00/data_rect/0000000002.png").unlink()
    (tmp_path / "data_2d_raw" / DRIVE.format("0003") / "image_02/data_rgb").mkdir(parents=True)  # fisheye: left out
    source = open_source(f"kitti-360:{tmp_path}")
    assert [[view.name for view in frame.views] for frame in source] == [["image_00"], [], ["image_00"]]
    assert source.splits == {"train": (0, 1, 2)}


DAMAGE = {
    "no perspective": ("perspective.txt", None, "cannot be read"),
    "no P": ("perspective.txt", perspective(P_rect_00=None), "no line 'P_rect_00'"),
    "no size": ("perspective.txt", perspective(S_rect_01=None), "no line 'S_rect_01'"),
    "nan": ("perspective.txt", perspective(R_rect_00="nan 0 0 0 1 0 0 0 1"), "'R_rect_00' holds NaN"),
    "no pose": ("calib_cam_to_velo.txt", None, "cannot be read"),
    "short pose": ("calib_cam_to_velo.txt", "1 0 0 0 0 1 0 0 0 0 1", "has 11 numbers, expected 12"),
    "empty pose": ("calib_cam_to_velo.txt", "", "has 0 numbers, expected 12"),
    "singular": ("calib_cam_to_velo.txt", " ".join(["0"] * 12), "singular"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_calibration(tmp_path, name):
    file, content, message = DAMAGE[name]
    path = make_tree(tmp_path) / "calibration" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"kitti-360:{tmp_path}")
    assert str(path) in str(caught.value)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=r"no scan found, expected KITTI-360: .*found nothing"):
        open_source(f"kitti-360:{tmp_path}")
    make_tree(tmp_path)
    with pytest.raises(InputError, match="no labels of single scans"):
        open_source(f"kitti-360:{tmp_path}", classes="kitti-10")
    with pytest.raises(InputError, match="no drive '0001' with scans"):
        open_source(f"kitti-360:{tmp_path}?drives=0000,0001")
