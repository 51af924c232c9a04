"""nuScenes with lidarseg: key frames of ``v1.0-trainval``, ``v1.0-mini`` or ``v1.0-test``; any part is a data set.

Licence of the data: CC BY-NC-SA 4.0 (Motional), terms of use of nuscenes.org; nothing of it comes with this package.

    nuscenes/
      v1.0-trainval/         scene.json sample.json sample_data.json ego_pose.json calibrated_sensor.json sensor.json
      samples/LIDAR_TOP/     *.pcd.bin: float32 x y z intensity (0-255) ring
      samples/CAM_FRONT/     *.jpg, and five more cameras (optional)
      sweeps/LIDAR_TOP/      for ``sweeps=10`` (optional)
      lidarseg/v1.0-trainval/<LIDAR_TOP token>_lidarseg.bin: uint8 raw ids (optional)

The tables are parsed at the first opening and then memory-mapped (``index.py``). What differs from the published
loaders: positions go from the lidar at its time to the camera at its own in double precision; key frames whose scan is
not there are left out; the close returns of the car itself are cut from previous sweeps alone, so that the key frame
keeps its order and its labels.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import taxonomy as class_lists
from lidistill.datasets.fractions import by_scene, with_fractions
from lidistill.datasets.index import Index, open_index
from lidistill.datasets.nuscenes_tables import CAMERAS, LAYOUT_VERSION, TABLES, read_tables
from lidistill.datasets.scans import make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.datasets.split_file import numbers, read_split_file
from lidistill.errors import InputError, nearest
from lidistill.sensing import sensors
from lidistill.sensing.files import PointFile, read_points
from lidistill.sensing.frame import IGNORE, CameraView, Frame, Matrix, Pose, Sensor
from lidistill.sensing.rigid import from_quaternion, invert, transform
from lidistill.taxonomy import Taxonomy

log = logging.getLogger("lidistill")

NAME = "nuscenes"
LAYOUT = "nuScenes: v1.0-trainval/ (or -mini, -test) with its tables, beside samples/LIDAR_TOP/"
VERSIONS = ("v1.0-trainval", "v1.0-mini", "v1.0-test")
SENSOR = sensors.sensor("hdl-32e")
CAR = 1.0
"""Metres beside, before and behind the lidar within which a return of a previous sweep is the car itself."""


@dataclass(frozen=True, eq=False)
class NuScenes:
    """Key frames in the order of the scene table and of time; ``rows`` of the index are those whose scan is there.

    ``sweeps`` scans are put together in each frame: the key frame and those before it. ``protocol`` names the splits:
    ``official`` or ``slidr``.
    """

    spec: str
    root: Path
    version: str
    index: Index
    rows: NDArray[np.int64]
    taxonomy: Taxonomy | None
    sweeps: int
    protocol: str
    name: str = NAME
    sensor: Sensor = SENSOR

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The splits by scene, as far as their scenes are here, and fractions of ``train`` by SLidR's rule."""
        scene = self.index["frame_scene"][self.rows]
        found = {
            split: tuple(np.flatnonzero(np.isin(self.index["scene"], names)[scene]).tolist())
            for split, names in scenes_of(self.version, self.protocol).items()
        }
        return with_fractions({split: rows for split, rows in found.items() if rows}, by_scene(scene.tolist()))

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Frame:
        row = int(self.rows[index])
        scan = int(self.index["frame_scan"][row])
        path = self.root / self.index.text("scan_file", scan)
        token = self.index.text("scan_token", scan)
        drive = f"{NAME}/{self.index.text('scene', int(self.index['frame_scene'][row]))}"
        labels = self.root / "lidarseg" / self.version / f"{token}_lidarseg.bin"
        cloud = read_points(path, 5)
        frame = make_frame(
            with_labels(cloud, labels, path) if self.taxonomy is not None and labels.exists() else cloud,
            path,
            token=f"{drive}/{token}",
            sensor=SENSOR,
            taxonomy=self.taxonomy,
            views=self._views(row, scan),
        )
        time = _seconds(self.index["scan_time"][scan])
        frame = replace(frame, timestamp=time, pose=Pose(drive, self._lidar_to_world(scan)))
        return self._accumulated(frame, scan) if self.sweeps > 1 else frame

    def _views(self, row: int, scan: int) -> tuple[CameraView, ...]:
        """The cameras whose picture is here: lidar -> car at the scan -> world -> car at the picture -> camera."""
        to_world = self._lidar_to_world(scan)
        views = []
        for camera, name in enumerate(CAMERAS):
            number = int(self.index["image_calibration"][row, camera])
            path = self.root / self.index.text("image_file", row, camera)
            if number < 0 or not path.exists():
                continue
            height, width = self.index["image_size"][row, camera].tolist()
            car, mount = _pose(self.index["image_pose"][row, camera]), _pose(self.index["calibration_pose"][number])
            view = CameraView(
                name,
                height,
                width,
                np.array(self.index["calibration_intrinsics"][number]),
                invert(mount) @ invert(car) @ to_world,
                partial(read_image, str(path), height, width),
                timestamp=_seconds(self.index["image_time"][row, camera]),
            )
            views.append(view)
        return tuple(views)

    def _accumulated(self, frame: Frame, scan: int) -> Frame:
        """``frame``, then the points of the scans before it in its lidar frame; ``time``: seconds before the key frame.

        Scans that are not there leave fewer. The car's movement between the scans is undone, that of others is not.
        """
        from_world = invert(self._lidar_to_world(scan))
        clouds = [frame]
        ages = [0.0]
        for previous in range(scan - 1, max(scan - self.sweeps, -1), -1):
            path = self.root / self.index.text("scan_file", previous)
            if self.index["scan_scene"][previous] != self.index["scan_scene"][scan]:
                break
            if not path.exists():
                continue
            cloud = read_points(path, 5)
            cloud = cloud.select(cloud.finite() & (np.abs(cloud.points[:, :2]).max(axis=1) >= CAR))
            moved = transform(cloud.points, from_world @ self._lidar_to_world(previous))
            clouds.append(replace(frame, points=moved, intensity=_given(cloud.intensity), ring=cloud.ring, labels=None))
            ages.append(1e-6 * float(self.index["scan_time"][scan] - self.index["scan_time"][previous]))
        return _joined(clouds, ages)

    def _lidar_to_world(self, scan: int) -> Matrix:
        mount = self.index["calibration_pose"][self.index["scan_calibration"][scan]]
        return _pose(self.index["scan_pose"][scan]) @ _pose(mount)


