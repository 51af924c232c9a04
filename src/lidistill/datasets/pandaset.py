"""PandaSet: the spinning Pandar64 and the forward PandarGT as two data sets; any part of it is a data set.

Licence of the data: CC BY 4.0 (Hesai, Scale AI); none of it comes with this package.

    pandaset/
      001/                           three digits
        lidar/00.pkl.gz              pickled table: x y z (world), i (0-255), t, d (0 Pandar64, 1 PandarGT)
        lidar/poses.json             an entry a frame; timestamps.json beside it (optional)
        annotations/semseg/00.pkl.gz column class, a row a point of both sensors (optional)
        camera/front_camera/00.jpg   and five more cameras (optional); intrinsics.json poses.json timestamps.json
        meta/gps.json                for the geographic split

Points go from the world to the frame of the lidar's pose and are lowered by 1.6 m, as in ScaLR: x right, y ahead, z
up, the road about 1.7 m below. Pickles are never executed (``pickled_table.py``). What differs from the published
loaders: points are cast to float32 in that frame before anything else is done with them, not after voxels were chosen
in the world; the margins of a picture are those of all data sets; every camera whose picture is there is a view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill import taxonomy as class_lists
from lidistill.datasets.fractions import strided, with_fractions
from lidistill.datasets.kitti_layout import Names, nothing_found, stems
from lidistill.datasets.options import checked_spec
from lidistill.datasets.pandaset_tables import read_intrinsics, read_latitude, read_pose, read_time
from lidistill.datasets.pickled_table import read_pickled_table
from lidistill.datasets.scans import image_size, make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.errors import InputError
from lidistill.sensing import sensors
from lidistill.sensing.files import PointFile
from lidistill.sensing.frame import CameraView, Frame, Matrix, Pose, Sensor
from lidistill.sensing.rigid import invert, transform
from lidistill.taxonomy import Taxonomy

LAYOUT = "PandaSet: 001/lidar/00.pkl.gz (and annotations/semseg/, camera/, meta/ beside lidar/)"
PROTOCOLS = ("geographic", "temporal")
COUNTED = ("labelled", "all")
LATITUDE = 37.6
"""Degrees: sequences that begin north of it (San Francisco) are ScaLR's ``train``, those on the peninsula ``val``."""
EARLY = 50
"""The first frames of a sequence, of 80, that are ``train`` in the temporal split (TTYD)."""
LOWERED = 1.6
"""Metres that z is lowered by."""
RAISE = np.eye(4)
RAISE[2, 3] = LOWERED


@dataclass(frozen=True, eq=False)
class PandaSet:
    """Frames in the order of sequence and number: ``frames`` holds (sequence, stem), ``device`` the value of d."""

    spec: str
    name: str
    root: Path
    device: int
    sensor: Sensor
    taxonomy: Taxonomy | None
    frames: Names
    splits: Mapping[str, tuple[int, ...]]

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        sequence, stem = self.frames[index]
        root = self.root / sequence
        scan, labels = root / "lidar" / f"{stem}.pkl.gz", root / "annotations" / "semseg" / f"{stem}.pkl.gz"
        pose = read_pose(root / "lidar" / "poses.json", int(stem))
        frame = make_frame(
            read_sweep(scan, labels if self.taxonomy is not None and labels.exists() else None, self.device, pose),
            scan,
            token=f"{self.name}/{sequence}/{stem}",
            sensor=self.sensor,
            taxonomy=self.taxonomy,
            views=_views(root / "camera", stem, pose),
        )
        time = read_time(root / "lidar" / "timestamps.json", int(stem))
        return replace(frame, timestamp=time, pose=Pose(f"{self.name}/{sequence}", pose @ RAISE))


def open_pandar64(
    path: Path, classes: str | None = None, *, split: str = "geographic", frames: str = "labelled"
) -> PandaSet:
    """Open the scans of the spinning Pandar64.

    ``split``: ``geographic`` (ScaLR: by the first GPS latitude of a sequence) or ``temporal`` (the first 50 frames of
    a sequence train, the last 30 val). ``frames``: the splits hold ``labelled`` frames, or ``all``. Raises
    ``InputError`` when no scan is there, for an unknown option, and without the GPS that the geographic split needs.
    """
    return _open("pandaset-64", path, classes, split, frames, device=0, lidar="pandar64")


def open_pandar_gt(
    path: Path, classes: str | None = None, *, split: str = "geographic", frames: str = "labelled"
) -> PandaSet:
    """Open the scans of the forward PandarGT; options and errors are those of ``open_pandar64``."""
    return _open("pandaset-gt", path, classes, split, frames, device=1, lidar="pandargt")


