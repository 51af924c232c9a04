"""A tiny Waymo v2 segment in the schema of the data set: range images of a wall of spheres, two pictures, labels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.spatial.transform import Rotation

ROWS, COLUMNS = 8, 36
HEIGHT, WIDTH = 40, 60
SEGMENT = "10023947602400723454_1120_000_1140_000"
START, STEP = 1_552_440_195_362_591, 100_000
INCLINATIONS = np.radians([-17.0, -11, -7, -4, -2, -0.5, 1, 2.4])
"""From the lowest up, as in the calibration."""
F_U, F_V, C_U, C_V = 30.0, 31.0, 29.5, 20.5
LENS = (0.05, -0.03, 0.001, -0.002, 0.01)

TIMES = {"key.segment_context_name": pa.string(), "key.frame_timestamp_micros": pa.int64()}
TRANSFORM = pa.list_(pa.float64(), 16)


def matrix(rotation: Rotation, translation) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation.as_matrix(), translation
    return result


MOUNT = matrix(Rotation.from_euler("ZYX", [148, 0.8, -1.2], degrees=True), (1.43, 0.02, 2.18))
"""The roof lidar in the vehicle: yawed as Waymo's are, and a little tilted."""
CAMERA = matrix(Rotation.from_euler("ZYX", [3, -2, 1], degrees=True), (1.54, -0.02, 2.11))
"""The front camera in the vehicle: x ahead, y left, z up."""


def vehicle_pose(seconds: float) -> np.ndarray:
    """Pose in the world of a vehicle that drives a bend at 12 m/s, uphill."""
    turn = Rotation.from_euler("ZYX", [40 + 20 * seconds, -3 + seconds, 1], degrees=True)
    return matrix(turn, (1200 + 12 * seconds, -3400 + 2 * seconds, 33 + 0.5 * seconds))


def pixel_seconds() -> np.ndarray:
    """(COLUMNS,) when each column was taken, from the time of the frame."""
    return np.linspace(-0.05, 0.05, COLUMNS)


def scan(frame: int, seed: int) -> np.ndarray:
    """(ROWS, COLUMNS, 4): range, intensity (some far beyond 1), elongation, zone; a tenth has no return."""
    rng = np.random.default_rng((frame, seed))
    image = np.stack(
        [
            rng.uniform(3, 70, (ROWS, COLUMNS)),
            rng.exponential(0.6, (ROWS, COLUMNS)),
            rng.uniform(0, 1, (ROWS, COLUMNS)),
            np.full((ROWS, COLUMNS), -1.0),
        ],
        axis=2,
    ).astype(np.float32)
    image[rng.random((ROWS, COLUMNS)) < 0.1 * (1 + 4 * (seed == 2)), 0] = 0 if frame else -1
    return image