def open_nuscenes(
    path: Path, classes: str | None = None, *, version: str = "", sweeps: str = "1", split: str = "official"
) -> NuScenes:
    """Open the folder that holds ``version`` (default: the first of trainval, mini, test that is there).

    ``sweeps``: scans put together in each frame, the key frame included. ``split``: ``official``, or ``slidr``: 600
    scenes of the official training split as ``train``, the other 100 as ``val``. The first opening parses the tables
    (a minute for v1.0-trainval), later ones map the index. Raises ``InputError`` for a table or version that is not
    there, a damaged table, an unknown option, and when no scan is there.
    """
    root = folder(path, LAYOUT)
    found = version or _version(root)
    tables = root / found
    if not tables.is_dir():
        raise InputError(f"{tables}: does not exist, expected the tables of {found!r}{nearest(found, _versions(root))}")
    if not sweeps.isdecimal() or not 1 <= int(sweeps) <= 100:
        raise InputError(f"{NAME}:{path}: sweeps is {sweeps!r}, expected a number of scans from 1 to 100")
    if split not in ("official", "slidr"):
        raise InputError(f"{NAME}:{path}: unknown split {split!r}{nearest(split, ('official', 'slidr'))}")
    given = {"version": version, "sweeps": sweeps * (sweeps != "1"), "split": split * (split != "official")}
    query = "&".join(f"{key}={value}" for key, value in given.items() if value)
    index = open_index(
        f"{NAME}-{found}", root, [tables / table for table in TABLES], LAYOUT_VERSION, lambda: read_tables(tables)
    )
    source = NuScenes(
        spec=f"{NAME}:{path}" + f"?{query}" * bool(query),
        root=root,
        version=found,
        index=index,
        rows=_present(index, root),
        taxonomy=class_lists.load(classes or "nuscenes-16", NAME),
        sweeps=int(sweeps),
        protocol=split,
    )
    _report(source, tables)
    return source


