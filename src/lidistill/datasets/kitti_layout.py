"""What the KITTI-like layouts share: where scans lie, how calibration text is read, scans with labels beside them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lidistill.datasets import calibration
from lidistill.datasets.scans import make_frame
from lidistill.datasets.source import Source, take_split
from lidistill.errors import InputError
from lidistill.sensing.files import read_points
from lidistill.sensing.frame import Frame, Matrix, Sensor
from lidistill.taxonomy import Taxonomy

Names = tuple[tuple[str, str], ...]
"""(sequence, stem) of every scan, in the order of both."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Scans with labels and no pictures: ``root/SEQUENCE/velodyne/STEM.bin`` and ``labels/STEM.label``.

    A scan without its ``.label`` file has no labels.
    """

    spec: str
    name: str
    root: Path
    sensor: Sensor
    taxonomy: Taxonomy | None
    frames: Names
    splits: Mapping[str, tuple[int, ...]]
    reach: float = math.inf
    """Points farther from the lidar than so many metres are left out."""

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        sequence, stem = self.frames[index]
        scan = self.root / sequence / "velodyne" / f"{stem}.bin"
        labels = self.root / sequence / "labels" / f"{stem}.label"
        frame = make_frame(
            read_points(scan, 4),
            scan,
            token=f"{self.name}/{sequence}/{stem}",
            sensor=self.sensor,
            labels=labels if labels.exists() else None,
            taxonomy=self.taxonomy,
        )
        return within(frame, self.reach)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rectified camera: ``intrinsics`` (3, 3), ``from_lidar`` (4, 4)."""

    intrinsics: Matrix
    from_lidar: Matrix


def find_sequences(path: Path, places: Iterable[Path], known: Sequence[str], layout: str) -> tuple[Path, Names]:
    """The first of ``places`` that has scans of a ``known`` sequence, and those scans; ``InputError`` if none has."""
    for place in places:
        frames = tuple((sequence, stem) for sequence in known for stem in stems(place / sequence / "velodyne"))
        if frames:
            return place, frames
    raise nothing_found(path, layout)


def nothing_found(path: Path, layout: str) -> InputError:
    """That ``path`` has no scan in the expected ``layout``, and what it has instead."""
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
    return InputError(f"{path}: no scan found, expected {layout}; found {found}")


def stems(folder: Path, suffix: str = ".bin") -> list[str]:
    """Sorted names, without ``suffix``, of the files in ``folder``; none when it is no folder."""
    if not folder.is_dir():
        return []
    # a hundred thousand paths take pathlib's glob seconds
    return sorted(n.removesuffix(suffix) for n in os.listdir(folder) if n.endswith(suffix) and not n.startswith("."))


def parse_reach(spec: str, text: str) -> float:
    """Metres of the option ``reach``, infinite where it is empty; ``InputError`` for what is no length."""
    try:
        metres = float(text or "inf")
    except ValueError:
        metres = math.nan
    if not metres > 0:
        raise InputError(f"{spec}: reach {text!r} is no length; expected metres, for example reach=50")
    return metres


def within(frame: Frame, reach: float) -> Frame:
    """The points up to ``reach`` metres from the lidar; ``InputError`` when there is none."""
    if math.isinf(reach):
        return frame
    near = frame.select(np.linalg.norm(frame.points, axis=1) <= reach)
    if not len(near):
        raise InputError(f"{frame.token}: none of its {len(frame)} points lies within {reach:g} m; open without reach")
    return near


def splits_by_sequence(frames: Names, sequences: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Frame numbers of every split, given its ``sequences``; a split without a frame is left out."""
    found = {
        split: tuple(i for i, (name, _) in enumerate(frames) if name in names) for split, names in sequences.items()
    }
    return {split: rows for split, rows in found.items() if rows}


def read_calibration_text(path: Path) -> dict[str, str]:
    """Key -> text of lines ``key: numbers``; ``InputError`` when the file cannot be read."""
    pairs = (line.partition(":") for line in calibration_lines(path))
    return {key.strip(): text for key, colon, text in pairs if colon}


def calibration_lines(path: Path) -> list[str]:
    """The lines of a calibration file; ``InputError`` when it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); images need this calibration") from None


def numbers(rows: Mapping[str, str], key: str, path: Path, shape: tuple[int, ...]) -> Matrix:
    """The numbers of line ``key``; ``InputError`` for a line that is missing, of another length or not finite."""
    if key not in rows:
        raise InputError(f"{path}: no line {key!r}; found {', '.join(rows) or 'nothing'}; copy the calibration again")
    try:
        values = np.array([float(word) for word in rows[key].split()])
    except ValueError as error:
        raise InputError(f"{path}: line {key!r}: {error}; expected {np.prod(shape)} numbers") from None
    if len(values) != np.prod(shape):
        rows_of = f" ({shape[0]} rows of {shape[1]})" if len(shape) == 2 else ""
        raise InputError(f"{path}: line {key!r} has {len(values)} numbers, expected {np.prod(shape)}{rows_of}")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: line {key!r} holds NaN or infinite values, expected numbers")
    return values.reshape(shape)


def rigid(rows: Mapping[str, str], key: str, path: Path) -> Matrix:
    """(4, 4) of a line with 12 numbers: rotation and translation, row by row."""
    return calibration.rigid([*numbers(rows, key, path, (3, 4)).tolist(), [0, 0, 0, 1]], f"{path}: {key}")


def rotation(rows: Mapping[str, str], key: str, path: Path) -> Matrix:
    """(4, 4) of a line with the 9 numbers of a rotation."""
    matrix = np.eye(4)
    matrix[:3, :3] = numbers(rows, key, path, (3, 3))
    return calibration.rigid(matrix.tolist(), f"{path}: {key}")


def camera(rows: Mapping[str, str], key: str, path: Path, to_camera_0: Matrix) -> Calibration:
    """The camera whose projection P (3, 4) is line ``key``: pixel = P (to_camera_0 [p; 1]).

    ``to_camera_0`` (4, 4) takes lidar coordinates to the rectified camera 0. With P = K [I | K^-1 p4], the left 3 x 3
    block is the camera matrix and K^-1 p4 moves camera 0 to this camera.
    """
    projection = numbers(rows, key, path, (3, 4))
    matrix = calibration.intrinsics(projection[:, :3].tolist(), f"{path}: {key}")
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(matrix, projection[:, 3])
    return Calibration(matrix, shift @ to_camera_0)
