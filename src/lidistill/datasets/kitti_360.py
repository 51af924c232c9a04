"""KITTI-360: 64-beam scans with both rectified front cameras, no labels; any part is a data set.

Licence of the data: CC BY-NC-SA 3.0 (Y. Liao, J. Xie, A. Geiger); nothing of it comes with this package. The tree,
as officially documented:

    KITTI-360/
      calibration/perspective.txt  calibration/calib_cam_to_velo.txt
      data_3d_raw/2013_05_28_drive_0000_sync/velodyne_points/data/0000000000.bin   float32 x y z intensity (0-1)
      data_2d_raw/2013_05_28_drive_0000_sync/image_00/data_rect/0000000000.png     and image_01 (optional)

with ``timestamps.txt`` beside ``data`` and ``data_rect`` (optional). Decided here, and why:

- No labels. The official 3D labels belong to clouds accumulated over some 200 m and thinned (``data_3d_semantics``);
  a scan has none of its own. Projects carry them over by nearest neighbours, each its own way, so that none is a truth.
- No fisheye cameras (image_02, image_03): their lens model (MEI, with a mirror parameter) is none of ours.
- Camera 1 follows from P_rect_01, like the right camera of KITTI; ``calib_cam_to_pose.txt`` is not needed.
- Scans are as recorded: the car's motion during the turn is not undone.
"""

from __future__ import annotations

from functools import partial
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
from lidistill.sensing.rigid import invert

NAME = "kitti-360"
LAYOUT = "KITTI-360: data_3d_raw/2013_05_28_drive_0000_sync/velodyne_points/data/0000000000.bin"
CAMERAS = ("00", "01")
"""The rectified stereo pair that looks ahead."""
TEST = ("2013_05_28_drive_0008_sync", "2013_05_28_drive_0018_sync")
"""Drives whose labels the benchmark keeps to itself."""


def open_kitti_360(path: Path, classes: str | None = None, *, drives: str = "") -> Drives:
    """Open the folder that holds ``data_3d_raw``. ``drives``: which (``0000,0003``); default all that are there.

    Drives 0008 and 0018 are ``test``, the others ``train``. Raises ``InputError`` when no scan is there, a drive is
    not, or there are pictures without a usable calibration.
    """
    folder(path, LAYOUT)
    found = (path / "data_3d_raw").glob("*_drive_*_sync")
    return open_drives(NAME, path, classes, drives, found=found, layout=LAYOUT, read=partial(_drive, path), test=TEST)


def _drive(root: Path, drive: Path, stems: list[str]) -> Drive:
    images = root / "data_2d_raw" / drive.name
    with_images = [number for number in CAMERAS if (images / f"image_{number}" / "data_rect").is_dir()]
    cameras = tuple(_camera(root / "calibration", images / f"image_{number}", number, stems) for number in with_images)
    scans = drive / "velodyne_points"
    return Drive(scans / "data", read_times(scans / "timestamps.txt", stems), cameras)


def _camera(calibration: Path, images: Path, number: str, stems: list[str]) -> Camera:
    path = calibration / "perspective.txt"
    rows = kitti.read_calibration_text(path)
    height, width = rectified_size(rows, path, number)
    pose = invert(camera_to_velodyne(calibration / "calib_cam_to_velo.txt"))
    return Camera(
        images.name,
        images / "data_rect",
        height,
        width,
        rectified_camera(rows, path, number, pose),
        read_times(images / "timestamps.txt", stems),
    )


def camera_to_velodyne(path: Path) -> Matrix:
    """(4, 4) from the unrectified camera 0 to the lidar: the 12 bare numbers of ``calib_cam_to_velo.txt``."""
    return kitti.rigid({"cam_to_velo": " ".join(kitti.calibration_lines(path))}, "cam_to_velo", path)