def scenes_of(version: str, protocol: str = "official") -> dict[str, NDArray[np.bytes_]]:
    """Names of the scenes of every split; ``v1.0-mini`` has its own official ones."""
    lists = read_split_file("nuscenes.yaml")
    chosen = "mini" if protocol == "official" and version == "v1.0-mini" else protocol
    return {split: np.array([f"scene-{n:04d}" for n in numbers(text)], "S") for split, text in lists[chosen].items()}


def _versions(root: Path) -> list[str]:
    there = sorted(entry.name for entry in root.glob("v1.0-*") if entry.is_dir())
    return [version for version in VERSIONS if version in there] + [v for v in there if v not in VERSIONS]


def _version(root: Path) -> str:
    there = _versions(root)
    if not there:
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise InputError(f"{root}: no folder v1.0-*, expected {LAYOUT}; found {found}")
    return there[0]


def _present(index: Index, root: Path) -> NDArray[np.int64]:
    """Rows of the key frames whose scan is there; one listing of the folder instead of a question for every file."""
    files = [file.decode() for file in index["scan_file"][index["frame_scan"]].tolist()]
    listed = {
        folder: set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
        for folder in {os.path.dirname(file) for file in files}
    }
    there = [os.path.basename(file) in listed[os.path.dirname(file)] for file in files]
    rows = np.flatnonzero(np.array(there, bool))
    if not len(rows):
        raise InputError(
            f"{root}: none of the {len(files)} lidar scans of the tables is there, expected {LAYOUT}; "
            f"{f'the first would be {files[0]}' if files else 'the tables have no key frame with a lidar scan'}"
        )
    return rows


def _report(source: NuScenes, tables: Path) -> None:
    """Say once what is left out."""
    index = source.index
    if skipped := int(index["without_scan"]):
        _warn(f"{tables}: skipped {skipped} samples without LIDAR_TOP")
    absent = len(index["frame_scan"]) - len(source)
    if absent:
        _warn(f"{source.root}: skipped {absent} of {absent + len(source)} key frames, their scans are not there")
    known = np.concatenate(list(scenes_of(source.version).values()))
    here = index["scene"][np.unique(index["frame_scene"][source.rows])]
    strange = here[~np.isin(here, known)]
    if len(strange):
        first = strange[0].decode()
        _warn(f"{tables}: {len(strange)} scenes (first: {first}) are in no split; their frames are in none")


@cache
def _warn(message: str) -> None:
    log.warning(message)


def with_labels(cloud: PointFile, path: Path, scan: Path) -> PointFile:
    """``cloud``, read from ``scan``, with the raw labels of lidarseg file ``path``: one byte a point."""
    raw = np.fromfile(path, np.uint8)
    if len(raw) != len(cloud):
        raise InputError(
            f"{path}: {len(raw)} labels (one byte each), expected {len(cloud)} as there are points in {scan}"
        )
    return replace(cloud, labels=raw.astype(np.uint32))


def _joined(clouds: list[Frame], ages: list[float]) -> Frame:
    """One frame of several; only the first has labels."""
    first, rest = clouds[0], sum(len(cloud) for cloud in clouds[1:])
    labels = first.labels
    return replace(
        first,
        points=np.concatenate([cloud.points for cloud in clouds]),
        intensity=np.concatenate([cloud.intensity for cloud in clouds]),
        ring=np.concatenate([_given(cloud.ring) for cloud in clouds]),
        time=np.repeat(np.array(ages, np.float32), [len(cloud) for cloud in clouds]),
        labels=None if labels is None else np.append(labels, np.full(rest, IGNORE, np.uint8)),
    )


def _given(column: NDArray[Any] | None) -> NDArray[Any]:
    assert column is not None  # files of five columns have it
    return column


def _pose(values: NDArray[np.float64]) -> Matrix:
    """(4, 4) of rotation w x y z and translation x y z."""
    return from_quaternion(values[:4].tolist(), values[4:].tolist())


def _seconds(microseconds: np.int64) -> float:
    return int(microseconds) / 1e6
