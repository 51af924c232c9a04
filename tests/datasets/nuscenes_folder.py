"""A small nuScenes folder in the original layout: a car drives past fixed landmarks that every scan sees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lidistill.sensing.rigid import from_quaternion, invert, transform

CHANNELS = (
    *("LIDAR_TOP", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"),
    "RADAR_FRONT",
)
HEIGHT, WIDTH = 36, 64
START = 1_532_402_927_000_000
KEY_STEP, SWEEP_STEP = 500_000, 50_000


@dataclass(frozen=True)
class Folder:
    """Where it lies and what is true: landmarks in the world per scene, world -> sensor per sample_data token."""

    root: Path
    version: str
    landmarks: dict[str, np.ndarray]
    from_world: dict[str, np.ndarray]
    tables: dict[str, list[dict]]

    def table(self, name: str) -> Path:
        return self.root / self.version / f"{name}.json"

    def write(self, name: str, rows: object) -> None:
        """In the form of the release: no indentation, one key a line."""
        self.table(name).write_text(json.dumps(rows, indent=0))

    def rows(self, channel: str, key: bool = True) -> list[dict]:
        """Rows of sample_data, by time."""
        rows = [r for r in self.tables["sample_data"] if f"/{channel}/" in r["filename"] and r["is_key_frame"] == key]
        return sorted(rows, key=lambda row: row["timestamp"])


def make_nuscenes(
    root: Path,
    scenes: tuple[str, ...] = ("scene-0061", "scene-0103"),
    version: str = "v1.0-mini",
    samples: int = 2,
    sweeps: int = 3,
    points: int = 50,
    seed: int = 0,
) -> Folder:
    """``samples`` key frames a scene and ``sweeps`` scans between two of them; the rows come in no order."""
    rng = np.random.default_rng(seed)
    made = Folder(root, version, {}, {}, {name: [] for name in TABLES})
    made.table("scene").parent.mkdir(parents=True)
    sensors = {channel: token(rng) for channel in CHANNELS}
    for channel, key in sensors.items():
        modality = {"L": "lidar", "C": "camera", "R": "radar"}[channel[0]]
        made.tables["sensor"].append({"token": key, "channel": channel, "modality": modality})
        for folder in ("samples", "sweeps"):
            (root / folder / channel).mkdir(parents=True)
    (root / "lidarseg" / version).mkdir(parents=True)
    for number, scene in enumerate(scenes):
        add_scene(made, scene, START + number * 60_000_000, sensors, samples, sweeps, points, rng)
    for name, rows in made.tables.items():
        made.write(name, [rows[i] for i in rng.permutation(len(rows))] if name in ("sample_data", "ego_pose") else rows)
    return made


TABLES = ("scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose")


def add_scene(made: Folder, scene: str, start: int, sensors, samples: int, sweeps: int, points: int, rng) -> None:
    tables = made.tables
    scene_token = token(rng)
    tables["scene"].append({"token": scene_token, "name": scene, "nbr_samples": samples})
    made.landmarks[scene] = np.array([400, 1100, 0.0]) + rng.uniform((-30, -30, -1), (30, 30, 4), (points, 3))
    mounts = {}
    for channel, sensor in sensors.items():
        rotation, translation = quaternion(rng), rng.uniform(-1, 2, 3).tolist()
        matrix = [[50.0, 0, WIDTH / 2], [0, 50.0, HEIGHT / 2], [0, 0, 1]] if channel[0] == "C" else []
        row = {"token": token(rng), "sensor_token": sensor, "translation": translation, "rotation": rotation}
        tables["calibrated_sensor"].append({**row, "camera_intrinsic": matrix})
        mounts[channel] = row
    for number in range(samples):
        time = start + number * KEY_STEP
        sample = {"token": token(rng), "timestamp": time, "scene_token": scene_token}
        tables["sample"].append(sample)
        for channel, mount in mounts.items():
            delay = 0 if channel == "LIDAR_TOP" else int(rng.integers(-40_000, 0))
            add_data(made, scene, channel, mount, sample, time + delay, True, rng)
            for step in range(1, (sweeps + 1) * (number < samples - 1)):
                add_data(made, scene, channel, mount, sample, time + delay + step * SWEEP_STEP, False, rng)


def add_data(made: Folder, scene: str, channel: str, mount: dict, sample: dict, time: int, key: bool, rng) -> None:
    suffix = {"L": "pcd.bin", "C": "jpg", "R": "pcd"}[channel[0]]
    name = f"{'samples' if key else 'sweeps'}/{channel}/n015-2018__{channel}__{time}.{suffix}"
    row = {"token": token(rng), "sample_token": sample["token"], "ego_pose_token": token(rng)}
    row |= {"calibrated_sensor_token": mount["token"], "timestamp": time, "fileformat": suffix[:3], "is_key_frame": key}
    size = (HEIGHT, WIDTH) if channel[0] == "C" else (0, 0)
    row |= {"height": size[0], "width": size[1], "filename": name, "prev": "", "next": ""}
    position = [400 + 8e-6 * (time - START) % 20, 1100 + rng.uniform(-2, 2), 0.1]
    pose = {"token": row["ego_pose_token"], "timestamp": time, "rotation": quaternion(rng), "translation": position}
    made.tables["sample_data"].append(row)
    made.tables["ego_pose"].append(pose)
    to_world = from_quaternion(pose["rotation"], position) @ from_quaternion(mount["rotation"], mount["translation"])
    made.from_world[row["token"]] = invert(to_world)
    if channel == "LIDAR_TOP":
        seen = transform(made.landmarks[scene], made.from_world[row["token"]])
        columns = np.column_stack([seen, np.arange(len(seen)) % 256, np.arange(len(seen)) % 32])
        columns.astype("<f4").tofile(made.root / name)
        if key:
            raw = (np.arange(len(seen)) % 32).astype(np.uint8)
            raw.tofile(made.root / "lidarseg" / made.version / f"{row['token']}_lidarseg.bin")
    elif channel[0] == "C" and key:
        Image.new("RGB", (WIDTH, HEIGHT), (200, 30, 30)).save(made.root / name)


def token(rng) -> str:
    return rng.bytes(16).hex()


def quaternion(rng) -> list[float]:
    values = rng.normal(size=4)
    return (values / np.linalg.norm(values)).tolist()
