"""The rig folder: a user's own recordings (``docs/reference/rig-folder.md``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np

from lidistill import taxonomy as class_lists
from lidistill.datasets import calibration
from lidistill.datasets.few_labels import label_files, labelled_splits
from lidistill.datasets.fractions import strided, with_fractions
from lidistill.datasets.rig_file import RigFile, read_rig_file, read_splits
from lidistill.datasets.rig_poses import NAME as POSES
from lidistill.datasets.rig_poses import read_poses
from lidistill.datasets.rig_times import NAME as TIMES
from lidistill.datasets.rig_times import Times, read_times
from lidistill.datasets.scans import make_frame, read_image
from lidistill.datasets.source import Source, folder, take_split
from lidistill.errors import InputError, nearest
from lidistill.sensing.files import SUFFIXES, read_points
from lidistill.sensing.frame import CameraView, Distortion, Frame, Matrix, Pose, Sensor
from lidistill.taxonomy import Taxonomy

LAYOUT = "a rig folder with rig.yaml and scans/ (docs/reference/rig-folder.md)"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class RigCamera:
    """A calibrated camera and the image file of every frame ("" where there is none).

    ``times`` (N,) are the seconds of the images, nan where unknown; None without ``times.csv``.
    """

    name: str
    height: int
    width: int
    intrinsics: Matrix
    from_lidar: Matrix
    distortion: Distortion | None
    files: tuple[str, ...]
    times: Times | None = None


@dataclass(frozen=True, eq=False)
class Rig:
    """A rig folder: frame ``i`` is the scan with the ``i``-th name in alphabetical order.

    ``labels``: the folder of the ``.label`` files.
    """

    spec: str
    root: Path
    name: str
    sensor: Sensor
    taxonomy: Taxonomy | None
    columns: int | None
    cameras: tuple[RigCamera, ...]
    stems: tuple[str, ...]
    scans: tuple[str, ...]
    splits: dict[str, tuple[int, ...]]
    labels: Path
    times: Times | None = None
    poses: Mapping[str, Pose] = field(default_factory=dict)
    """By stem."""

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> Frame:
        stem = self.stems[index]
        path = self.root / "scans" / self.scans[index]
        labels = self.label_file(index)
        frame = make_frame(
            read_points(path, self.columns),
            path,
            token=f"{self.name}/{stem}",
            sensor=self.sensor,
            labels=labels if self.taxonomy is not None and labels.exists() else None,
            taxonomy=self.taxonomy,
            views=tuple(self._view(camera, index) for camera in self.cameras if camera.files[index]),
        )
        return replace(frame, timestamp=_time(self.times, index), pose=self.poses.get(stem))

    def label_file(self, index: int) -> Path:
        """Where the labels of a frame are, if it has any."""
        return self.labels / f"{self.stems[index]}.label"

    def _view(self, camera: RigCamera, index: int) -> CameraView:
        path = self.root / "images" / camera.name / camera.files[index]
        return CameraView(
            camera.name,
            camera.height,
            camera.width,
            camera.intrinsics,
            camera.from_lidar,
            partial(read_image, str(path), camera.height, camera.width),
            camera.distortion,
            _time(camera.times, index),
        )

    def split(self, name: str) -> Source:
        """The frames of one split."""
        return take_split(self, name)


def open_rig(path: Path, classes: str | None = None, *, labels: str | None = None) -> Rig:
    """Open a rig folder: read ``rig.yaml`` and ``splits.yaml``, check the calibration, list the files.

    ``labels`` names another folder of label files than the one in the rig; the splits are then those of the scans that
    have one (``few_labels.labelled_splits``). Fractions of ``train`` (every 100th scan, ...) are added to the splits,
    except those that ``splits.yaml`` lists itself.

    Raises ``InputError`` when something in there is wrong (the file or key is named) or nothing is there.
    """
    root = folder(path.expanduser(), LAYOUT)
    if not (root / "rig.yaml").is_file() or not (root / "scans").is_dir():
        missing = "scans/" if (root / "rig.yaml").is_file() else "rig.yaml"
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise InputError(f"{path}: no {missing} in this folder, expected {LAYOUT}; found {found}")
    rig = read_rig_file(root / "rig.yaml")
    scans = _by_stem((root / "scans").iterdir(), SUFFIXES)
    if not scans:
        raise InputError(f"{root / 'scans'}: no scan in this folder; expected files ending in {', '.join(SUFFIXES)}")
    stems = tuple(sorted(scans))
    table, name = root / TIMES, root.resolve().name
    times, seen = read_times(table, stems, tuple(rig.cameras)) if table.exists() else (None, {})
    return Rig(
        spec=str(path) if labels is None else labels_spec(str(path), labels),
        root=root,
        name=name,
        sensor=_sensor(rig),
        taxonomy=_taxonomy(rig, root, classes),
        columns=rig.lidar.columns,
        cameras=tuple(_camera(rig, root, name, stems, seen.get(name)) for name in rig.cameras),
        stems=stems,
        scans=tuple(scans[stem] for stem in stems),
        splits=_splits(root, stems, labels),
        labels=root / "labels" if labels is None else Path(labels).expanduser(),
        times=times,
        poses=read_poses(root / POSES, stems, name) if (root / POSES).exists() else {},
    )


def labels_spec(path: str, labels: str) -> str:
    """How a rig is asked for with the label files of another folder."""
    return f"rig:{path}?labels={quote(labels)}"


def _splits(root: Path, stems: tuple[str, ...], labels: str | None) -> dict[str, tuple[int, ...]]:
    file = root / "splits.yaml"
    splits = read_splits(file, stems) if file.exists() else {"train": tuple(range(len(stems)))}
    if labels is not None:
        splits = labelled_splits(splits, label_files(Path(labels).expanduser(), stems))
    return {**with_fractions(splits, strided), **splits}


def _sensor(rig: RigFile) -> Sensor:
    lidar = rig.lidar
    return Sensor(
        name=lidar.name,
        rate=lidar.rate,
        rings=lidar.rings,
        fov=(lidar.fov[0], lidar.fov[1]) if lidar.fov else None,
        max_range=lidar.max_range,
        intensity=(lidar.intensity[0], lidar.intensity[1]) if lidar.intensity else None,
        forward=lidar.forward,
    )


def _taxonomy(rig: RigFile, root: Path, classes: str | None) -> Taxonomy | None:
    """The rig's own class list, or ``classes`` read from the same raw ids."""
    try:
        if isinstance(rig.classes, list):
            own: Taxonomy | None = class_lists.from_names(rig.classes, name=root.resolve().name)
        elif rig.classes is not None and rig.classes.endswith((".yaml", ".yml")):
            own = class_lists.load(str(root / rig.classes))
        else:
            own = None if rig.classes is None else class_lists.load(rig.classes)
    except InputError as error:
        raise InputError(f"{root / 'rig.yaml'}: {error}") from None
    if classes is None or (own is not None and classes == own.name):
        return own
    if own is not None and not own.source:
        raise InputError(f"{root / 'rig.yaml'}: classes is a list of names, which has no map to {classes!r}; remove it")
    return class_lists.load(classes, None if own is None else own.source)


