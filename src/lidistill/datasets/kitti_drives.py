"""Drives as KITTI raw and KITTI-360 record them: scans, rectified pictures and time stamps, matched by frame number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.kitti_layout import Calibration
from lidistill.datasets.scans import make_frame, read_image
from lidistill.datasets.source import Source, take_split
from lidistill.errors import InputError, nearest
from lidistill.sensing.files import read_points
from lidistill.sensing.frame import CameraView, Frame, Matrix, Sensor
from lidistill.sensing.sensors import sensor

log = logging.getLogger("lidistill")

Times = NDArray[np.float64]
"""Seconds since 1970 by frame number; NaN where nothing was recorded."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A rectified camera of one drive: ``folder/STEM.png`` are its pictures."""

    name: str
    folder: Path
    height: int
    width: int
    calibration: Calibration
    times: Times

    def view(self, stem: str) -> CameraView | None:
        """The picture with the number of the scan; None when it is not there."""
        path = self.folder / f"{stem}.png"
        if not path.exists():
            return None
        return CameraView(
            self.name,
            self.height,
            self.width,
            self.calibration.intrinsics,
            self.calibration.from_lidar,
            partial(read_image, str(path), self.height, self.width),
            timestamp=time_of(self.times, stem),
        )


@dataclass(frozen=True, eq=False)
class Drive:
    """``scans/STEM.bin`` of one drive, where STEM is the frame number."""

    scans: Path
    times: Times
    cameras: tuple[Camera, ...]


@dataclass(frozen=True, eq=False)
class Drives:
    """Frames in the order of drive and number, without labels: ``frames`` holds (drive, stem)."""

    spec: str
    name: str
    sensor: Sensor
    drives: Mapping[str, Drive]
    frames: kitti.Names
    splits: Mapping[str, tuple[int, ...]]
    taxonomy: None = None

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        name, stem = self.frames[index]
        drive = self.drives[name]
        scan = drive.scans / f"{stem}.bin"
        frame = make_frame(
            read_points(scan, 4),
            scan,
            token=f"{self.name}/{name}/{stem}",
            sensor=self.sensor,
            views=tuple(view for camera in drive.cameras if (view := camera.view(stem)) is not None),
        )
        return replace(frame, timestamp=time_of(drive.times, stem))


def open_drives(
    name: str,
    path: Path,
    classes: str | None,
    wanted: str,
    *,
    found: Iterable[Path],
    layout: str,
    read: Callable[[Path, list[str]], Drive],
    test: Sequence[str] = (),
) -> Drives:
    """The drives among the folders ``found`` that have scans and are ``wanted`` (by number or name, commas between).

    ``read`` makes a ``Drive`` of a folder and its frame numbers. All are ``train`` but those named in ``test``. Raises
    ``InputError`` when no scan is there, a wanted drive is not, or ``classes`` are asked for: there are no labels.
    """
    spec = f"{name}:{path}" + f"?drives={wanted}" * bool(wanted)
    if classes is not None:
        raise InputError(
            f"{spec}: this data set has no labels of single scans, so no classes {classes!r}; leave them out"
        )
    listed = {drive: stems for drive in found if (stems := kitti.stems(drive / "velodyne_points" / "data"))}
    if not listed:
        raise kitti.nothing_found(path, layout)
    chosen = _choose(spec, wanted, sorted(listed, key=lambda drive: drive.name))
    frames = tuple((drive.name, stem) for drive in chosen for stem in listed[drive])
    names = [drive.name for drive in chosen]
    return Drives(
        spec=spec,
        name=name,
        sensor=sensor("hdl-64e"),
        drives={drive.name: read(drive, listed[drive]) for drive in chosen},
        frames=frames,
        splits=kitti.splits_by_sequence(frames, {"train": [n for n in names if n not in test], "test": test}),
    )


def _choose(spec: str, wanted: str, there: list[Path]) -> list[Path]:
    words = [word for word in wanted.split(",") if word]
    numbers = [drive.name.partition("_drive_")[2].partition("_")[0] for drive in there]
    missing = next((word for word in words if word not in numbers and word not in [d.name for d in there]), None)
    if missing is not None:
        raise InputError(f"{spec}: no drive {missing!r} with scans{nearest(missing, numbers)}")
    return [d for d, number in zip(there, numbers, strict=True) if not words or number in words or d.name in words]


def rectified_camera(rows: Mapping[str, str], path: Path, number: str, velodyne_to_camera: Matrix) -> Calibration:
    """Camera ``number`` ("02"): pixel = P_rect_02 R_rect_00 velodyne_to_camera p, all cameras rectified to camera 0."""
    return kitti.camera(rows, f"P_rect_{number}", path, kitti.rotation(rows, "R_rect_00", path) @ velodyne_to_camera)


def rectified_size(rows: Mapping[str, str], path: Path, number: str) -> tuple[int, int]:
    """(height, width) in pixels of the rectified pictures, line ``S_rect_NN``: width height."""
    width, height = kitti.numbers(rows, f"S_rect_{number}", path, (2,))
    return int(height), int(width)


def read_times(path: Path, stems: list[str]) -> Times:
    """Times of a ``timestamps.txt``, a line a frame number; empty when there is no file.

    ``stems`` are the frames that need one: those beyond the last line have no time, which is said once. Raises
    ``InputError`` for a line that is no date and time.
    """
    if not path.is_file():
        return np.zeros(0)
    try:
        lines = [line.strip() or "NaT" for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
        stamps = np.array(lines, "datetime64[ns]")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected lines such as 2011-09-26 13:02:25.964389445") from None
    late = sum(int(stem) >= len(lines) for stem in stems if stem.isdecimal())
    if late:
        log.warning(f"{path}: {len(lines)} lines, but scans up to number {stems[-1]}; {late} frames have no time")
    return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / 1e9)


def time_of(times: Times, stem: str) -> float | None:
    """Time of the frame whose number is ``stem``, in seconds since 1970; None when it was not recorded."""
    number = int(stem) if stem.isdecimal() else len(times)
    return float(times[number]) if number < len(times) and np.isfinite(times[number]) else None
