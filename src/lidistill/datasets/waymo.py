"""Waymo Open Dataset, perception v2 (parquet): the roof lidar with five cameras; any part of it is a data set.

Licence of the data: Waymo Dataset License Agreement (non-commercial); none of it comes with this package.

    waymo/
      training/                            training/, validation/, testing/
        lidar/SEGMENT.parquet              range images of two returns
        lidar_calibration/SEGMENT.parquet
        lidar_pose/SEGMENT.parquet         optional, with vehicle_pose: undoes the motion during a turn of the lidar
        lidar_segmentation/SEGMENT.parquet optional: labels, of some frames
        camera_image/SEGMENT.parquet       optional, with camera_calibration and vehicle_pose

Points are in the vehicle's frame, as Waymo publishes them: x ahead, y left, z up, origin near the road, some 1.4 m
behind the lidar and 2.2 m below it. ``origin=lidar`` moves the origin to the lidar and turns nothing, so that the road
lies as deep as in other data sets. Both returns are there, the first ones first; intensity is cut to [0, 1] (TTYD).
What differs from the official code: no tensorflow, double precision where it works in float32, the four short-range
lidars are not read. Which row of which file belongs to which frame is found at the first opening (``index.py``).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lidistill import taxonomy as class_lists
from lidistill.datasets.arrow_tables import read_parquet_row
from lidistill.datasets.fractions import by_scene, with_fractions
from lidistill.datasets.index import Index, open_index
from lidistill.datasets.kitti_layout import nothing_found, stems
from lidistill.datasets.options import checked_spec
from lidistill.datasets.scans import make_frame
from lidistill.datasets.source import Source, folder, take_split
from lidistill.datasets.waymo_range import image_of, points_of
from lidistill.datasets.waymo_segment import (
    CAMERAS,
    component,
    index_frames,
    index_inputs,
    read_beams,
    read_cameras,
    read_image_poses,
    read_vehicle_poses,
)
from lidistill.errors import InputError
from lidistill.sensing import sensors
from lidistill.sensing.files import PointFile
from lidistill.sensing.frame import CameraView, Frame, Matrix, Sensor
from lidistill.sensing.rigid import invert
from lidistill.taxonomy import Taxonomy

NAME = "waymo"
LAYOUT = "Waymo v2: training/lidar/SEGMENT.parquet (and lidar_calibration/ and others beside lidar/)"
SPLITS = {"train": "training", "val": "validation", "test": "testing"}
COUNTED = ("labelled", "all")
ORIGINS = ("vehicle", "lidar")
INDEX_VERSION = 1
SENSOR = sensors.sensor("waymo-top")
AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""From a camera's axes as Waymo has them (x ahead, y left, z up) to x right, y down, z ahead."""
RETURNS = (1, 2)