def _camera(rig: RigFile, root: Path, name: str, stems: tuple[str, ...], times: Times | None) -> RigCamera:
    camera, where = rig.cameras[name], f"{root / 'rig.yaml'}: cameras.{name}"
    lens = camera.distortion
    return RigCamera(
        name,
        camera.height,
        camera.width,
        calibration.intrinsics(camera.intrinsics, where),
        calibration.rigid(camera.from_lidar, f"{where}.from_lidar"),
        Distortion(lens.model, tuple(lens.coefficients)) if lens else None,
        _images(root / "images", name, rig, stems),
        times,
    )


def _time(times: Times | None, index: int) -> float | None:
    return None if times is None or np.isnan(times[index]) else float(times[index])


def _images(images: Path, camera: str, rig: RigFile, stems: tuple[str, ...]) -> tuple[str, ...]:
    """The image file of every scan; a rig without ``images/`` has calibrated cameras and no views."""
    if not images.is_dir():
        return ("",) * len(stems)
    if not (images / camera).is_dir():
        there = [entry.name for entry in images.iterdir() if entry.is_dir() and entry.name not in rig.cameras]
        hint = nearest(camera, there) if there else "; remove the camera from rig.yaml or add the folder"
        raise InputError(f"{images / camera}: no such folder, but rig.yaml has a camera {camera!r}{hint}")
    files = _by_stem((images / camera).iterdir(), IMAGE_SUFFIXES)
    if not any(stem in files for stem in stems):
        example = next(iter(sorted(files.values())), "nothing")
        raise InputError(
            f"{images / camera}: no image is named like a scan; expected {stems[0]}.jpg or .png, found {example}"
        )
    return tuple(files.get(stem, "") for stem in stems)


def _by_stem(entries: Iterable[Path], suffixes: tuple[str, ...]) -> dict[str, str]:
    """Name without suffix -> file name, of the files with a known suffix; two files of one stem are an error."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.suffix.lower() not in suffixes or entry.name.startswith("."):
            continue
        stem = entry.stem.removesuffix(".pcd") if entry.suffix == ".bin" else entry.stem  # nuScenes: x.pcd.bin
        if stem in found:
            pair = " and ".join(sorted((found[stem], entry.name)))
            raise InputError(f"{entry.parent}: {pair} have the same name; keep one of them")
        found[stem] = entry.name
    return found
