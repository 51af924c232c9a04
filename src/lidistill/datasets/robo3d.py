"""Robo3D's released folders: SemanticKITTI-C and nuScenes-C, eight corruptions in three severities, with labels.

Licence of the data: CC BY-NC-SA 4.0 (L. Kong et al.); none of it comes with this package. One corruption in one
severity is one data set, chosen by the options ``corruption`` and ``severity``:

    SemanticKITTI-C/fog/light/velodyne/000000.bin    float32 x y z intensity (0-1); the scans of sequence 08
    SemanticKITTI-C/fog/light/labels/000000.label    uint32, as in SemanticKITTI
    nuScenes-C/fog/light/samples/LIDAR_TOP/*.pcd.bin                           float32 x y z intensity (0-255) ring
    nuScenes-C/fog/light/lidarseg/v1.0-trainval/<LIDAR_TOP token>_lidarseg.bin uint8; key frames of the val scenes

Only the tables of nuScenes say which labels belong to which scan: ``tables=/data/nuscenes`` is the folder that holds
``v1.0-trainval``. Simulated points carry raw ids of their own (fog, snow, crosstalk: 21, 22, 23 and 41, 42, 43), which
no class list knows: they are ignored. There is no training split and there are no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from lidistill import taxonomy as class_lists
from lidistill.datasets import kitti_layout as kitti
from lidistill.datasets.index import open_index
from lidistill.datasets.nuscenes import with_labels
from lidistill.datasets.nuscenes_tables import LAYOUT_VERSION, TABLES, read_tables
from lidistill.datasets.scans import make_frame
from lidistill.datasets.source import Source, folder, take_split
from lidistill.errors import InputError, nearest
from lidistill.sensing.files import PointFile, read_points
from lidistill.sensing.frame import Frame, Sensor
from lidistill.sensing.sensors import sensor
from lidistill.taxonomy import Taxonomy

CORRUPTIONS = (
    *("fog", "wet_ground", "snow", "motion_blur"),
    *("beam_missing", "crosstalk", "incomplete_echo", "cross_sensor"),
)
SEVERITIES = ("light", "moderate", "heavy")

KITTI_NAME = "semantic-kitti-c"
KITTI_LAYOUT = "SemanticKITTI-C: fog/light/velodyne/000000.bin (and labels/ beside velodyne/)"
KITTI_SCANS = "velodyne"

NUSCENES_NAME = "nuscenes-c"
NUSCENES_LAYOUT = "nuScenes-C: fog/light/samples/LIDAR_TOP/*.pcd.bin (and lidarseg/v1.0-trainval/ beside samples/)"
NUSCENES_SCANS = "samples/LIDAR_TOP"
NUSCENES_SENSOR = sensor("hdl-32e")
VERSION = "v1.0-trainval"
SIMULATED = (41, 42, 43)
"""Raw ids of fog, snow and crosstalk in nuScenes-C."""


@dataclass(frozen=True, eq=False)
class NuScenesC:
    """Key frames in the order of the scene table and of time: ``frames`` holds (file name, token) of the scans."""

    spec: str
    root: Path
    part: str
    taxonomy: Taxonomy | None
    frames: tuple[tuple[str, str], ...]
    name: str = NUSCENES_NAME
    sensor: Sensor = NUSCENES_SENSOR

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """All of it is ``val``."""
        return {"val": tuple(range(len(self.frames)))}

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        file, token = self.frames[index]
        scan = self.root / self.part / NUSCENES_SCANS / file
        labels = self.root / self.part / "lidarseg" / VERSION / f"{token}_lidarseg.bin"
        cloud = read_points(scan, 5)
        if self.taxonomy is not None and labels.exists():
            cloud = _without_simulated(with_labels(cloud, labels, scan))
        return make_frame(
            cloud,
            scan,
            token=f"{NUSCENES_NAME}/{self.part}/{token}",
            sensor=self.sensor,
            taxonomy=self.taxonomy,
        )


def _without_simulated(cloud: PointFile) -> PointFile:
    """Simulated points as noise: their ids belong to this data set, and beyond a class list they look like a fault."""
    assert cloud.labels is not None
    return replace(cloud, labels=np.where(np.isin(cloud.labels, SIMULATED), np.uint32(0), cloud.labels))


def open_semantic_kitti_c(
    path: Path, classes: str | None = None, *, corruption: str = "", severity: str = ""
) -> kitti.Sequences:
    """Open one corruption in one severity; classes ``semantic-kitti-19`` unless others are asked for.

    Raises ``InputError``, saying what is there, when an option is missing or names what is not.
    """
    folder(path, KITTI_LAYOUT)
    part = _part(f"{KITTI_NAME}:{path}", path, KITTI_SCANS, KITTI_LAYOUT, corruption, severity)
    root, frames = kitti.find_sequences(path, [path], [part], KITTI_LAYOUT)
    return kitti.Sequences(
        spec=f"{KITTI_NAME}:{path}?corruption={corruption}&severity={severity}",
        name=KITTI_NAME,
        root=root,
        sensor=sensor("hdl-64e"),
        taxonomy=class_lists.load(classes or "semantic-kitti-19", "semantic-kitti"),
        frames=frames,
        splits={"val": tuple(range(len(frames)))},
    )


def open_nuscenes_c(
    path: Path, classes: str | None = None, *, corruption: str = "", severity: str = "", tables: str = ""
) -> NuScenesC:
    """Open one corruption in one severity; classes ``nuscenes-16`` unless others are asked for.

    ``tables``: the folder of nuScenes that holds ``v1.0-trainval``; default ``path``. The first opening parses them (a
    minute), as does that of nuScenes itself. Raises ``InputError``, saying what is there, when an option is missing or
    names what is not.
    """
    folder(path, NUSCENES_LAYOUT)
    part = _part(f"{NUSCENES_NAME}:{path}", path, NUSCENES_SCANS, NUSCENES_LAYOUT, corruption, severity)
    home = Path(tables).expanduser() if tables else path
    if not (home / VERSION).is_dir():
        raise InputError(
            f"{home / VERSION}: does not exist, but only the tables of nuScenes say which labels belong to which scan; "
            "add &tables=/path/to/nuscenes"
        )
    frames = _frames(path / part / NUSCENES_SCANS, home)
    query = f"corruption={corruption}&severity={severity}" + f"&tables={quote(tables)}" * bool(tables)
    return NuScenesC(
        spec=f"{NUSCENES_NAME}:{path}?{query}",
        root=path,
        part=part,
        taxonomy=class_lists.load(classes or "nuscenes-16", "nuscenes"),
        frames=frames,
    )


def _part(spec: str, path: Path, scans: str, layout: str, corruption: str, severity: str) -> str:
    """``fog/light``, if it has scans."""
    there = {
        name: [level for level in SEVERITIES if (path / name / level / scans).is_dir()]
        for name in CORRUPTIONS
        if (path / name).is_dir()
    }
    there = {name: levels for name, levels in there.items() if levels}
    if not there:
        raise kitti.nothing_found(path, layout)
    listed = ", ".join(f"{name} ({', '.join(levels)})" for name, levels in there.items())
    if not corruption or not severity:
        missing = "severity" if corruption else "corruption"
        raise InputError(f"{spec}: the option {missing!r} is missing, add ?corruption=...&severity=...; found {listed}")
    if corruption not in there:
        raise InputError(f"{spec}: no corruption {corruption!r}{nearest(corruption, there)}; found {listed}")
    if severity not in there[corruption]:
        raise InputError(f"{spec}: no severity {severity!r}{nearest(severity, there[corruption])}; found {listed}")
    return f"{corruption}/{severity}"


def _frames(scans: Path, tables: Path) -> tuple[tuple[str, str], ...]:
    """(file name, token) of the key frames whose scan is in the folder ``scans``."""
    inputs = [tables / VERSION / table for table in TABLES]
    index = open_index(f"nuscenes-{VERSION}", tables, inputs, LAYOUT_VERSION, lambda: read_tables(tables / VERSION))
    here = set(kitti.stems(scans))
    rows = index["frame_scan"]
    names = (Path(file.decode()).name for file in index["scan_file"][rows].tolist())
    tokens = (token.decode() for token in index["scan_token"][rows].tolist())
    frames = tuple(
        (name, token) for name, token in zip(names, tokens, strict=True) if name.removesuffix(".bin") in here
    )
    if not frames:
        example = min(here, default="")
        found = f"{len(here)} scans, such as {example}.bin, but none of them is in the tables" if here else "no scan"
        raise InputError(f"{scans}: {found} of {tables / VERSION}; check that both are of nuScenes {VERSION}")
    return frames