def labels(frame: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng((frame, seed, 7))
    return np.stack([rng.integers(0, 500, (ROWS, COLUMNS)), rng.integers(0, 23, (ROWS, COLUMNS))], axis=2)


def expected_points(frame: int, seed: int, *, motion: bool = True) -> np.ndarray:
    """Points in the vehicle's frame, ray by ray: turn a ray along x up and around, then from frame to frame."""
    image, now = scan(frame, seed), START + frame * STEP
    yaw = np.arctan2(MOUNT[1, 0], MOUNT[0, 0])
    points = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            distance = float(image[row, column, 0])
            if distance <= 0:
                continue
            azimuth = np.pi - (column + 0.5) * 2 * np.pi / COLUMNS - yaw
            ray = Rotation.from_euler("ZY", [azimuth, -INCLINATIONS[ROWS - 1 - row]]).apply([distance, 0, 0])
            point = MOUNT @ [*ray, 1]
            if motion:
                seconds = (now - START) / 1e6
                then = vehicle_pose(seconds + pixel_seconds()[column])
                point = np.linalg.solve(vehicle_pose(seconds), then @ point)
            points.append(point[:3])
    return np.array(points)


def jpeg(frame: int, size=(WIDTH, HEIGHT)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (40 * frame, 200, 30)).save(file, "JPEG")
    return file.getvalue()


def write(root: Path, component: str, rows: list[dict], types: dict, *, group: int = 3, **changes) -> Path:
    """One component; ``changes`` of columns: a new type, or None to leave it out."""
    path = root / component / f"{rows[0]['key.segment_context_name'] if rows else SEGMENT}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = {name: changes.get(name, kind) for name, kind in types.items()}
    schema = pa.schema([(name, kind) for name, kind in schema.items() if kind is not None])
    table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
    pq.write_table(table, path, row_group_size=group, compression="brotli")
    return path


def key(frame: int, segment: str, **sensor: int) -> dict:
    names = {f"key.{name}": number for name, number in sensor.items()}
    return {"key.segment_context_name": segment, "key.frame_timestamp_micros": START + frame * STEP, **names}


def range_rows(kind: str, rows: list[tuple[dict, dict[int, np.ndarray]]], number: pa.DataType):
    """Rows and types of a component of range images."""
    types = {**TIMES, "key.laser_name": pa.int8()}
    for n in (1, 2):
        types[f"[{kind}].range_image_return{n}.values"] = pa.list_(number)
        types[f"[{kind}].range_image_return{n}.shape"] = pa.list_(pa.int32(), 3)
    written = []
    for keys, images in rows:
        row = dict(keys)
        for n, image in images.items():
            row[f"[{kind}].range_image_return{n}.values"] = image.ravel().tolist()
            row[f"[{kind}].range_image_return{n}.shape"] = list(image.shape)
        written.append(row)
    return written, types


def make_segment(
    root: Path, segment: str = SEGMENT, frames: int = 3, labelled=(1,), *, motion: bool = True, images: bool = True
) -> None:
    """A segment in ``root`` (``.../training``), its rows in no order, with a short-range lidar between them."""
    order = np.random.default_rng(0).permutation(frames).tolist()
    other = {1: np.full((4, 5, 4), 9, np.float32)}
    scans = [
        pair
        for frame in order
        for pair in (
            (key(frame, segment, laser_name=3), other),
            (key(frame, segment, laser_name=1), {n: scan(frame, n) for n in (1, 2)}),
        )
    ]
    write(root, "lidar", *range_rows("LiDARComponent", scans, pa.float32()))
    marks = [(key(f, segment, laser_name=1), {n: labels(f, n) for n in (1, 2)}) for f in labelled]
    if marks:
        write(root, "lidar_segmentation", *range_rows("LiDARSegmentationLabelComponent", marks, pa.int32()))
    if motion:
        poses = [(key(frame, segment, laser_name=1), {1: pixel_poses(frame)}) for frame in reversed(order)]
        write(root, "lidar_pose", *range_rows("LiDARPoseComponent", poses, pa.float32()))
    write_calibration(root, segment)
    pose = "[VehiclePoseComponent].world_from_vehicle.transform"
    rows = [key(frame, segment) | {pose: vehicle_pose(frame * STEP / 1e6).ravel().tolist()} for frame in order]
    write(root, "vehicle_pose", rows, {**TIMES, pose: TRANSFORM})
    if images:
        write_images(root, segment, order)


def pixel_poses(frame: int) -> np.ndarray:
    """(ROWS, COLUMNS, 6): roll, pitch, yaw, x, y, z."""
    poses = [vehicle_pose(frame * STEP / 1e6 + seconds) for seconds in pixel_seconds()]
    rows = [[*Rotation.from_matrix(p[:3, :3]).as_euler("ZYX")[::-1], *p[:3, 3]] for p in poses]
    return np.broadcast_to(np.array(rows), (ROWS, COLUMNS, 6))


def write_calibration(root: Path, segment: str = SEGMENT, *, even: bool = False, **changes) -> None:
    prefix = "[LiDARCalibrationComponent]."
    types = {
        "key.segment_context_name": pa.string(),
        "key.laser_name": pa.int8(),
        f"{prefix}extrinsic.transform": TRANSFORM,
        f"{prefix}beam_inclination.min": pa.float64(),
        f"{prefix}beam_inclination.max": pa.float64(),
        f"{prefix}beam_inclination.values": pa.list_(pa.float64()),
    }
    rows = [
        {
            "key.segment_context_name": segment,
            "key.laser_name": laser,
            f"{prefix}extrinsic.transform": (MOUNT if laser == 1 else np.eye(4)).ravel().tolist(),
            f"{prefix}beam_inclination.min": -0.3,
            f"{prefix}beam_inclination.max": 0.1,
            f"{prefix}beam_inclination.values": INCLINATIONS.tolist() if laser == 1 and not even else None,
        }
        for laser in (2, 1)
    ]
    write(root, "lidar_calibration", rows, types, **changes)
    prefix = "[CameraCalibrationComponent]."
    names = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    types = {"key.segment_context_name": pa.string(), "key.camera_name": pa.int8()}
    types |= {f"{prefix}intrinsic.{name}": pa.float64() for name in names}
    types |= {f"{prefix}extrinsic.transform": TRANSFORM, f"{prefix}width": pa.int32(), f"{prefix}height": pa.int32()}
    row = {
        "key.segment_context_name": segment,
        "key.camera_name": 1,
        f"{prefix}width": WIDTH,
        f"{prefix}height": HEIGHT,
    }
    row |= dict(zip([f"{prefix}intrinsic.{name}" for name in names], (F_U, F_V, C_U, C_V, *LENS), strict=True))
    write(
        root, "camera_calibration", [row | {f"{prefix}extrinsic.transform": CAMERA.ravel().tolist()}], types, **changes
    )


def write_images(root: Path, segment: str, frames: list[int], camera: int = 1, content=jpeg) -> None:
    """Front pictures, each taken 20 ms before its frame."""
    prefix = "[CameraImageComponent]."
    types = {
        **TIMES,
        "key.camera_name": pa.int8(),
        f"{prefix}image": pa.binary(),
        f"{prefix}pose.transform": TRANSFORM,
        f"{prefix}pose_timestamp": pa.float64(),
    }
    rows = [
        key(frame, segment, camera_name=camera)
        | {
            f"{prefix}image": content(frame),
            f"{prefix}pose.transform": vehicle_pose(frame * STEP / 1e6 - 0.02).ravel().tolist(),
            f"{prefix}pose_timestamp": (START + frame * STEP) / 1e6 - 0.02,
        }
        for frame in frames
    ]
    write(root, "camera_image", rows, types)


def expected_pixels(points: np.ndarray, frame: int) -> np.ndarray:
    """By the formulas of the data set: u = f_u x' + c_u with x' to the right, from the vehicle's frame of the frame."""
    seconds = frame * STEP / 1e6
    world = vehicle_pose(seconds) @ np.c_[points, np.ones(len(points))].T
    ahead, left, up = np.linalg.solve(CAMERA, np.linalg.solve(vehicle_pose(seconds - 0.02), world))[:3]
    u, v = -left / ahead, -up / ahead
    k1, k2, p1, p2, k3 = LENS
    r2 = u * u + v * v
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    right = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
    down = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
    return np.stack([F_U * right + C_U, F_V * down + C_V], axis=1)
