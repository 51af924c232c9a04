from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lidistill.datasets.semantic_kitti import read_calibration
from lidistill.datasets.source import open_source
from lidistill.datasets.statistics import intensity_statistics
from lidistill.errors import InputError
from lidistill.sensing.rigid import transform

CALIB = "P0: 1 2 3\nP2: 700 0 600 45 0 700 170 -0.3 0 0 1 0.005\nTr: 0 -1 0 0.1 0 0 -1 0.2 1 0 0 -0.3\n"


def make(root, frames=(("00", 0), ("08", 3), ("12", 1))):
    """A KITTI tree with tiny scans; labels except for the test sequence."""
    for sequence, number in frames:
        folder = root / sequence
        for part in ("velodyne", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "calib.txt").write_text(CALIB)
        rows = np.arange(20, dtype=np.float32).reshape(5, 4)
        rows.tofile(folder / f"velodyne/{number:06d}.bin")
        if sequence < "11":
            raw = np.array([10, 40 + (7 << 16), 252, 99, 4000], np.uint32)
            raw.tofile(folder / f"labels/{number:06d}.label")
    return root


@pytest.mark.parametrize("below", ["dataset/sequences", "sequences", "."])
def test_layouts_and_splits(tmp_path, below):
    make(tmp_path / below)
    source = open_source(f"semantic-kitti:{tmp_path}")
    splits = {name: frames for name, frames in source.splits.items() if not name.startswith("train-")}
    assert splits == {"train": (0,), "val": (1,), "test": (2,)}
    assert [frame.token for frame in source] == [
        f"semantic-kitti/{name}" for name in ("00/000000", "08/000003", "12/000001")
    ]
    assert source[0].labels.tolist() == [0, 8, 0, 255, 255]
    assert source[2].labels is None
    assert source[0].views == ()
    assert source[0].intensity.tolist() == [3, 7, 11, 15, 19]


def test_another_class_list(tmp_path):
    source = open_source(f"semantic-kitti:{make(tmp_path)}", classes="kitti-10")
    assert source[0].labels.tolist() == [0, 6, 0, 255, 255]
    with pytest.raises(InputError, match="no table for the raw ids of 'semantic-kitti'"):
        open_source(f"semantic-kitti:{tmp_path}", classes="nuscenes-16")


def test_calibration_folds_the_camera_offset_in(tmp_path):
    (tmp_path / "calib.txt").write_text(CALIB)
    found = read_calibration(tmp_path / "calib.txt")
    point = np.array([12.0, -3, 0.5, 1])
    p2 = np.array([[700, 0, 600, 45], [0, 700, 170, -0.3], [0, 0, 1, 0.005]])
    tr = np.array([[0, -1, 0, 0.1], [0, 0, -1, 0.2], [1, 0, 0, -0.3], [0, 0, 0, 1]])
    np.testing.assert_allclose(found.intrinsics @ (found.from_lidar @ point)[:3], p2 @ tr @ point, rtol=1e-12)


def some_poses(count):
    """Lines of poses.txt, and their matrices: camera 0 of a scan -> camera 0 of the first."""
    turns = Rotation.from_euler("yxz", np.arange(3 * count).reshape(count, 3) * [4, 0.5, -0.3], degrees=True)
    places = np.arange(count)[:, None] * [0.1, -0.02, 1.3]
    matrices = [np.column_stack([turn.as_matrix(), place]) for turn, place in zip(turns, places, strict=True)]
    return [" ".join(f"{value:.9e}" for value in matrix.ravel()) for matrix in matrices], matrices


def test_poses_go_through_the_camera(tmp_path):
    """A line belongs to a scan by its number: lidar, camera 0, camera 0 of the first scan, lidar of the first scan."""
    root = make(tmp_path, frames=(("00", 0), ("00", 2), ("00", 5), ("08", 0)))
    lines, matrices = some_poses(4)
    (root / "00/poses.txt").write_text("\n".join(lines) + "\n")
    frames = list(open_source(f"semantic-kitti:{tmp_path}"))
    assert [frame.pose.drive for frame in frames[:2]] == ["semantic-kitti/00"] * 2
    assert frames[2].pose is None  # beyond the last line
    assert frames[3].pose is None  # a sequence without poses.txt
    turn, shift = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.array([0.1, 0.2, -0.3])
    for frame, matrix in zip(frames[:2], (matrices[0], matrices[2]), strict=True):
        camera = frame.points @ turn.T + shift
        first = camera @ matrix[:, :3].T + matrix[:, 3]
        np.testing.assert_allclose(transform(frame.points, frame.pose.to_world), (first - shift) @ turn, atol=1e-5)


