"""KITTI raw (synced and rectified): 64-beam scans with both colour cameras, no point labels; any part is a data set.

Licence of the data: CC BY-NC-SA 3.0 (A. Geiger, P. Lenz, C. Stiller, R. Urtasun); none of it comes with this package.

    kitti_raw/
      2011_09_26/
        calib_cam_to_cam.txt  calib_velo_to_cam.txt
        2011_09_26_drive_0001_sync/
          velodyne_points/data/0000000000.bin    float32 x y z intensity (0-1); timestamps.txt beside data (optional)
          image_02/data/0000000000.png           and image_03 (optional); timestamps.txt beside data (optional)

What differs from the published loaders: scan and picture are matched by their number, so that gaps (drive 0009 lacks
four scans) shift nothing; the time of a scan is that at which the lidar faces forward (``timestamps.txt``), when the
cameras fire. There is no official split for pretraining: every drive is in ``train``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.kitti_drives import (
    Camera,
    Drive,
    Drives,
    open_drives,
    read_times,
    rectified_camera,
    rectified_size,
)
from lidistill.datasets.source import folder
from lidistill.sensing.frame import Matrix

NAME = "kitti-raw"
LAYOUT = "KITTI raw: 2011_09_26/2011_09_26_drive_0001_sync/velodyne_points/data/0000000000.bin"
CAMERAS = ("02", "03")
"""The colour cameras, left and right."""


def open_kitti_raw(path: Path, classes: str | None = None, *, drives: str = "") -> Drives:
    """Open the folder of the dates, or one date. ``drives``: which (``0001,0005``); default all that are there.

    Raises ``InputError`` when no scan is there, a drive is not, or one with pictures has no usable calibration.
    """
    folder(path, LAYOUT)
    found = [*path.glob("*_drive_*_sync"), *path.glob("*/*_drive_*_sync")]
    return open_drives(NAME, path, classes, drives, found=found, layout=LAYOUT, read=_drive)


def _drive(root: Path, stems: list[str]) -> Drive:
    with_images = [number for number in CAMERAS if (root / f"image_{number}" / "data").is_dir()]
    scans = root / "velodyne_points"
    cameras: tuple[Camera, ...] = ()
    if with_images:
        path = root.parent / "calib_cam_to_cam.txt"
        rows = kitti.read_calibration_text(path)
        pose = velodyne_to_camera(root.parent / "calib_velo_to_cam.txt")
        cameras = tuple(_camera(root / f"image_{number}", number, rows, path, pose, stems) for number in with_images)
    return Drive(scans / "data", read_times(scans / "timestamps.txt", stems), cameras)


def _camera(root: Path, number: str, rows: Mapping[str, str], path: Path, pose: Matrix, stems: list[str]) -> Camera:
    height, width = rectified_size(rows, path, number)
    calibration = rectified_camera(rows, path, number, pose)
    return Camera(root.name, root / "data", height, width, calibration, read_times(root / "timestamps.txt", stems))


def velodyne_to_camera(path: Path) -> Matrix:
    """(4, 4) from the lidar to the unrectified camera 0: lines R (9 numbers) and T (3) of ``calib_velo_to_cam.txt``."""
    rows = kitti.read_calibration_text(path)
    matrix = kitti.rotation(rows, "R", path)
    matrix[:3, 3] = kitti.numbers(rows, "T", path, (3,))
    return matrix
