"""``poses.csv`` of a rig folder: written and read, for some scans only, damaged; the page's example runs."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from lidistill.datasets.rig_poses import read_poses, write_poses
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.frame import Pose
from lidistill.sensing.rigid import from_quaternion, transform

FIRST = "scan,drive,x,y,z,qx,qy,qz,qw\n"
PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/rig-folder.md").read_text()


def some_poses(count, drive="monday"):
    rng = np.random.default_rng(0)
    places = rng.normal(size=(count, 3)) * [5000, 5000, 10]
    return {f"{i:06d}": Pose(drive, from_quaternion(rng.normal(size=4), places[i].tolist())) for i in range(count)}


def test_written_poses_are_read_back(tmp_path):
    poses = some_poses(20)
    write_poses(tmp_path / "poses.csv", poses)
    found = read_poses(tmp_path / "poses.csv", list(poses), "rig")
    assert list(found) == list(poses)
    corners = np.random.default_rng(1).uniform(-100, 100, (8, 3))
    for stem, pose in poses.items():
        assert found[stem].drive == "rig/monday"
        there, expected = transform(corners, found[stem].to_world), transform(corners, pose.to_world)
        np.testing.assert_allclose(there, expected, atol=2e-6)


def test_columns_are_the_place_and_then_the_turn_with_w_last(tmp_path):
    """A quarter turn to the left at (1, 2, 3), the quaternion twice as long: what lies ahead lies at +y."""
    (tmp_path / "poses.csv").write_text(f"{FIRST} a , tuesday ,1,2,3,0,0,1.5,1.5\n\n")
    (pose,) = read_poses(tmp_path / "poses.csv", ["a"], "rig").values()
    assert pose.drive == "rig/tuesday"
    np.testing.assert_allclose(transform(np.array([[10.0, 0, 0], [0, 0, 1]]), pose.to_world), [[1, 12, 3], [1, 2, 4]])


def test_frames_of_a_rig_folder_have_them(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path / "rig", images=False)
    assert [frame.pose for frame in open_source(str(rig))] == [None] * 3
    poses = some_poses(3)
    write_poses(rig / "poses.csv", poses)
    source = pickle.loads(pickle.dumps(open_source(str(rig))))
    for frame, pose in zip(source, poses.values(), strict=True):
        assert frame.pose.drive == "rig/monday"
        np.testing.assert_allclose(frame.pose.to_world, pose.to_world, atol=1e-6)
    np.testing.assert_array_equal(source.split("val")[0].pose.to_world, source[2].pose.to_world)


def test_scans_without_a_row_and_rows_without_a_scan(tmp_path, tiny_rig):
    """Of a trajectory that knows other scans, those that are here take theirs."""
    rig = tiny_rig(tmp_path / "rig", images=False)
    poses = some_poses(5)
    write_poses(rig / "poses.csv", {stem: poses[stem] for stem in ("000004", "000002", "000000")})
    source = open_source(str(rig))
    assert [frame.pose is None for frame in source] == [False, True, False]
    np.testing.assert_allclose(source[2].pose.to_world, poses["000002"].to_world, atol=1e-6)
    assert set(source.poses) == {"000000", "000002"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected a first row scan,drive,x,y,z,qx,qy,qz,qw, found nothing"),
        ("scan,drive,x,y,z,qw,qx,qy,qz\n", "expected a first row .*, found scan,drive,x,y,z,qw,qx,qy,qz"),
        (FIRST + "000000,a,0,0,0,0,0,1\n", "line 2: 8 cells, expected 9 as in the first row"),
        (FIRST + "000000,a,0,0,0,0,0,0,1\n\n000000,b,0,0,0,0,0,0,1\n", "line 4: scan '000000' has two rows; keep one"),
        (FIRST + "gone,a,0,0,0,0,0,0,1\n" * 2, "line 3: scan 'gone' has two rows"),
        (FIRST + "000000,a,0,here,0,0,0,0,1\n", "line 2: could not convert string to float: 'here'; expected metres"),
        (FIRST + "000000,a,0,0,,0,0,0,1\n", "line 2: could not convert string to float: ''; expected metres"),
        (FIRST + "000000,a,0,nan,0,0,0,0,1\n", r"line 2: the place \(0.0, nan, 0.0\) is not finite; expected metres"),
        (FIRST + "000000,a,0,0,0,0,0,0,0\n", "line 2: quaternion .* is not a rotation"),
        (FIRST + "gone,a,0,0,0,0,0,inf,1\n", "line 2: quaternion .* is not a rotation"),
        (None, r"cannot be read \(Is a directory\)"),
    ],
)
def test_damaged_poses(tmp_path, tiny_rig, text, match):
    rig = tiny_rig(tmp_path / "rig", frames=1, images=False)
    if text is None:
        (rig / "poses.csv").mkdir()
    else:
        (rig / "poses.csv").write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        open_source(str(rig))
    assert str(rig / "poses.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["KITTI", "TUM"])
def test_the_trajectories_of_the_page_become_poses(tmp_path, tiny_rig, monkeypatch, kind):
    """Its code as written: a KITTI file has a line a scan, a TUM file more, in time, and none near the last scan."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"# {kind}" in block)
    monkeypatch.chdir(tmp_path)
    rig = tiny_rig(tmp_path / "my_rig", images=False)
    (rig / "times.csv").write_text("scan,time\n000000,100.0\n000001,100.1\n000002,109\n")
    drive = [from_quaternion((0.8, 0, 0, 0.6), (step, -2 * step, 0.5)) for step in range(6)]
    if kind == "KITTI":
        expected, lines = drive[:3], [" ".join(map(str, matrix[:3].ravel())) for matrix in drive[:3]]
    else:
        expected = [drive[0], drive[2], None]
        lines = [f"{100.004 + 0.05 * step} {step} {-2 * step} 0.5 0 0 0.6 0.8" for step in range(6)]
    Path("trajectory.txt").write_text("\n".join(lines) + "\n")
    exec(code, {})
    for frame, matrix in zip(open_source("my_rig"), expected, strict=True):
        if matrix is None:
            assert frame.pose is None
            continue
        assert frame.pose.drive == "my_rig/monday"
        np.testing.assert_allclose(frame.pose.to_world, matrix, atol=1e-6)
