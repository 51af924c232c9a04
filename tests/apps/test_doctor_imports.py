"""The doctor on what is not a rig folder yet, a ROS recording or ROS calibration files: from command to verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from lidistill.cli import main
from lidistill.datasets.source import open_source
from lidistill.sensing.rigid import invert

CAMERAS = ("front", "left", "back")
FRAMES = 6


@pytest.fixture(scope="module")
def rig(tiny_rig: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_rig(tmp_path_factory.mktemp("imports") / "rig", frames=FRAMES, cameras=3, height=144, width=288)


def record(rig: Path, path: Path, kind: str, turn: Callable[[np.ndarray], np.ndarray] = lambda pose: pose) -> Path:
    """The rig folder as a ROS recording; ``turn`` changes the pose of every camera (camera -> lidar)."""
    pytest.importorskip("rosbags")
    from bag_writer import START, Messages, encoded, write_bag

    ros = Messages(1 if kind == "ros1" else 2)
    layout = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")])
    source = open_source(str(rig))
    poses: list[tuple[str, str, Any, Any]] = []
    messages: list[tuple[str, int, Any]] = []
    for index in range(FRAMES):
        frame, time = source[index], START + index * 10**8
        rows = np.zeros(len(frame), layout)
        for axis, name in enumerate("xyz"):
            rows[name] = frame.points[:, axis]
        rows["intensity"], rows["ring"] = frame.intensity, frame.ring
        messages.append(("/points", time, ros.cloud(rows, time)))
        for view in frame.views:
            optical = f"{view.name}_optical"
            if index == 0:
                pose = turn(invert(view.from_lidar))
                poses.append(("velodyne", optical, pose[:3, 3], Rotation.from_matrix(pose[:3, :3]).as_quat()))
                size = (view.height, view.width)
                messages.append((f"/{view.name}/camera_info", time, ros.info(time, optical, view.intrinsics, size)))
            picture = encoded(view.image(), "png")
            topic = f"/{view.name}/image_raw/compressed"
            messages.append((topic, time, ros.compressed(picture, "png", time, optical)))
    return write_bag(path, kind, [("/tf_static", START, ros.transforms(poses)), *messages])


def transposed(pose: np.ndarray) -> np.ndarray:
    changed = pose.copy()
    changed[:3, :3] = pose[:3, :3].T
    return changed


@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_a_recording_is_imported_examined_and_healthy(
    rig: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "imported"
    assert main(["doctor", str(record(rig, tmp_path / "drive", kind)), "--rig", str(out), "--no-page"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name}: sees" in shown for name in CAMERAS)
    assert shown.rstrip().endswith("healthy")
    ours, theirs = open_source(str(rig)), open_source(str(out))
    assert len(theirs) == FRAMES
    for one, other in zip(ours[2].views, theirs[2].views, strict=True):
        assert np.array_equal(one.image(), other.image())
        assert np.allclose(one.from_lidar, other.from_lidar, atol=1e-6)
    assert np.array_equal(ours[2].points, theirs[2].points)
    assert np.array_equal(ours[2].ring, theirs[2].ring)


def test_a_recording_with_wrong_transforms_is_not_healthy(
    rig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = record(rig, tmp_path / "drive", "ros1", transposed)
    assert main(["doctor", str(bag), "--rig", str(tmp_path / "imported"), "--no-page"]) == 1
    assert "transpose" in capsys.readouterr().out


def test_ros_calibration_files_are_imported_and_examined(
    tiny_rig: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_rig(tmp_path / "rig", frames=FRAMES, cameras=3, height=144, width=288)
    content = yaml.safe_load((root / "rig.yaml").read_text())
    cameras = content.pop("cameras")
    (root / "rig.yaml").write_text(yaml.safe_dump(content))
    arguments, extrinsics = [], {}
    for name, camera in cameras.items():
        info = {
            "image_width": 288,
            "image_height": 144,
            "camera_name": name,
            "camera_matrix": {"rows": 3, "cols": 3, "data": np.ravel(camera["intrinsics"]).tolist()},
            "distortion_model": "plumb_bob",
            "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.0] * 5},
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(info))
        arguments += ["--camera-info", str(tmp_path / f"{name}.yaml")]
        extrinsics[name] = {"from_lidar": camera["from_lidar"]}
    (tmp_path / "extrinsics.yaml").write_text(yaml.safe_dump(extrinsics))
    arguments += ["--extrinsics", str(tmp_path / "extrinsics.yaml")]
    assert main(["doctor", str(root), *arguments, "--no-page"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("healthy")
    written = yaml.safe_load((root / "rig.yaml").read_text())["cameras"]
    assert set(written) == set(cameras)
    assert all(np.allclose(written[name]["from_lidar"], cameras[name]["from_lidar"]) for name in cameras)
