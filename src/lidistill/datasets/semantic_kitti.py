"""SemanticKITTI with the images and calibration of KITTI odometry; any part of it is a data set.

Licence of the data: KITTI CC BY-NC-SA 3.0, labels CC BY-NC-SA 4.0 (non-commercial research).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from lidistill import taxonomy as class_lists
from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.fractions import listed, strided, with_fractions
from lidistill.datasets.kitti_layout import Calibration
from lidistill.datasets.scans import image_size, make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.sensing import sensors
from lidistill.sensing.files import read_points
from lidistill.sensing.frame import CameraView, Frame, Matrix, Pose, Sensor
from lidistill.sensing.rigid import invert
from lidistill.taxonomy import Taxonomy

NAME = "semantic-kitti"
LAYOUT = (
    "SemanticKITTI: dataset/sequences/00/velodyne/000000.bin (and labels/, image_2/, calib.txt, poses.txt beside it)"
)
SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(str(sequence) for sequence in range(11, 22)),
}
TRAIN_SCANS = 19_130
SENSOR = sensors.sensor("hdl-64e")
CAMERA = "image_2"


@dataclass(frozen=True, eq=False)
class SemanticKitti:
    """Frames in the order of sequence and number: ``frames`` holds (sequence, stem)."""

    spec: str
    sequences: Path
    taxonomy: Taxonomy | None
    calibrations: dict[str, Calibration]
    frames: kitti.Names
    name: str = NAME
    sensor: Sensor = SENSOR
    reach: float = math.inf
    """Points farther from the lidar than so many metres are left out."""

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The official splits, as far as their sequences are here, and fractions of ``train``: every 100th scan, ...

        With all of ``train`` here, they are the stored lists; with a part of it, the same rule on that part.
        """
        return with_fractions(kitti.splits_by_sequence(self.frames, SPLITS), self._fraction)

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def _fraction(self, rows: Sequence[int], percent: int) -> tuple[int, ...]:
        if len(rows) != TRAIN_SCANS:
            return strided(rows, percent)
        kept = listed(NAME, percent)
        return tuple(row for row in rows if self.frames[row] in kept)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        sequence, stem = self.frames[index]
        root = self.sequences / sequence
        scan, labels = root / "velodyne" / f"{stem}.bin", root / "labels" / f"{stem}.label"
        frame = make_frame(
            read_points(scan, 4),
            scan,
            token=f"{NAME}/{sequence}/{stem}",
            sensor=SENSOR,
            labels=labels if labels.exists() else None,
            taxonomy=self.taxonomy,
            views=self._views(sequence, root / CAMERA / f"{stem}.png"),
        )
        frame = kitti.within(frame, self.reach)
        to_world = read_poses(root).get(int(stem)) if stem.isdecimal() else None
        return frame if to_world is None else replace(frame, pose=Pose(f"{NAME}/{sequence}", to_world))

    def _views(self, sequence: str, image: Path) -> tuple[CameraView, ...]:
        if sequence not in self.calibrations or not image.exists():
            return ()
        camera = self.calibrations[sequence]
        height, width = image_size(str(image))  # differs between sequences
        load = partial(read_image, str(image), height, width)
        return (CameraView(CAMERA, height, width, camera.intrinsics, camera.from_lidar, load),)


def open_semantic_kitti(path: Path, classes: str | None = None, *, reach: str = "") -> SemanticKitti:
    """Open ``path``, ``path/dataset`` or ``path/dataset/sequences``; a sequence is there if it has scans.

    ``reach``: points farther from the lidar than so many metres are left out, with their labels. Raises ``InputError``
    when no scan is found, a sequence with images has no usable ``calib.txt``, and for a ``reach`` that is no length.
    """
    spec = f"{NAME}:{path}" + f"?reach={reach}" * bool(reach)
    metres = kitti.parse_reach(spec, reach)
    folder(path, LAYOUT)
    places = (path / "dataset" / "sequences", path / "sequences", path)
    known = sorted(sequence for sequences in SPLITS.values() for sequence in sequences)
    sequences, frames = kitti.find_sequences(path, places, known, LAYOUT)
    with_images = [s for s in dict.fromkeys(s for s, _ in frames) if (sequences / s / CAMERA).is_dir()]
    return SemanticKitti(
        spec=spec,
        sequences=sequences,
        taxonomy=class_lists.load(classes or "semantic-kitti-19", NAME),
        calibrations={sequence: read_calibration(sequences / sequence / "calib.txt") for sequence in with_images},
        frames=frames,
        reach=metres,
    )


@lru_cache(maxsize=32)
def read_poses(sequence: Path) -> Mapping[int, Matrix]:
    """Number of the scan -> lidar to the first scan's lidar (4, 4), from ``poses.txt`` and ``calib.txt`` of a sequence.

    A line of ``poses.txt`` is camera 0 of that scan in the frame of camera 0 of the first (3, 4), from SemanticKITTI's
    own registration. Empty where one of the files is missing; raises ``InputError`` for a line that is no pose.
    """
    path, calibration = sequence / "poses.txt", sequence / "calib.txt"
    if not path.exists() or not calibration.exists():
        return {}
    to_camera = kitti.rigid(kitti.read_calibration_text(calibration), "Tr", calibration)
    # keys count from 1, as an editor counts the line that a message names
    lines = {str(number): line for number, line in enumerate(kitti.calibration_lines(path), 1) if line.strip()}
    return {int(key) - 1: invert(to_camera) @ kitti.rigid(lines, key, path) @ to_camera for key in lines}


def read_calibration(path: Path) -> Calibration:
    """Read P2 (3, 4) and Tr (3, 4) of a KITTI ``calib.txt``: pixel = P2 [Tr p; 1] (reference facts 7.2)."""
    rows = kitti.read_calibration_text(path)
    return kitti.camera(rows, "P2", path, kitti.rigid(rows, "Tr", path))
