"""What is known of a Waymo segment besides its scans: calibration, poses, and in which row of a file a frame is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lidistill.datasets import calibration
from lidistill.datasets.arrow_tables import read_parquet, read_parquet_keys
from lidistill.datasets.waymo_range import Beams
from lidistill.errors import InputError
from lidistill.sensing.frame import Distortion, Matrix

TIME, LASER, CAMERA = "key.frame_timestamp_micros", "key.laser_name", "key.camera_name"
ROOF = 1
"""The laser on the roof; the four short-range ones have no labels."""
CAMERAS = ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT")
"""``key.camera_name`` 1 to 5."""
ROWS = {"scan": "lidar", "motion": "lidar_pose", "labels": "lidar_segmentation"}
"""Column of the index -> component whose row of the roof lidar it holds."""
MANY = 50
"""Segments from which on a progress bar is worth its line."""
KEPT = 8
"""Segments whose tables a process keeps; the poses of a segment's pictures are a tenth of a megabyte."""


def component(root: Path, segment: str, name: str) -> Path:
    """The file of one component: ``root/training/lidar/SEGMENT.parquet`` for ``training/SEGMENT`` and ``lidar``."""
    part, _, stem = segment.partition("/")
    return root / part / name / f"{stem}.parquet"


# ---- the index: rows of all frames


def index_inputs(root: Path, segments: list[str]) -> list[Path]:
    """The files that ``index_frames`` reads, as far as they are there; scans must be."""
    optional = [component(root, s, name) for s in segments for name in (*ROWS.values(), "camera_image")]
    return [path for path in optional if path.exists()]


def index_frames(root: Path, segments: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of the index, a row a frame in the order of ``segments`` and of time.

    ``segment``: number of its segment; ``time`` in microseconds; ``scan``, ``motion``, ``labels``: rows in the files of
    ``ROWS``, -1 where there is none; ``images`` (N, 5): rows of ``camera_image``. ``name``: texts of the segments.
    """
    found: dict[str, list[NDArray[Any]]] = {"segment": [], "time": [], "images": [], **{key: [] for key in ROWS}}
    for number, segment in enumerate(tqdm(segments, "waymo index", leave=False, disable=len(segments) < MANY)):
        scans = _rows_by_time(component(root, segment, "lidar"), LASER, ROOF)
        times = sorted(scans)
        for key, name in ROWS.items():
            path = component(root, segment, name)
            rows = _rows_by_time(path, LASER, ROOF) if path.exists() else {}
            found[key].append(np.array([rows.get(time, -1) for time in times], np.int32))
        path = component(root, segment, "camera_image")
        cameras = [_rows_by_time(path, CAMERA, n + 1) if path.exists() else {} for n in range(len(CAMERAS))]
        found["images"].append(
            np.array([[rows.get(time, -1) for rows in cameras] for time in times], np.int32).reshape(-1, len(CAMERAS))
        )
        found["segment"].append(np.full(len(times), number, np.int32))
        found["time"].append(np.array(times, np.int64))
    return {key: np.concatenate(parts) for key, parts in found.items()} | {"name": np.array(segments, "S")}


def _rows_by_time(path: Path, sensor: str, number: int) -> dict[int, int]:
    """Time of a frame -> row, among the rows of sensor ``number``."""
    keys = read_parquet_keys(path, [TIME, sensor])
    rows = np.flatnonzero(keys[sensor] == number)
    return dict(zip(keys[TIME][rows].tolist(), rows.tolist(), strict=True))


# ---- calibration and poses


@lru_cache(maxsize=KEPT)
def read_beams(path: Path) -> Beams:
    """The roof lidar's row of ``lidar_calibration``."""
    prefix = "[LiDARCalibrationComponent]."
    low, high, each = (f"{prefix}beam_inclination.{name}" for name in ("min", "max", "values"))
    for row in _rows(path, [LASER, f"{prefix}extrinsic.transform", low, high, each]):
        if row[LASER] == ROOF:
            values = row[each] or [row[low], row[high]]
            mount = _rigid(row[f"{prefix}extrinsic.transform"], f"{path}: laser {ROOF}")
            return Beams(mount, _finite(values, f"{path}: beam inclinations"), not row[each])
    raise InputError(f"{path}: no row for laser {ROOF}, the one on the roof; copy the file again")


@lru_cache(maxsize=KEPT)
def read_cameras(path: Path) -> dict[int, tuple[int, int, Matrix, Distortion, Matrix]]:
    """Number of a camera -> height, width, intrinsics (3, 3), lens, (4, 4) from Waymo's camera axes to the vehicle."""
    prefix = "[CameraCalibrationComponent]."
    names = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    keys = [f"{prefix}intrinsic.{name}" for name in names]
    sizes = [f"{prefix}height", f"{prefix}width"]
    cameras = {}
    for row in _rows(path, [CAMERA, *keys, *sizes, f"{prefix}extrinsic.transform"]):
        where = f"{path}: camera {row[CAMERA]}"
        fu, fv, cu, cv, *lens = _finite([row[key] for key in keys], where).tolist()
        cameras[row[CAMERA]] = (
            row[sizes[0]],
            row[sizes[1]],
            calibration.intrinsics([[fu, 0, cu], [0, fv, cv], [0, 0, 1]], where),
            Distortion("radtan", tuple(lens)),
            _rigid(row[f"{prefix}extrinsic.transform"], where),
        )
    return cameras


@lru_cache(maxsize=KEPT)
def read_vehicle_poses(path: Path) -> dict[int, Matrix]:
    """Time of a frame -> pose (4, 4) of the vehicle in the world, from ``vehicle_pose``."""
    key = "[VehiclePoseComponent].world_from_vehicle.transform"
    return {row[TIME]: _rigid(row[key], f"{path}: frame {row[TIME]}") for row in _rows(path, [TIME, key])}


@lru_cache(maxsize=KEPT)
def read_image_poses(path: Path) -> list[tuple[Matrix, float]]:
    """For each row of ``camera_image`` the vehicle's pose (4, 4) in the world and its time in seconds."""
    pose, time = "[CameraImageComponent].pose.transform", "[CameraImageComponent].pose_timestamp"
    rows = _rows(path, [pose, time])
    return [(_rigid(row[pose], f"{path}: row {n}"), float(row[time])) for n, row in enumerate(rows)]


def _rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    table = read_parquet(path, columns)
    return (dict(zip(columns, values, strict=True)) for values in zip(*table.values(), strict=True))


def _rigid(values: Any, where: str) -> Matrix:
    """(4, 4) of 16 numbers, row by row."""
    matrix = _finite(values, where)
    if matrix.shape != (16,):
        raise InputError(f"{where}: {matrix.size} numbers of a transform, expected 16; copy the file again")
    return calibration.rigid(matrix.reshape(4, 4).tolist(), where)


def _finite(values: Any, where: str) -> NDArray[np.float64]:
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: expected finite numbers, found {str(values)[:80]}; copy the file again")
    return numbers
