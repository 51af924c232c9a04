"""A tiny PandaSet in the layout of the data set; pickles as old pandas wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pickle_writer import write_table
from PIL import Image
from scipy.spatial.transform import Rotation

SIZE = (60, 40)
INTRINSICS = {"fx": 30.0, "fy": 31.0, "cx": 29.5, "cy": 20.5}
AXES = Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From a front camera's axes (x right, y down, z ahead) to the lidar's (x right, y ahead, z up)."""
NORTH, SOUTH = 37.77, 37.41


def lidar_pose(frame: int) -> tuple[Rotation, np.ndarray]:
    return Rotation.from_euler("ZYX", [-43 + frame, 1, 2], degrees=True), np.array([7.0 * frame, -3, 0.5])


def camera_pose(frame: int) -> tuple[Rotation, np.ndarray]:
    """A camera 0.5 m before the lidar, a little turned, half a metre of drive earlier."""
    turn, place = lidar_pose(frame)
    return turn * Rotation.from_euler("Z", 3, degrees=True) * AXES, place + turn.apply([0.1, 0.0, 1.8])


def pose_entry(turn: Rotation, place: np.ndarray) -> dict:
    x, y, z, w = turn.as_quat().tolist()
    return {"position": dict(zip("xyz", place.tolist(), strict=True)), "heading": {"w": w, "x": x, "y": y, "z": z}}


def sweep(frame: int, points: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of one sweep in the world: the points lie ahead of the lidar; two thirds are of the Pandar64."""
    rng = np.random.default_rng((seed, frame))
    local = rng.uniform((-8, 4, -1), (8, 40, 6), (points, 3))
    turn, place = lidar_pose(frame)
    x, y, z = (turn.apply(local) + place).T
    time = 1557539924.5 + 0.1 * frame + np.linspace(-0.1, 0.05, points)
    return {
        "x": x,
        "y": y,
        "z": z,
        "i": rng.integers(0, 256, points) * 1.0,
        "t": time,
        "d": (np.arange(points) % 3) // 2,
    }


def classes(frame: int, points: int = 60) -> np.ndarray:
    return np.random.default_rng(frame).integers(0, 43, points)


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_sequence(
    root: Path, name: str = "001", frames=range(3), *, latitude: float = NORTH, labelled=True, cameras=("front_camera",)
) -> Path:
    """``labelled``: whether frames have labels, or which; lists of poses cover all numbers up to the last."""
    sequence, numbers = root / name, range(max(frames) + 1)
    times = [1557539924.5 + 0.1 * n for n in numbers]
    for frame in frames:
        write_table(sequence / f"lidar/{frame:02d}.pkl.gz", **sweep(frame))
        if labelled is True or (labelled and frame in labelled):
            write_table(sequence / f"annotations/semseg/{frame:02d}.pkl.gz", **{"class": classes(frame)})
        for camera in cameras:
            path = sequence / "camera" / camera / f"{frame:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE, (10, 200, 30)).save(path)
    write_json(sequence / "lidar/poses.json", [pose_entry(*lidar_pose(n)) for n in numbers])
    write_json(sequence / "lidar/timestamps.json", times)
    write_json(sequence / "meta/gps.json", [{"lat": latitude + n, "long": -122.4, "height": 3.0} for n in numbers])
    for camera in cameras:
        folder = sequence / "camera" / camera
        write_json(folder / "poses.json", [pose_entry(*camera_pose(n)) for n in numbers])
        write_json(folder / "intrinsics.json", INTRINSICS)
        write_json(folder / "timestamps.json", [time - 0.05 for time in times])
    return sequence


def expected_pixels(frame: int, device: int) -> np.ndarray:
    """From the world straight into the camera."""
    columns = sweep(frame)
    world = np.stack([columns[axis] for axis in "xyz"], axis=1)[columns["d"] == device]
    turn, place = camera_pose(frame)
    x, y, z = turn.inv().apply(world - place).T
    k = INTRINSICS
    return np.stack([k["fx"] * x / z + k["cx"], k["fy"] * y / z + k["cy"]], axis=1)
