"""KITTI 3D object detection: single 64-beam scans with the left colour camera, no point labels; any part is a data set.

Licence of the data: CC BY-NC-SA 3.0 (A. Geiger, P. Lenz, R. Urtasun); nothing of it comes with this package.

    kitti/
      training/velodyne/000000.bin    float32 x y z intensity (0-1), the whole turn
      training/image_2/000000.png     (optional)
      training/calib/000000.txt       lines P2, R0_rect, Tr_velo_to_cam; needed where there is a picture
      testing/                        the same (optional)
      ImageSets/train.txt val.txt     a frame number a line (optional)

What differs from the published loaders: scans are not cut to what the camera sees; the 3D boxes (``label_2``) are not
read, for they label no point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.kitti_layout import Calibration
from lidistill.datasets.scans import image_size, make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.errors import InputError
from lidistill.sensing.files import read_points
from lidistill.sensing.frame import CameraView, Frame, Sensor
from lidistill.sensing.sensors import sensor

NAME = "kitti-object"
CAMERA = "image_2"
SENSOR = sensor("hdl-64e")
LAYOUT = "KITTI object: training/velodyne/000000.bin (and testing/, image_2/ and calib/ beside velodyne/)"
PARTS = ("training", "testing")
LISTS = {"train": "training", "val": "training", "test": "testing"}
"""Split -> the part whose frames ``ImageSets/<split>.txt`` lists."""


@dataclass(frozen=True, eq=False)
class KittiObject:
    """Frames in the order of part and number: ``frames`` holds (part, stem)."""

    spec: str
    root: Path
    frames: kitti.Names
    splits: Mapping[str, tuple[int, ...]]
    name: str = NAME
    sensor: Sensor = SENSOR
    taxonomy: None = None

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        part, stem = self.frames[index]
        root = self.root / part
        scan, image = root / "velodyne" / f"{stem}.bin", root / CAMERA / f"{stem}.png"
        return make_frame(
            read_points(scan, 4),
            scan,
            token=f"{NAME}/{part}/{stem}",
            sensor=SENSOR,
            views=(_view(image, root / "calib" / f"{stem}.txt"),) if image.exists() else (),
        )


def open_kitti_object(path: Path, classes: str | None = None) -> KittiObject:
    """Open the folder that holds ``training``, or its parent.

    ``training`` is ``train`` and ``testing`` is ``test``; a list in ``ImageSets`` takes the place of its split, and
    ``val`` exists only as a list. Raises ``InputError`` when no scan is there or a list is damaged.
    """
    folder(path, LAYOUT)
    spec = f"{NAME}:{path}"
    if classes is not None:
        raise InputError(f"{spec}: KITTI object has no point labels, so no classes {classes!r}; leave them out")
    root, frames = kitti.find_sequences(path, (path, path / "object"), PARTS, LAYOUT)
    return KittiObject(spec=spec, root=root, frames=frames, splits=_splits(root / "ImageSets", frames))


def _splits(lists: Path, frames: kitti.Names) -> dict[str, tuple[int, ...]]:
    parts = kitti.splits_by_sequence(frames, {"train": PARTS[:1], "test": PARTS[1:]})
    listed = {split: _listed(lists / f"{split}.txt", part, frames) for split, part in LISTS.items()}
    splits = {split: parts.get(split, ()) if rows is None else rows for split, rows in listed.items()}
    if listed["train"] is None:
        splits["train"] = tuple(row for row in splits["train"] if row not in set(splits["val"]))
    return {split: rows for split, rows in splits.items() if rows}


def _listed(file: Path, part: str, frames: kitti.Names) -> tuple[int, ...] | None:
    """The frames of ``part`` that ``file`` lists and that are here; None without the file."""
    if not file.is_file():
        return None
    numbers = {stem: row for row, (name, stem) in enumerate(frames) if name == part}
    stems = file.read_text(encoding="ascii", errors="replace").split()
    wrong = next((stem for stem in stems if not stem.isdecimal()), None)
    if wrong is not None:
        raise InputError(f"{file}: {wrong[:20]!r} is no frame number; expected one such as 000123 a line")
    return tuple(numbers[stem] for stem in stems if stem in numbers)


def _view(image: Path, path: Path) -> CameraView:
    height, width = image_size(str(image))  # differs between recording days
    calibration = read_calibration(path)
    load = partial(read_image, str(image), height, width)
    return CameraView(CAMERA, height, width, calibration.intrinsics, calibration.from_lidar, load)


def read_calibration(path: Path) -> Calibration:
    """Lines P2 (3, 4), R0_rect (3, 3), Tr_velo_to_cam (3, 4): pixel = P2 R0_rect [Tr_velo_to_cam p; 1]."""
    rows = kitti.read_calibration_text(path)
    to_camera_0 = kitti.rotation(rows, "R0_rect", path) @ kitti.rigid(rows, "Tr_velo_to_cam", path)
    return kitti.camera(rows, "P2", path, to_camera_0)
