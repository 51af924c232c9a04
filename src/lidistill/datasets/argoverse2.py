"""Argoverse 2, the Sensor data set: sweeps of two stacked 32-beam lidars with nine cameras; any part is a data set.

Licence of the data: CC BY-NC-SA 4.0 (Argo AI), terms of use of argoverse.org; none of it comes with this package.

    sensor/
      val/                                        train/, val/, test/
        7fab2350-7eaf-3b7e-a39d-6937a4c1bede/     a log
          sensors/lidar/315966265259836000.feather        x y z (vehicle) intensity (0-255) laser_number offset_ns
          sensors/cameras/ring_front_center/*.jpg         and eight more (optional); names are nanoseconds
          calibration/egovehicle_SE3_sensor.feather       intrinsics.feather beside it; only for pictures
          city_SE3_egovehicle.feather                     poses of the vehicle (needed for pictures)

Points are those of the file: both lidars in the vehicle's frame at the time of the sweep, x ahead, y left, z up, origin
above the rear axle about 0.35 m above the road. ``origin=lidar`` moves the origin to the upper lidar (1.35 m ahead,
1.64 m up) and turns nothing, so that the road lies as deep as in other data sets. No point has a class. What differs
from the published loader: no devkit, and a picture more than 50 ms from the sweep is none of its views. As there, the
distortion in ``intrinsics.feather`` is not applied, for the pictures are published undistorted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets import calibration
from lidistill.datasets.arrow_tables import Columns, read_feather
from lidistill.datasets.kitti_layout import nothing_found, stems
from lidistill.datasets.options import checked_spec
from lidistill.datasets.scans import make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.errors import InputError
from lidistill.sensing import sensors
from lidistill.sensing.files import PointFile
from lidistill.sensing.frame import CameraView, Frame, Matrix, Pose, Sensor
from lidistill.sensing.rigid import from_quaternion, invert

NAME = "argoverse2"
LAYOUT = "Argoverse 2: val/LOG/sensors/lidar/*.feather (train/, val/ or test/)"
SPLITS = ("train", "val", "test")
ORIGINS = ("vehicle", "lidar")
UPPER = "up_lidar"
SENSOR = sensors.sensor("vlp-32c-pair")
NEAR = 50_000_000
"""Nanoseconds between a sweep and its pictures or a time and its pose, at most; cameras run at 20 Hz, poses at 200."""
Row = TypeVar("Row")
POSE = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")


@dataclass(frozen=True, eq=False)
class Argoverse2:
    """Sweeps in the order of split, log and time: ``log`` (N,) numbers of ``logs``, ``time`` (N,) nanoseconds.

    ``logs`` are paths below ``root`` that begin with the split.
    """

    spec: str
    root: Path
    logs: tuple[str, ...]
    log: NDArray[np.int32]
    time: NDArray[np.int64]
    origin: str
    taxonomy: None = None
    name: str = NAME
    sensor: Sensor = SENSOR

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The official splits, as far as their logs are here."""
        part = np.array([log.partition("/")[0] for log in self.logs])[self.log]
        found = {split: tuple(np.flatnonzero(part == split).tolist()) for split in SPLITS}
        return {split: rows for split, rows in found.items() if rows}

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: int) -> Frame:
        log, time = self.logs[self.log[index]], int(self.time[index])
        root = self.root / log
        path = root / "sensors" / "lidar" / f"{time}.feather"
        shift = np.eye(4)
        if self.origin == "lidar":
            shift[:3, 3] = _named(_mounts(root), UPPER, _mounts_path(root))[:3, 3]
        cloud = read_sweep(path)
        cloud = replace(cloud, points=cloud.points - shift[:3, 3].astype(np.float32))
        frame = make_frame(cloud, path, token=f"{NAME}/{log}/{time}", sensor=SENSOR, views=_views(root, time, shift))
        pose = Pose(f"{NAME}/{log}", _vehicle_to_city(root, time) @ shift) if _poses_path(root).exists() else None
        return replace(frame, timestamp=time / 1e9, pose=pose)


def open_argoverse2(path: Path, classes: str | None = None, *, origin: str = "vehicle") -> Argoverse2:
    """Open the folder of the splits, or the one above that has it as ``sensor``.

    ``origin`` of the points: ``vehicle`` as published, or ``lidar``, the upper one. Raises ``InputError`` when no sweep
    is there, for an unknown option, and when ``classes`` are asked for.
    """
    spec = checked_spec(NAME, path, origin=(origin, ORIGINS))
    if classes is not None:
        raise InputError(f"{spec}: this data set has no labels of points, so no classes {classes!r}; leave them out")
    for root in (folder(path, LAYOUT), path / "sensor"):
        logs = [f"{split}/{log}" for split in SPLITS for log in sorted(_subfolders(root / split))]
        times = [np.array(_times(root / log / "sensors" / "lidar", ".feather"), np.int64) for log in logs]
        if any(map(len, times)):
            numbers = np.repeat(np.arange(len(logs), dtype=np.int32), [len(of_log) for of_log in times])
            return Argoverse2(spec, root, tuple(logs), numbers, np.concatenate(times), origin)
    raise nothing_found(path, LAYOUT)


