"""SemanticKITTI with the images and calibration of KITTI odometry; any part of it is a data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lidistill import taxonomy as class_lists
from lidistill.datasets import calibration
from lidistill.datasets.scans import image_size, make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.errors import InputError
from lidistill.sensing.files import read_points
from lidistill.sensing.frame import CameraView, Frame, Matrix, Sensor
from lidistill.taxonomy import Taxonomy

NAME = "semantic-kitti"
LAYOUT = "SemanticKITTI: dataset/sequences/00/velodyne/000000.bin (and labels/, image_2/, calib.txt beside velodyne/)"
SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(str(sequence) for sequence in range(11, 22)),
}
SENSOR = Sensor(
    "hdl-64e",
    rate=10.0,
    rings=64,
    fov=(-24.8, 2.0),
    max_range=120.0,
    intensity=(0.28613698, 0.14090556),
    forward="+x",
)
CAMERA = "image_2"


@dataclass(frozen=True, eq=False)
class Calibration:
    """The left colour camera: ``intrinsics`` (3, 3), ``from_lidar`` (4, 4)."""

    intrinsics: Matrix
    from_lidar: Matrix


@dataclass(frozen=True, eq=False)
class SemanticKitti:
    """Frames in the order of sequence and number: ``frames`` holds (sequence, stem)."""

    spec: str
    sequences: Path
    taxonomy: Taxonomy
    calibrations: dict[str, Calibration]
    frames: tuple[tuple[str, str], ...]
    name: str = NAME
    sensor: Sensor = SENSOR

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The official splits, as far as their sequences are here."""
        found = {
            split: tuple(i for i, (sequence, _) in enumerate(self.frames) if sequence in sequences)
            for split, sequences in SPLITS.items()
        }
        return {split: frames for split, frames in found.items() if frames}

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        sequence, stem = self.frames[index]
        root = self.sequences / sequence
        scan, labels = root / "velodyne" / f"{stem}.bin", root / "labels" / f"{stem}.label"
        return make_frame(
            read_points(scan, 4),
            scan,
            token=f"{NAME}/{sequence}/{stem}",
            sensor=SENSOR,
            labels=labels if labels.exists() else None,
            taxonomy=self.taxonomy,
            views=self._views(sequence, root / CAMERA / f"{stem}.png"),
        )

    def _views(self, sequence: str, image: Path) -> tuple[CameraView, ...]:
        if sequence not in self.calibrations or not image.exists():
            return ()
        camera = self.calibrations[sequence]
        height, width = image_size(str(image))  # differs between sequences
        load = partial(read_image, str(image), height, width)
        return (CameraView(CAMERA, height, width, camera.intrinsics, camera.from_lidar, load),)


def open_semantic_kitti(path: Path, classes: str | None = None) -> SemanticKitti:
    """Open ``path``, ``path/dataset`` or ``path/dataset/sequences``; a sequence is there if it has scans.

    Raises ``InputError`` when no scan is found, or a sequence with images has no usable ``calib.txt``.
    """
    folder(path, LAYOUT)
    places = (path / "dataset" / "sequences", path / "sequences", path)
    known = sorted(sequence for sequences in SPLITS.values() for sequence in sequences)
    for sequences in places:
        frames = tuple(
            (sequence, scan.stem)
            for sequence in known
            for scan in sorted((sequences / sequence / "velodyne").glob("*.bin"))
        )
        if frames:
            break
    else:
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(f"{path}: no scan found, expected {LAYOUT}; found {found}")
    with_images = [s for s in dict.fromkeys(s for s, _ in frames) if (sequences / s / CAMERA).is_dir()]
    return SemanticKitti(
        spec=f"{NAME}:{path}",
        sequences=sequences,
        taxonomy=class_lists.load(classes or "semantic-kitti-19", NAME),
        calibrations={sequence: read_calibration(sequences / sequence / "calib.txt") for sequence in with_images},
        frames=frames,
    )


def read_calibration(path: Path) -> Calibration:
    """Read P2 (3, 4) and Tr (3, 4) of a KITTI ``calib.txt``: pixel = P2 [Tr p; 1] (reference facts 7.2).

    With P2 = K [I | K^-1 p4], the left 3 x 3 block is the camera matrix and K^-1 p4 moves camera 0 to camera 2.
    """
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); images need this calibration") from None
    rows = {key.strip(): text for key, colon, text in (line.partition(":") for line in lines) if colon}
    projection, pose = (_numbers(rows, key, path) for key in ("P2", "Tr"))
    matrix = calibration.intrinsics(projection[:, :3].tolist(), f"{path}: P2")
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(matrix, projection[:, 3])
    from_camera_0 = calibration.rigid([*pose.tolist(), [0, 0, 0, 1]], f"{path}: Tr")
    return Calibration(matrix, shift @ from_camera_0)


def _numbers(rows: dict[str, str], key: str, path: Path) -> Matrix:
    if key not in rows:
        raise InputError(f"{path}: no line {key!r}; expected P2 and Tr, each with 12 numbers, found {', '.join(rows)}")
    try:
        values = [float(word) for word in rows[key].split()]
    except ValueError as error:
        raise InputError(f"{path}: line {key!r}: {error}; expected 12 numbers") from None
    if len(values) != 12:
        raise InputError(f"{path}: line {key!r} has {len(values)} numbers, expected 12 (3 rows of 4)")
    return np.array(values).reshape(3, 4)