def read_sweep(path: Path, labels: Path | None, device: int, pose: Matrix) -> PointFile:
    """The points of one sensor in the lowered frame of the lidar's ``pose`` (4, 4); ``time`` since the first of them.

    ``labels`` has a row for every point of both sensors. Raises ``InputError`` when it has another number.
    """
    table = read_pickled_table(path, ["x", "y", "z", "i", "t", "d"])
    kept = table["d"] == device
    world = np.stack([table[axis][kept] for axis in "xyz"], axis=1)
    time = table["t"][kept]
    return PointFile(
        from_world(world, pose).astype(np.float32),
        table["i"][kept].astype(np.float32),
        time=(time - time.min(initial=np.inf)).astype(np.float32),
        labels=None if labels is None else _raw_labels(labels, path, kept),
    )


def from_world(points: NDArray[np.float64], pose: Matrix) -> NDArray[np.float64]:
    """World (N, 3) -> the frame whose ``pose`` in the world is given, z lowered by 1.6 m; float64 throughout."""
    moved = transform(points, invert(pose))
    moved[:, 2] -= LOWERED
    return moved


def _raw_labels(path: Path, scan: Path, kept: NDArray[np.bool_]) -> NDArray[np.uint32]:
    raw = read_pickled_table(path, ["class"])["class"]
    if len(raw) != len(kept):
        raise InputError(f"{path}: {len(raw)} labels, expected {len(kept)} as there are points in {scan}; copy both")
    raw = raw[kept]
    if raw.dtype.kind not in "iu" or raw.min(initial=0) < 0 or raw.max(initial=0) > 255:
        raise InputError(f"{path}: expected class numbers from 0 to 255, found {raw.dtype} {raw[:5]}; copy it again")
    return raw.astype(np.uint32)


def _views(cameras: Path, stem: str, pose: Matrix) -> tuple[CameraView, ...]:
    """The cameras whose picture of this frame is here, in the order of their names."""
    images = sorted(cameras.glob(f"*/{stem}.jpg"))
    return tuple(_view(image, int(stem), pose) for image in images)


def _view(image: Path, number: int, pose: Matrix) -> CameraView:
    camera = image.parent
    height, width = image_size(str(image))
    return CameraView(
        camera.name,
        height,
        width,
        read_intrinsics(camera / "intrinsics.json"),
        invert(read_pose(camera / "poses.json", number)) @ pose @ RAISE,
        partial(read_image, str(image), height, width),
        timestamp=read_time(camera / "timestamps.json", number),
    )


# ---- opening


def _open(name: str, path: Path, classes: str | None, split: str, frames: str, *, device: int, lidar: str) -> PandaSet:
    spec = checked_spec(name, path, split=(split, PROTOCOLS), frames=(frames, COUNTED))
    root, found = _find(folder(path, LAYOUT))
    labelled = _labelled(root, found) if frames == "labelled" else ()
    return PandaSet(
        spec=spec,
        name=name,
        root=root,
        device=device,
        sensor=sensors.sensor(lidar),
        taxonomy=class_lists.load(classes or "pandaset-17", "pandaset"),
        frames=found,
        splits=_splits(root, found, labelled or tuple(range(len(found))), split),
    )


def _find(path: Path) -> tuple[Path, Names]:
    """The folder of the sequences, ``path`` or ``path/pandaset``, and (sequence, stem) of every scan."""
    for root in (path, path / "pandaset"):
        sequences = sorted(entry.name for entry in root.glob("[0-9][0-9][0-9]"))
        frames = tuple((name, stem) for name in sequences for stem in _numbered(root / name / "lidar"))
        if frames:
            return root, frames
    raise nothing_found(path, LAYOUT)


def _numbered(path: Path) -> list[str]:
    return [stem for stem in stems(path, ".pkl.gz") if stem.isdecimal()]


def _labelled(root: Path, frames: Names) -> tuple[int, ...]:
    """Numbers of the frames that have a file of labels."""
    found = {name: set(_numbered(root / name / "annotations" / "semseg")) for name in {name for name, _ in frames}}
    return tuple(row for row, (name, stem) in enumerate(frames) if stem in found[name])


def _splits(root: Path, frames: Names, rows: tuple[int, ...], protocol: str) -> dict[str, tuple[int, ...]]:
    """``train`` and ``val`` among ``rows``, and fractions of ``train``: every 100th frame, ..."""
    if protocol == "temporal":
        train = {row for row in rows if int(frames[row][1]) < EARLY}
    else:
        north = {name for name in {frames[row][0] for row in rows} if _latitude(root / name) > LATITUDE}
        train = {row for row in rows if frames[row][0] in north}
    halves = {"train": tuple(r for r in rows if r in train), "val": tuple(r for r in rows if r not in train)}
    return with_fractions({split: found for split, found in halves.items() if found}, strided)


def _latitude(sequence: Path) -> float:
    path = sequence / "meta" / "gps.json"
    if not path.exists():
        raise InputError(f"{path}: is missing, the geographic split needs it; copy it or open with ?split=temporal")
    return read_latitude(path)
