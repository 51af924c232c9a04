"""From the JSON tables of nuScenes to the columns of an index: what reading a key frame takes, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets import calibration
from lidistill.datasets.json_table import Row, known_token, look_up, read_table, row_numbers, stream_table, values
from lidistill.errors import InputError

LAYOUT_VERSION = 1
"""Of the columns below; raise it when they change."""

LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
SMALL = ("scene", "sample", "sensor", "calibrated_sensor")
TABLES = tuple(f"{name}.json" for name in (*SMALL, "sample_data", "ego_pose"))

TOKEN = re.compile(r'"token"\s*:\s*"([^"]*)"')
CALIBRATION = re.compile(r'"calibrated_sensor_token"\s*:\s*"([^"]*)"')
KEY_FRAME = re.compile(r'"is_key_frame"\s*:\s*true')

Columns = dict[str, NDArray[Any]]


def read_tables(folder: Path) -> Columns:
    """Columns of the F key frames with a lidar scan, of all L lidar scans and of the K calibrations in ``folder``.

    ``scene`` names in the order of their table. Key frames by scene and time: ``frame_scene``, ``frame_scan`` (F,) are
    rows of ``scene`` and of the scans. Scans by scene and time: ``scan_file``, ``scan_token``, ``scan_scene``,
    ``scan_time`` (microseconds), ``scan_pose`` (L, 7) = rotation w x y z and translation x y z, ego to world in
    metres, ``scan_calibration``. Pictures of the key frames (F, 6) in the order of ``CAMERAS``: ``image_file``,
    ``image_time``, ``image_size`` (height, width), ``image_pose``, ``image_calibration`` (-1: no picture).
    ``calibration_pose`` (K, 7) sensor to ego, ``calibration_intrinsics`` (K, 3, 3). ``without_scan`` counts the samples
    that have no lidar scan. Raises ``InputError`` for a table that is missing, damaged, or refers to a row that is
    not there.
    """
    small = {name: read_table(folder / f"{name}.json") for name in SMALL}
    scenes = row_numbers(small["scene"], folder / "scene.json")
    samples = row_numbers(small["sample"], folder / "sample.json")
    scene_of = np.array(
        [look_up(scenes, row, "scene_token", folder / "sample.json", "scene") for row in small["sample"]], np.int32
    )
    calibrations = row_numbers(small["calibrated_sensor"], folder / "calibrated_sensor.json")
    channels = _channels(small, folder)
    data = _sample_data(folder / "sample_data.json", samples, calibrations, channels)
    data["pose"] = _poses(folder / "ego_pose.json", data.pop("pose_token"), folder / "sample_data.json")
    names = values(small["scene"], folder / "scene.json", lambda row: row["name"].encode())
    columns = {"scene": np.array(names, "S"), **_calibrations(small, channels, folder)}
    lidar = np.flatnonzero(data["channel"] < 0)
    lidar = lidar[np.lexsort((data["time"][lidar], scene_of[data["sample"][lidar]]))]
    columns |= {f"scan_{name}": data[name][lidar] for name in ("file", "token", "time", "pose", "calibration")}
    columns["scan_scene"] = scene_of[data["sample"][lidar]]
    return columns | _frames(data, lidar, scene_of)


def _frames(data: Columns, lidar: NDArray[np.int64], scene_of: NDArray[np.int32]) -> Columns:
    """The key frames among the rows ``lidar`` of ``data``, in that order, and their pictures."""
    key = np.flatnonzero(data["key"][lidar])
    _, first = np.unique(data["sample"][lidar[key]], return_index=True)
    scans = key[np.sort(first)]
    sample = data["sample"][lidar[scans]]
    frame_of = np.full(len(scene_of), -1, np.int64)
    frame_of[sample] = np.arange(len(sample))
    rows = np.flatnonzero((data["channel"] >= 0) & (frame_of[data["sample"]] >= 0))
    place = frame_of[data["sample"][rows]], data["channel"][rows]
    images: Columns = {}
    for name in ("file", "time", "size", "pose", "calibration"):
        empty = -1 if name == "calibration" else 0
        column = np.full((len(sample), len(CAMERAS), *data[name].shape[1:]), empty).astype(data[name].dtype)
        column[place] = data[name][rows]
        images[f"image_{name}"] = column
    return images | {
        "frame_scan": scans,
        "frame_scene": scene_of[sample],
        "without_scan": np.array(len(scene_of) - len(sample)),
    }


def _sample_data(
    path: Path, samples: Mapping[str, int], calibrations: Mapping[str, int], channels: list[int | None]
) -> Columns:
    """The rows of lidar scans (``channel`` -1) and of the cameras' key frames (``channel``: position in CAMERAS)."""

    def wanted(text: str) -> bool:
        found = CALIBRATION.search(text)
        number = calibrations.get(found[1]) if found else None
        if number is None:
            return True  # it is parsed and then refused by name
        channel = channels[number]
        return channel == -1 or (channel is not None and KEY_FRAME.search(text) is not None)

    parts = [_sample_data_part(rows, path, samples, calibrations, channels) for rows in stream_table(path, wanted)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sample_data_part(
    rows: list[Row],
    path: Path,
    samples: Mapping[str, int],
    calibrations: Mapping[str, int],
    channels: list[int | None],
) -> Columns:
    def column(take: Callable[[Row], Any], kind: str) -> NDArray[Any]:
        return np.array(values(rows, path, take), kind)

    number = np.array(
        [look_up(calibrations, row, "calibrated_sensor_token", path, "calibrated_sensor") for row in rows], np.int32
    )
    return {
        "calibration": number,
        "channel": np.array([channels[i] for i in number], np.int8),
        "sample": np.array([look_up(samples, row, "sample_token", path, "sample") for row in rows], np.int32),
        "token": column(lambda row: row["token"].encode(), "S"),
        "pose_token": column(lambda row: row["ego_pose_token"].encode(), "S"),
        "file": column(lambda row: row["filename"].encode(), "S"),
        "time": column(lambda row: int(row["timestamp"]), "i8"),
        "size": column(lambda row: (int(row["height"]), int(row["width"])), "i4").reshape(-1, 2),
        "key": column(lambda row: bool(row["is_key_frame"]), "?"),
    }


def _poses(path: Path, tokens: NDArray[np.bytes_], asked_by: Path) -> NDArray[np.float64]:
    """(R, 7) poses of the rows' ``tokens``."""
    unique, inverse = np.unique(tokens, return_inverse=True)
    numbers = {token.decode(): number for number, token in enumerate(unique.tolist())}
    poses = np.full((len(unique), 7), np.nan)

    def wanted(text: str) -> bool:
        found = TOKEN.search(text)
        return found is None or found[1] in numbers

    for rows in stream_table(path, wanted):
        place = [numbers[token] for token in values(rows, path, lambda row: row["token"]) if token in numbers]
        poses[place] = _rigid(rows, path)
    missing = np.flatnonzero(np.isnan(poses).any(axis=1))
    if len(missing):
        raise InputError(
            f"{path}: no row {unique[missing[0]].decode()!r}, which {asked_by.name} refers to ({len(missing)} such "
            "rows); the tables are damaged or not of one version, copy them again"
        )
    return poses[inverse]


def _calibrations(small: Mapping[str, list[Row]], channels: list[int | None], folder: Path) -> Columns:
    rows, path = small["calibrated_sensor"], folder / "calibrated_sensor.json"
    intrinsics = np.zeros((len(rows), 3, 3))
    for number, row in enumerate(rows):
        channel = channels[number]
        if channel is not None and channel >= 0:
            intrinsics[number] = calibration.intrinsics(row.get("camera_intrinsic", ()), f"{path}: row {number + 1}")
    return {"calibration_pose": _rigid(rows, path), "calibration_intrinsics": intrinsics}


def _channels(small: Mapping[str, list[Row]], folder: Path) -> list[int | None]:
    """For every calibration: -1 the lidar, a position in CAMERAS, None another sensor."""
    path = folder / "sensor.json"
    known: dict[str, int] = {name: position for position, name in enumerate(CAMERAS)} | {LIDAR: -1}
    channel = dict(values(small["sensor"], path, lambda row: (row["token"], known.get(row["channel"]))))
    rows = folder / "calibrated_sensor.json"
    return [channel[known_token(channel, row, "sensor_token", rows, "sensor")] for row in small["calibrated_sensor"]]


def _rigid(rows: list[Row], path: Path) -> NDArray[np.float64]:
    """(n, 7) of rows with a rotation w x y z and a translation, checked: no zero, no NaN."""
    found = values(rows, path, lambda row: [float(v) for v in (*row["rotation"], *row["translation"])])
    lengths = {len(value) for value in found}
    if lengths - {7}:
        raise InputError(f"{path}: a pose has {min(lengths - {7})} numbers, expected 4 (rotation) and 3 (translation)")
    poses = np.array(found, np.float64).reshape(-1, 7)
    wrong = ~np.isfinite(poses).all(axis=1) | ~poses[:, :4].any(axis=1)
    if wrong.any():
        row = rows[int(wrong.argmax())]
        raise InputError(f"{path}: row {row['token']!r} is no pose: {found[int(wrong.argmax())]}; copy the table again")
    return poses
