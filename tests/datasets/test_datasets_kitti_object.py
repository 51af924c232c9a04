from __future__ import annotations

import pickle

import kitti_folders as make
import numpy as np
import pytest

from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.cameras import project
from lidistill.sensing.pairing import pair


def calib(**changes):
    """``calib/NNNNNN.txt``; None leaves a line out."""
    lines = {
        "P0": make.text(make.projection(np.zeros(3))),
        "P2": make.text(make.projection()),
        "R0_rect": make.text(make.RECTIFY),
        "Tr_velo_to_cam": make.text(make.pose()),
        "Tr_imu_to_velo": make.text(make.pose()),
    }
    return "".join(f"{key}: {line}\n" for key, line in (lines | changes).items() if line is not None) + "\n"


def make_part(root, part="training", numbers=(0, 1, 4), images=True):
    for number in numbers:
        make.scan(root / part / f"velodyne/{number:06d}.bin", seed=number)
        if images:
            make.image(root / part / f"image_2/{number:06d}.png")
            make.write_text(root / part / f"calib/{number:06d}.txt", calib())
    return root


def test_parts_are_splits(tmp_path):
    make_part(tmp_path)
    make_part(tmp_path, "testing", (0, 2))
    source = open_source(f"kitti-object:{tmp_path}")
    assert source.splits == {"train": (0, 1, 2), "test": (3, 4)}
    assert [frame.token for frame in source] == [
        *(f"kitti-object/training/{n:06d}" for n in (0, 1, 4)),
        *(f"kitti-object/testing/{n:06d}" for n in (0, 2)),
    ]
    assert source[0].labels is None
    assert source.taxonomy is None
    assert len(pickle.dumps(source)) < 10_000


def test_the_parent_folder_and_training_alone(tmp_path):
    make_part(tmp_path / "object")
    source = open_source(f"kitti-object:{tmp_path}")
    assert source.splits == {"train": (0, 1, 2)}
    with pytest.raises(InputError, match=r"no split 'val'; there are: train \(3 frames\)"):
        source.split("val")


def test_lists_are_splits(tmp_path):
    make_part(make_part(tmp_path), "testing", (0,))
    lists = tmp_path / "ImageSets"
    make.write_text(lists / "val.txt", "000004\n000077\n")  # 77 is not here
    assert open_source(f"kitti-object:{tmp_path}").splits == {"train": (0, 1), "val": (2,), "test": (3,)}
    make.write_text(lists / "train.txt", "000001\n")
    make.write_text(lists / "test.txt", "000000\n")
    assert open_source(f"kitti-object:{tmp_path}").splits == {"train": (1,), "val": (2,), "test": (3,)}
    make.write_text(lists / "train.txt", "000001\nx.png\n")
    with pytest.raises(InputError, match=r"train.txt: 'x.png' is no frame number"):
        open_source(f"kitti-object:{tmp_path}")


def test_projection_is_that_of_the_documentation(tmp_path):
    frame = open_source(f"kitti-object:{make_part(tmp_path)}")[1]
    (view,) = frame.views
    pixels, _ = project(frame.points, view)
    np.testing.assert_allclose(pixels, make.expected_pixels(frame.points.astype(float)), atol=1e-6)
    assert view.name == "image_2"
    assert view.image().shape == (make.HEIGHT, make.WIDTH, 3)


def test_no_pictures_need_no_calibration(tmp_path):
    frame = open_source(f"kitti-object:{make_part(tmp_path, images=False)}")[0]
    assert frame.views == ()
    assert len(frame) == 20


DAMAGE = {
    "no calib": (None, "cannot be read"),
    "no P2": ({"P2": None}, "no line 'P2'; found P0, R0_rect"),
    "no R0": ({"R0_rect": None}, "no line 'R0_rect'"),
    "no Tr": ({"Tr_velo_to_cam": None}, "no line 'Tr_velo_to_cam'"),
    "short": ({"R0_rect": "1 0 0"}, r"'R0_rect' has 3 numbers, expected 9 \(3 rows of 3\)"),
    "nan": ({"Tr_velo_to_cam": " ".join(["nan"] * 12)}, "'Tr_velo_to_cam' holds NaN"),
    "mirror": ({"R0_rect": "-1 0 0 0 1 0 0 0 1"}, "R0_rect: the rotation mirrors"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_calibration_is_one_bad_frame(tmp_path, name):
    changes, message = DAMAGE[name]
    source = open_source(f"kitti-object:{make_part(tmp_path)}")
    path = tmp_path / "training/calib/000001.txt"
    path.unlink() if changes is None else path.write_text(calib(**changes))
    with pytest.raises(InputError, match=message) as caught:
        source[1]
    assert str(path) in str(caught.value)
    assert len(source[0].views) == 1


def test_damaged_files(tmp_path):
    source = open_source(f"kitti-object:{make_part(tmp_path)}")
    part = tmp_path / "training"
    (part / "velodyne/000000.bin").write_bytes(b"0" * 30)
    make.scan(part / "velodyne/000001.bin", 100).astype("<f8").tofile(part / "velodyne/000001.bin")
    (part / "image_2/000004.png").write_bytes(b"PNG")
    for index, message in enumerate(("30 bytes, expected a multiple of 16", "values are float64", "image cannot be")):
        with pytest.raises(InputError, match=message):
            source[index]
    (part / "image_2/000004.png").unlink()
    assert source[2].views == ()
    (part / "velodyne/000004.bin").unlink()
    with pytest.raises(InputError, match=r"000004.bin: cannot be read \(No such file"):
        source[2]


def test_nothing_there(tmp_path):
    (tmp_path / "training/velodyne").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no scan found, expected KITTI object: .*found training"):
        open_source(f"kitti-object:{tmp_path}")
    with pytest.raises(InputError, match="no point labels, so no classes 'kitti-10'"):
        open_source(f"kitti-object:{tmp_path}", classes="kitti-10")


def test_real_frames(real):
    source = open_source(f"kitti-object:{real('kitti_object')}")
    assert source.splits == {"train": (0, 1)}
    frames = list(source)
    assert [len(frame) for frame in frames] == [115_384, 120_268]
    assert [(view.height, view.width) for frame in frames for view in frame.views] == [(370, 1224), (375, 1242)]
    assert all((frame.points[:, 0] < -5).sum() > 20_000 for frame in frames)  # the whole turn
    assert [len(pair(frame, frame.views[0], occlusion=False)) for frame in frames] == [20_222, 18_579]


def test_real_person_is_inside_the_annotated_box(real):
    """Frame 000000 has one pedestrian: the points that project into the 2D box and are as near lie on the 3D box."""
    root = real("kitti_object")
    words = (root / "training/label_2/000000.txt").read_text().split()
    assert words[0] == "Pedestrian"
    left, top, right, bottom = map(float, words[4:8])
    x, y, z = map(float, words[11:14])  # bottom centre, camera coordinates
    frame = open_source(f"kitti-object:{root}")[0]
    pairs = pair(frame, frame.views[0], occlusion=False)
    near = abs(pairs.depth - z) < 0.5
    inside = (pairs.pixels > (left, top)).all(1) & (pairs.pixels < (right, bottom)).all(1) & near
    assert inside.sum() > 300
    points = frame.points[pairs.rows[inside]]
    centre = np.median(points, axis=0)
    np.testing.assert_allclose(centre[:2], (z, -x), atol=0.6)  # the lidar looks along the camera's axis
    assert -y - 1.0 < centre[2] < -y + 2.0