def test_poses_need_the_calibration_of_the_lidar(tmp_path):
    folder = make(tmp_path, frames=(("00", 0),)) / "00"
    (folder / "poses.txt").write_text(some_poses(1)[0][0])
    (folder / "calib.txt").unlink()
    assert open_source(f"semantic-kitti:{tmp_path}")[0].pose is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line.rsplit(" ", 1)[0], "line '2' has 11 numbers, expected 12"),
        (lambda line: "pose" + line, "line '2': could not convert string to float"),
        (lambda line: line.rsplit(" ", 1)[0] + " nan", "line '2' holds NaN or infinite values"),
        (lambda line: "2" + line[1:], "2: not a rigid transform"),
        (lambda line: "0 " * 12, "2: the rotation is singular"),
    ],
)
def test_damaged_poses_are_one_sentence(tmp_path, damage, message):
    """Lines are counted from 1, scans from 0: the second line is that of scan 1, and no other is trusted either."""
    path = make(tmp_path, frames=(("00", 0), ("08", 0))) / "00/poses.txt"
    lines, _ = some_poses(2)
    path.write_text(f"{lines[0]}\n{damage(lines[1])}\n")
    source = open_source(f"semantic-kitti:{tmp_path}")
    with pytest.raises(InputError, match=message) as caught:
        source[0]
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(source[1]) == 5


def test_nothing_there(tmp_path):
    for path, message in ((tmp_path / "absent", "does not exist"), (tmp_path, "no scan found, expected SemanticKITTI")):
        with pytest.raises(InputError, match=message):
            open_source(f"semantic-kitti:{path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, expected SemanticKITTI"):
        open_source(f"semantic-kitti:{tmp_path / 'file'}")


# ---- the real thing


@pytest.fixture(scope="module")
def kitti(real):
    return open_source(f"semantic-kitti:{real('semantickitti')}")


def test_real_counts(kitti, real):
    fractions = {"train-1": 1, "train-5": 2, "train-10": 3, "train-25": 6, "train-50": 12}
    assert {split: len(frames) for split, frames in kitti.splits.items()} == {"train": 24, "val": 3} | fractions
    assert [frame.token[-9:] for frame in kitti.split("val")] == ["08/000000", "08/000002", "08/000004"]
    for below in ("dataset", "dataset/sequences"):
        assert len(open_source(f"semantic-kitti:{real('semantickitti') / below}")) == 27
    assert len(pickle.dumps(kitti)) < 10_000


def test_real_frames(kitti, real):
    sizes = set()
    root = real("semantickitti") / "dataset/sequences"
    for frame in kitti:
        _, sequence, stem = frame.token.split("/")
        assert 100_000 < len(frame) < 130_000
        assert len(frame) == (root / sequence / "velodyne" / f"{stem}.bin").stat().st_size // 16
        assert frame.labels.max() == 255
        assert frame.labels[frame.labels < 255].max() < 19
        assert frame.sensor.name == "hdl-64e"
        (view,) = frame.views
        sizes.add((sequence, view.height, view.width))
    assert {(h, w) for s, h, w in sizes if s in ("00", "01", "02")} == {(376, 1241)}
    assert {(h, w) for s, h, w in sizes if s == "03"} == {(375, 1242)}
    assert {(h, w) for s, h, w in sizes if s >= "04"} == {(370, 1226)}
    assert view.image().shape == (370, 1226, 3)


def test_real_intensity_is_like_the_published_statistics(kitti):
    np.testing.assert_allclose(intensity_statistics(kitti, 5), kitti.sensor.intensity, atol=0.03)


def test_projection_equals_the_reference(parity, tmp_path):
    reference = np.load(parity("03_point_to_pixel/semantic_kitti.npz"))
    shutil.copy(parity("03_point_to_pixel/semantic_kitti_calib.txt"), tmp_path / "calib.txt")
    camera = read_calibration(tmp_path / "calib.txt")
    expected = reference["projection_3x4"]
    np.testing.assert_allclose(camera.intrinsics @ camera.from_lidar[:3], expected, rtol=1e-9, atol=1e-9)


def test_labels_equal_the_reference(kitti, parity):
    """The frame of the fixtures (sequence 00, number 3) is not among the 27; its class names and splits are."""
    published = json.loads(parity("06_label_maps/label_maps.json").read_text())["semantic_kitti_19"]
    assert list(kitti.taxonomy.classes) == published["class_names"]
    sequences = {frame: int(kitti.frames[frame][0]) for frame in range(len(kitti))}
    assert {sequences[frame] for frame in kitti.splits["train"]} <= set(published["splits"]["train"])
    assert {sequences[frame] for frame in kitti.splits["val"]} == set(published["splits"]["valid"])