def read_sweep(path: Path) -> PointFile:
    """One sweep in the vehicle's frame; ``ring`` 0-63 is the laser, ``time`` in seconds since the sweep's own."""
    columns = read_feather(path, ["x", "y", "z", "intensity", "laser_number", "offset_ns"])
    return PointFile(
        np.stack([columns[axis].astype(np.float32) for axis in "xyz"], axis=1),
        columns["intensity"].astype(np.float32),
        ring=columns["laser_number"].astype(np.int32),
        time=(columns["offset_ns"] * 1e-9).astype(np.float32),
    )


# ---- cameras


def _views(root: Path, time: int, shift: Matrix) -> tuple[CameraView, ...]:
    """For every camera the picture nearest in time, where there is one: vehicle -> city -> vehicle -> camera."""
    cameras = root / "sensors" / "cameras"
    views = []
    for name in sorted(_subfolders(cameras)):
        times = _image_times(cameras / name)
        taken = times[np.abs(times - time).argmin()].item() if len(times) else 0
        if abs(taken - time) > NEAR:
            continue
        path = root / "calibration" / "intrinsics.feather"
        height, width, intrinsics = _named(_intrinsics(path), name, path)
        mount = _named(_mounts(root), name, _mounts_path(root))
        views.append(
            CameraView(
                name,
                height,
                width,
                intrinsics,
                invert(mount) @ invert(_vehicle_to_city(root, taken)) @ _vehicle_to_city(root, time) @ shift,
                partial(read_image, str(cameras / name / f"{taken}.jpg"), height, width),
                timestamp=taken / 1e9,
            )
        )
    return tuple(views)


def _poses_path(root: Path) -> Path:
    return root / "city_SE3_egovehicle.feather"


def _vehicle_to_city(root: Path, time: int) -> Matrix:
    path = _poses_path(root)
    times, poses = _poses(path)
    nearest = int(np.abs(times - time).argmin()) if len(times) else -1
    if nearest < 0 or abs(int(times[nearest]) - time) > NEAR:
        raise InputError(f"{path}: no pose within {NEAR // 10**6} ms of {time}; copy the file of this log again")
    return from_quaternion(poses[nearest, :4].tolist(), poses[nearest, 4:].tolist())


@lru_cache(maxsize=64)
def _poses(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times (M,) in nanoseconds and poses (M, 7): rotation w x y z, translation x y z."""
    table = read_feather(path, ["timestamp_ns", *POSE])
    return table["timestamp_ns"].astype(np.int64), _pose_rows(table, path)


def _mounts_path(root: Path) -> Path:
    return root / "calibration" / "egovehicle_SE3_sensor.feather"


@lru_cache(maxsize=64)
def _mounts(root: Path) -> dict[str, Matrix]:
    """Name of a sensor -> (4, 4) to the vehicle."""
    table = read_feather(_mounts_path(root), POSE, ["sensor_name"])
    rows = _pose_rows(table, _mounts_path(root)).tolist()
    return {name: from_quaternion(row[:4], row[4:]) for name, row in zip(table["sensor_name"], rows, strict=True)}


def _pose_rows(table: Columns, path: Path) -> NDArray[np.float64]:
    """(M, 7) finite, with unit quaternions."""
    rows = np.stack([table[key] for key in POSE], axis=1).astype(np.float64)
    sound = np.isfinite(rows).all(axis=1) & (np.abs(np.linalg.norm(rows[:, :4], axis=1) - 1) < 1e-3)
    if not sound.all():
        row = int(sound.argmin())
        raise InputError(f"{path}: row {row} is no pose, {rows[row].round(3).tolist()}; copy the file again")
    return rows


@lru_cache(maxsize=64)
def _intrinsics(path: Path) -> dict[str, tuple[int, int, Matrix]]:
    """Name of a camera -> height, width, (3, 3)."""
    keys = ("height_px", "width_px", "fx_px", "fy_px", "cx_px", "cy_px")
    table = read_feather(path, keys, ["sensor_name"])
    cameras = {}
    for name, *row in zip(table["sensor_name"], *(table[key].tolist() for key in keys), strict=True):
        height, width, fx, fy, cx, cy = row
        matrix = calibration.intrinsics([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], f"{path}: {name}")
        cameras[name] = (int(height), int(width), matrix)
    return cameras


@lru_cache(maxsize=1024)
def _image_times(path: Path) -> NDArray[np.int64]:
    return np.array(_times(path, ".jpg"), np.int64)


def _times(path: Path, suffix: str) -> list[int]:
    """The times in nanoseconds that files are named by, ascending."""
    return sorted(int(stem) for stem in stems(path, suffix) if stem.isdecimal())


def _subfolders(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []


def _named(rows: dict[str, Row], name: str, path: Path) -> Row:
    if name not in rows:
        raise InputError(f"{path}: no row for {name!r}, found {', '.join(rows) or 'none'}; copy the file again")
    return rows[name]
