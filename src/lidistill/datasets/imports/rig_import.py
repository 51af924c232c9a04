"""Calibrations in other formats -> ``rig.yaml`` of a rig folder (``docs/how-to/own-rig.md``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lidistill.datasets.imports.kitti_calib import read_calib
from lidistill.datasets.imports.ros_camera import camera_entry, read_info
from lidistill.datasets.imports.ros_transforms import plain, read_extrinsics
from lidistill.datasets.rig_file import CalibrationLoader, read_rig_file, read_yaml
from lidistill.datasets.scans import image_size
from lidistill.datasets.source import folder
from lidistill.errors import InputError
from lidistill.sensing.files import write_atomically

RIG = "a rig folder (docs/reference/rig-folder.md)"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LEFT_COLOUR = 2
"""KITTI's camera of the images everybody uses."""


def from_kitti_calib(calib: Path, rig: Path, *, overwrite: bool = False) -> Path:
    """Write the cameras of a KITTI ``calib.txt`` (odometry, object or tracking) into ``rig/rig.yaml``; return it.

    Every folder ``rig/images/x`` whose name ends in the number of a projection (``image_2``, ``image_02``, ``cam3``)
    gets P2, P3, ...; a folder that is the only one, and has no number, gets P2. The size is that of its first image.

    Raises ``InputError`` when the calibration is damaged, no folder corresponds, or a camera is already there with
    other values and ``overwrite`` is false.
    """
    known = read_calib(calib)
    images = _first_images(rig)
    if not images:
        raise InputError(f"{rig / 'images'}: no folder with images; expected {rig / 'images' / 'image_2'} or the like")
    cameras = {}
    for name, image in images.items():
        digits = re.search(r"(\d+)$", name)
        number = int(digits[1]) if digits else (LEFT_COLOUR if len(images) == 1 else None)
        if number in known:
            height, width = image_size(str(image))
            cameras[name] = {
                "height": height,
                "width": width,
                "intrinsics": known[number].intrinsics.tolist(),
                "from_lidar": known[number].from_lidar.tolist(),
            }
    if not cameras:
        raise InputError(
            f"{rig / 'images'}: no folder is called like a camera of {calib} ({_names(known)}); found "
            f"{', '.join(images)}, rename them to image_2 and so on"
        )
    return update_rig(rig, cameras, overwrite=overwrite)


def from_ros(camera_infos: Sequence[Path], extrinsics: Path, rig: Path, *, overwrite: bool = False) -> Path:
    """Write cameras given by ROS ``camera_info`` YAML files and one extrinsics file into ``rig/rig.yaml``; return it.

    Forms of the files: ``ros_camera.read_info`` and ``ros_transforms``. A camera is called like the folder of
    ``rig/images`` that bears the name of its file (``front.yaml``, ``front_camera_info.yaml``) or its ``camera_name``;
    without ``rig/images``, by ``camera_name`` or else its file. Pictures are taken as they left the camera: K and D.

    Raises ``InputError`` when a file is damaged, a camera cannot be told, its images have another size, or it is
    already there with other values and ``overwrite`` is false.
    """
    folder(rig, RIG)
    if not camera_infos:
        raise InputError(f"{rig}: no camera_info file given, expected one for every camera")
    known, images = read_extrinsics(extrinsics), _first_images(rig)
    cameras: dict[str, dict[str, Any]] = {}
    for path in camera_infos:
        info = read_info(path)
        name = _camera_name(path, info, list(images))
        if name in cameras:
            raise InputError(f"{path}: a second camera_info for {name!r}; give one for every camera")
        header = info["header"] if isinstance(info.get("header"), dict) else {}
        frame = info.get("frame_id") or header.get("frame_id")
        pose = known.from_lidar(name, plain(str(frame)) if frame else None)
        cameras[name] = camera_entry(info, pose, str(path))
        if name in images:
            check_size(image_size(str(images[name])), cameras[name], str(images[name]), str(path))
    return update_rig(rig, cameras, overwrite=overwrite)


def update_rig(
    rig: Path, cameras: Mapping[str, Mapping[str, Any]], lidar: Mapping[str, Any] | None = None, overwrite: bool = False
) -> Path:
    """Add ``cameras`` to ``rig/rig.yaml``; everything else in there stays (comments do not).

    Without a file, one is made with ``lidar``, or a lidar named like the folder. Raises ``InputError`` when the file
    that is there is wrong, or has one of the cameras with other values and ``overwrite`` is false.
    """
    folder(rig, RIG)
    path = rig / "rig.yaml"
    content: dict[str, Any] = {"lidar": dict(lidar or {"name": rig.resolve().name})}
    if path.exists():
        read_rig_file(path)  # says what is wrong with it
        content = read_yaml(path, CalibrationLoader)
    present = content.get("cameras") or {}
    changed = [name for name in cameras if name in present and present[name] != cameras[name]]
    if changed and not overwrite:
        raise InputError(
            f"{path}: camera {changed[0]!r} is already there with other values; remove it from the file or ask to "
            "overwrite it"
        )
    content["cameras"] = {**present, **{name: dict(camera) for name, camera in cameras.items()}}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return path


def check_size(size: tuple[int, int], camera: Mapping[str, Any], image: str, calibration: str) -> None:
    """``InputError`` when an image of ``size`` (height, width) is not the one that was calibrated."""
    expected = (camera["height"], camera["width"])
    if size != expected:
        raise InputError(
            f"{image}: {size[0]} x {size[1]} pixels, but {calibration} is for {expected[0]} x {expected[1]} (height x "
            "width); give the calibration of these images"
        )


def _first_images(rig: Path) -> dict[str, Path]:
    """Folder below ``rig/images`` -> its first image, of those that have one."""
    folder(rig, RIG)
    found = {}
    for entry in sorted((rig / "images").iterdir()) if (rig / "images").is_dir() else ():
        files = [file for file in entry.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES] if entry.is_dir() else []
        if files:
            found[entry.name] = min(files)
    return found


def _camera_name(path: Path, info: Mapping[str, Any], folders: Sequence[str]) -> str:
    stem = re.sub(r"[_.-]?camera_?info$|[_.-]info$", "", path.stem)
    named = str(info["camera_name"]) if info.get("camera_name") else None
    candidates = [name for name in (path.stem, stem, named) if name]
    if not folders:
        return named or stem or path.stem
    for name in candidates:
        if name in folders:
            return name
    if len(folders) == 1:
        return folders[0]
    raise InputError(
        f"{path}: which camera is it? no folder of images is called {' or '.join(dict.fromkeys(candidates))}; found "
        f"{', '.join(folders)}, name the file like the folder"
    )


def _names(known: Mapping[int, Any]) -> str:
    return ", ".join(f"P{number}" for number in known)
