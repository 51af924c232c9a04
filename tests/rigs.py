"""A tiny rig folder for tests: boxes on a plane, ray-cast for the lidar and for every camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

LIDAR_HEIGHT = 1.8
CAMERA_IN_LIDAR = np.array([0.3, 0.0, -0.2])
# centre x, y, bottom z above ground, size x, y, z, raw label of taxonomy city-16
STREET = [
    (0, 11, 0, 90, 4, 9, 10),
    (0, -11, 0, 90, 4, 8, 10),
    (50, 0, 0, 4, 26, 10, 10),
    (-50, 0, 0, 4, 26, 10, 10),
    (12, 4.5, 0, 0.6, 0.6, 1.8, 31),
    (20, -5, 0, 0.4, 0.4, 3, 20),
    (20, -5, 3, 3, 3, 3, 18),
]
COLORS = {0: (150, 190, 240), 1: (80, 80, 85), 6: (160, 150, 150), 10: (150, 90, 60), 18: (30, 120, 40)}
COLORS |= {20: (90, 60, 30), 21: (200, 30, 30), 31: (240, 200, 60)}


def cast(origin: np.ndarray, rays: np.ndarray, boxes: list[tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Distance (R,) and raw label (R,) of what the unit ``rays`` (R, 3) hit first; infinity and 0 for the sky."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(rays[:, 2] < 0, (-LIDAR_HEIGHT - origin[2]) / rays[:, 2], np.inf)
        across = origin[1] + distance * rays[:, 1]
        label = np.where(np.isinf(distance), 0, np.where(np.abs(across) < 4, 1, 6))
        for x, y, bottom, length, width, height, raw in boxes:
            center = np.array([x, y, bottom + height / 2 - LIDAR_HEIGHT])
            half = np.array([length, width, height]) / 2
            near, far = (center - half - origin) / rays, (center + half - origin) / rays
            enter, leave = np.minimum(near, far).max(1), np.maximum(near, far).min(1)
            hit = (enter < leave) & (enter > 0) & (enter < distance)
            distance, label = np.where(hit, enter, distance), np.where(hit, raw, label)
    return distance, label


def make_tiny_rig(
    folder: Path,
    frames: int = 3,
    cameras: int = 1,
    *,
    labels: bool = True,
    images: bool = True,
    masks: bool = False,
    splits: bool = True,
    height: int = 96,
    width: int = 192,
    seed: int = 0,
) -> Path:
    """Write a rig folder of about 2000 points a frame (16 rings) whose last frame is the ``val`` split.

    ``masks``: also the raw label of every pixel, 0 = sky.
    """
    rng = np.random.default_rng(seed)
    for name in ("scans", *(["labels"] if labels else []), *(["images"] if images else [])):
        (folder / name).mkdir(parents=True, exist_ok=True)
    intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1.0]])
    names = ["front", "left", "back", "right", *(f"extra{i}" for i in range(4, cameras))][:cameras]
    poses = {name: camera_pose(2 * np.pi * i / cameras) for i, name in enumerate(names)}
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(-25, 8, 16)), np.linspace(-np.pi, np.pi, 128, endpoint=False), indexing="ij"
    )
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    ).reshape(-1, 3)
    ring = np.repeat(np.arange(16), 128)
    for frame in range(frames):
        boxes = [*STREET, (8 + 2.5 * frame, -1.5, 0.2, 4, 1.8, 1.5, 21), (-10, 2, 0.2, 4.2, 1.8, 1.4, 21)]
        distance, label = cast(np.zeros(3), rays, boxes)
        seen = np.isfinite(distance)
        points = rays[seen] * (distance[seen] + rng.normal(0, 0.01, seen.sum()))[:, None]
        intensity = label[seen] * 3 + rng.normal(0, 0.3, seen.sum())
        columns = np.column_stack([points, intensity, ring[seen]]).astype(np.float32)
        stem = f"{frame:06d}"
        columns.tofile(folder / "scans" / f"{stem}.bin")
        if labels:
            label[seen].astype(np.uint32).tofile(folder / "labels" / f"{stem}.label")
        for name, pose in poses.items() if images else ():
            (folder / "images" / name).mkdir(exist_ok=True)
            picture, seen = paint(pose, intrinsics, height, width, boxes)
            Image.fromarray(picture).save(folder / "images" / name / f"{stem}.png")
            if masks:
                (folder / "masks" / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(seen).save(folder / "masks" / name / f"{stem}.png")
    rig = {
        "lidar": {"name": "tiny-16", "rate": 10, "rings": 16, "fov": [-25.0, 8.0], "intensity": [30.0, 20.0]},
        "cameras": {
            name: {
                "height": height,
                "width": width,
                "intrinsics": intrinsics.tolist(),
                "from_lidar": pose.tolist(),
            }
            for name, pose in poses.items()
        },
    }
    rig["lidar"] |= {"max_range": 100, "forward": "+x", "columns": 5}
    if labels:
        rig["classes"] = "city-16"
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    if splits:
        stems = [f"{frame:06d}" for frame in range(frames)]
        (folder / "splits.yaml").write_text(yaml.safe_dump({"train": stems[:-1], "val": stems[-1:]}))
    return folder


def camera_pose(yaw: float) -> np.ndarray:
    """(4, 4) lidar -> camera of a camera that looks along ``yaw`` (radians, counter-clockwise from +x)."""
    forward = np.array([np.cos(yaw), np.sin(yaw), 0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, [0, 0, -1], forward])
    pose[:3, 3] = -pose[:3, :3] @ CAMERA_IN_LIDAR
    return pose


def paint(
    pose: np.ndarray, intrinsics: np.ndarray, height: int, width: int, boxes: list
) -> tuple[np.ndarray, np.ndarray]:
    """(height, width, 3) uint8: the colour of what each pixel sees, darker with distance; (height, width) raw label."""
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T @ pose[:3, :3]
    distance, label = cast(CAMERA_IN_LIDAR, rays / np.linalg.norm(rays, axis=1, keepdims=True), boxes)
    palette = np.zeros((64, 3))
    palette[list(COLORS)] = list(COLORS.values())
    shade = np.where(np.isfinite(distance), 1 - np.minimum(distance, 80) / 160, 1)
    picture = (palette[label] * shade[:, None]).astype(np.uint8)
    return picture.reshape(height, width, 3), label.astype(np.uint8).reshape(height, width)