@dataclass(frozen=True, eq=False)
class Waymo:
    """Frames in the order of split, segment and time, as ``index_frames`` lists them."""

    spec: str
    root: Path
    index: Index
    taxonomy: Taxonomy | None
    counted: str
    origin: str
    name: str = NAME
    sensor: Sensor = SENSOR

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The official splits, as far as they are here, and fractions of ``train`` by segment.

        ``labelled``: of a split in which any frame has labels, those frames alone.
        """
        part = np.array([name.partition(b"/")[0].decode() for name in self.index["name"].tolist()])
        labelled = self.index["labels"] >= 0
        found = {}
        for split, name in SPLITS.items():
            rows = (part == name)[self.index["segment"]]
            chosen = rows & labelled if self.counted == "labelled" and (rows & labelled).any() else rows
            found[split] = tuple(np.flatnonzero(chosen).tolist())
        rule = by_scene(self.index["segment"].tolist())
        return with_fractions({split: rows for split, rows in found.items() if rows}, rule)

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.index["time"])

    def __getitem__(self, index: int) -> Frame:
        segment, time = self.index.text("name", int(self.index["segment"][index])), int(self.index["time"][index])
        rows = {key: int(self.index[key][index]) for key in ("scan", "motion", "labels")}
        if self.taxonomy is None:
            rows["labels"] = -1
        shift = np.eye(4)
        if self.origin == "lidar":
            shift[:3, 3] = read_beams(component(self.root, segment, "lidar_calibration")).mount[:3, 3]
        cloud = read_scan(self.root, segment, time, rows["scan"], rows["motion"], rows["labels"])
        frame = make_frame(
            replace(cloud, points=cloud.points - shift[:3, 3].astype(np.float32)),
            component(self.root, segment, "lidar") / str(time),
            token=f"{NAME}/{segment}/{time}",
            sensor=SENSOR,
            taxonomy=self.taxonomy,
            views=_views(self.root, segment, time, self.index["images"][index].tolist(), shift),
        )
        return replace(frame, timestamp=time / 1e6)


def open_waymo(path: Path, classes: str | None = None, *, frames: str = "labelled", origin: str = "vehicle") -> Waymo:
    """Open the folder that holds ``training``, ``validation`` or ``testing``.

    ``frames``: the splits hold ``labelled`` frames, or ``all``. ``origin`` of the points: ``vehicle`` as published, or
    ``lidar``, the one on the roof. Raises ``InputError`` when no scan is there, for an unknown option, and for a file
    whose keys cannot be read.
    """
    spec = checked_spec(NAME, path, frames=(frames, COUNTED), origin=(origin, ORIGINS))
    root = folder(path, LAYOUT)
    segments = [f"{part}/{stem}" for part in SPLITS.values() for stem in stems(root / part / "lidar", ".parquet")]
    if not segments:
        raise nothing_found(path, LAYOUT)
    inputs = index_inputs(root, segments)
    index = open_index(NAME, root, inputs, INDEX_VERSION, partial(index_frames, root, segments))
    return Waymo(spec, root, index, class_lists.load(classes or "waymo-10", NAME), frames, origin)


def read_scan(root: Path, segment: str, time: int, scan: int, motion: int, labels: int) -> PointFile:
    """Both returns of the roof lidar in the vehicle's frame; ``ring`` is the row of the range image, 0 the highest.

    ``scan``, ``motion`` and ``labels`` are rows of ``lidar``, ``lidar_pose`` and ``lidar_segmentation``; -1: none.
    """
    beams = read_beams(component(root, segment, "lidar_calibration"))
    path = component(root, segment, "lidar")
    images = _range_images(path, scan, "LiDARComponent", 4)
    poses = vehicle = None
    if motion >= 0:
        file = component(root, segment, "lidar_pose")
        poses = _range_images(file, motion, "LiDARPoseComponent", 6, RETURNS[:1])[RETURNS[0]]
        vehicle = _vehicle_pose(root, segment, time)
    points, intensity, ring, raw = [], [], [], []
    file = component(root, segment, "lidar_segmentation")
    classes = _range_images(file, labels, "LiDARSegmentationLabelComponent", 2) if labels >= 0 else {}
    for number, image in images.items():
        where = f"{path}: row {scan}, return {number}"
        of_return, pixels = points_of(image, beams, where, poses, vehicle)
        points.append(of_return)
        intensity.append(np.clip(image[..., 1].ravel()[pixels], 0, 1))
        ring.append((pixels // image.shape[1]).astype(np.int32))
        if number in classes and classes[number].shape[:2] != image.shape[:2]:
            raise InputError(
                f"{file}: row {labels}: labels of {classes[number].shape[:2]} pixels, expected {image.shape[:2]} as in "
                f"{path}; copy both again"
            )
        raw.append(classes[number][..., 1].ravel()[pixels] if number in classes else np.zeros(len(pixels), np.int32))
    return PointFile(
        np.concatenate(points),
        np.concatenate(intensity),
        ring=np.concatenate(ring),
        labels=np.concatenate(raw).astype(np.uint32) if classes else None,
    )


def _range_images(
    path: Path, row: int, kind: str, channels: int, returns: tuple[int, ...] = RETURNS
) -> dict[int, NDArray[Any]]:
    """Number of a return -> its range image (H, W, channels); returns that the row lacks are left out."""
    columns = [f"[{kind}].range_image_return{n}.{part}" for n in returns for part in ("values", "shape")]
    found = read_parquet_row(path, row, columns)
    return {
        n: image_of(found[values], found[shape], channels, f"{path}: row {row}, return {n}")
        for n, values, shape in zip(returns, columns[::2], columns[1::2], strict=True)
        if found[values] is not None or n == returns[0]
    }


def _vehicle_pose(root: Path, segment: str, time: int) -> Matrix:
    path = component(root, segment, "vehicle_pose")
    poses = read_vehicle_poses(path)
    if time not in poses:
        raise InputError(f"{path}: {len(poses)} poses, none of them for frame {time}; copy the file again")
    return poses[time]


# ---- cameras


def _views(root: Path, segment: str, time: int, rows: list[int], shift: Matrix) -> tuple[CameraView, ...]:
    """The cameras whose picture is here: vehicle at the scan -> world -> vehicle at the picture -> camera."""
    return tuple(_view(root, segment, time, number, row, shift) for number, row in enumerate(rows, 1) if row >= 0)


def _view(root: Path, segment: str, time: int, number: int, row: int, shift: Matrix) -> CameraView:
    path, images = component(root, segment, "camera_calibration"), component(root, segment, "camera_image")
    cameras = read_cameras(path)
    if number not in cameras:
        raise InputError(f"{path}: no row for camera {number} ({CAMERAS[number - 1]}); copy the file again")
    height, width, intrinsics, lens, mount = cameras[number]
    vehicle, taken = read_image_poses(images)[row]
    return CameraView(
        CAMERAS[number - 1],
        height,
        width,
        intrinsics,
        AXES @ invert(mount) @ invert(vehicle) @ _vehicle_pose(root, segment, time) @ shift,
        partial(read_picture, images, row),
        lens,
        taken,
    )


def read_picture(path: Path, row: int) -> NDArray[np.uint8]:
    """Decode the picture in a row of ``camera_image``: (H, W, 3) uint8 RGB."""
    column = "[CameraImageComponent].image"
    content = read_parquet_row(path, row, [column])[column]
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image.convert("RGB"))
    except (OSError, TypeError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise InputError(f"{path}: row {row}: the image cannot be read (damaged); copy the file again") from None
