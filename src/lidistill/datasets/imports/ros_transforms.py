"""Static transforms between named frames, and the extrinsics files that say where the cameras are.

An extrinsics file is YAML of one of three forms, each of which says its direction:

* ``front: {from_lidar: 4 x 4}`` by camera, or ``to_lidar`` for the inverse;
* ROS transforms, in a list, under ``transforms:`` or as printed by ``ros2 topic echo /tf_static``:
  ``header: {frame_id: parent}, child_frame_id: child, transform: {translation: {x, y, z}, rotation: {x, y, z, w}}`` or
  the same in short, ``{parent: ..., child: ..., translation: [x, y, z], rotation: [x, y, z, w]}``. As in ROS, they
  take coordinates of the child to the parent. ``lidar_frame: name`` beside ``transforms:`` names the lidar;
* kalibr: ``cam0: {T_cam_lidar: 4 x 4}`` (lidar -> camera), and ``T_cn_cnm1`` (the camera before -> this one) after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.datasets import calibration
from lidistill.datasets.imports.ros_camera import documents
from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Matrix
from lidistill.sensing.rigid import from_quaternion, invert

LIDAR_WORDS = ("lidar", "velo", "ouster", "os_sensor", "hesai", "pandar", "livox", "rslidar", "robosense")
POSE_KEYS = ("from_lidar", "to_lidar", "T_cam_lidar", "T_cn_cnm1")


@dataclass
class FrameTree:
    """Rigid transforms between named frames: ``poses[child] = (parent, child -> parent (4, 4))``."""

    poses: dict[str, tuple[str, Matrix]] = field(default_factory=dict)

    def add(self, parent: str, child: str, translation: Any, rotation: Any, where: str) -> None:
        """``rotation`` is a quaternion x y z w. A child said twice has the later pose, as in ROS."""
        shift = _components(translation, "xyz", f"{where}: translation")
        x, y, z, w = _components(rotation, "xyzw", f"{where}: rotation")
        try:
            pose = from_quaternion((w, x, y, z), shift)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        self.poses[plain(child)] = (plain(parent), pose)

    @property
    def frames(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.poses, *(parent for parent, _ in self.poses.values())})

    def between(self, source: str, target: str, where: str) -> Matrix:
        """The transform (4, 4) of coordinates in ``source`` to ``target``, over any number of steps.

        Raises ``InputError`` (naming ``where``) when a frame is unknown or nothing links the two.
        """
        for name in (source, target):
            if name not in self.frames:
                hint = nearest(name, self.frames) if self.frames else "; there are no transforms at all"
                raise InputError(f"{where}: no static transform names the frame {name!r}{hint}")
        up_source, up_target = self._to_root(source), self._to_root(target)
        common = next((name for name in up_source if name in up_target), None)
        if common is None:
            raise InputError(
                f"{where}: no chain of static transforms links {source!r} and {target!r} (reached "
                f"{', '.join(up_source)} and {', '.join(up_target)}); give the missing one in an extrinsics file"
            )
        return invert(up_target[common]) @ up_source[common]

    def _to_root(self, name: str) -> dict[str, Matrix]:
        """Every frame above ``name``, nearest first -> the transform from ``name`` to it."""
        found, pose = {name: np.eye(4)}, np.eye(4)
        while name in self.poses:
            name, step = self.poses[name]
            if name in found:  # a circle
                break
            pose = step @ pose
            found[name] = pose
        return found


@dataclass(frozen=True)
class Extrinsics:
    """What an extrinsics file says: lidar -> camera by camera, or a tree of frames; never both."""

    path: Path
    matrices: dict[str, Matrix]
    tree: FrameTree
    lidar_frame: str | None = None

    def from_lidar(self, camera: str, camera_frame: str | None, lidar_frame: str | None = None) -> Matrix:
        """Lidar -> camera (4, 4). The frames matter in a tree alone; those of the file's and the caller's are tried.

        Without ``camera_frame`` it is the only one called like the camera, or like it with _optical_frame behind.
        Raises ``InputError`` when the camera is not in the file or a frame cannot be told.
        """
        if camera in self.matrices:
            return self.matrices[camera]
        if not self.tree.poses:
            hint = (
                nearest(camera, self.matrices) if self.matrices else ", there is none at all; give an extrinsics file"
            )
            raise InputError(f"{self.path}: no transform of camera {camera!r}{hint}")
        source = self.lidar_frame or lidar_frame or self._guess_lidar()
        return self.tree.between(source, camera_frame or self._guess_camera(camera), f"{self.path}: camera {camera!r}")

    def _guess_lidar(self) -> str:
        frames = self.tree.frames
        found = [name for name in frames if any(word in name.lower() for word in LIDAR_WORDS)]
        if len(found) != 1:
            candidates = f"{', '.join(found)} might be" if found else f"none of {', '.join(frames)} is called like one"
            raise InputError(f"{self.path}: which frame is the lidar's? {candidates}; add a line `lidar_frame: name`")
        return found[0]

    def _guess_camera(self, camera: str) -> str:
        frames = self.tree.frames
        for ending in ("_optical_frame", "_optical", "_frame", ""):
            if camera + ending in frames:
                return camera + ending
        raise InputError(f"{self.path}: no frame of camera {camera!r}{nearest(f'{camera}_optical_frame', frames)}")


def read_extrinsics(path: Path) -> Extrinsics:
    """Read an extrinsics file (forms: see above); ``InputError`` when it has another form or a pose is not rigid."""
    content = documents(path)
    first = content[0]
    listed = [entry for document in content for entry in _listed(document)]
    if listed:
        tree = FrameTree()
        for number, entry in enumerate(listed):
            _add(tree, entry, f"{path}: transform {number}")
        frame = first.get("lidar_frame") if isinstance(first, dict) else None
        return Extrinsics(path, {}, tree, None if frame is None else plain(str(frame)))
    if not isinstance(first, dict):
        raise InputError(f"{path}: expected cameras or transforms, found {first!r:.60}; see docs/how-to/own-rig.md")
    return Extrinsics(path, _matrices(first, path), FrameTree())


def plain(frame: str) -> str:
    """Without the slash that tf wrote in front."""
    return frame.lstrip("/")


def _listed(document: Any) -> list[Any]:
    """The transforms of a document, none when it has the form of cameras."""
    if isinstance(document, dict) and "transforms" in document:
        document = document["transforms"]
    if isinstance(document, dict):
        return [document] if {"child", "child_frame_id"} & document.keys() else []
    return document if isinstance(document, list) else []


def _add(tree: FrameTree, entry: Any, where: str) -> None:
    entry = entry if isinstance(entry, dict) else {}
    header = entry.get("header") if isinstance(entry.get("header"), dict) else {}
    parent = entry.get("parent", entry.get("frame_id", header.get("frame_id")))
    child = entry.get("child", entry.get("child_frame_id"))
    pose = entry.get("transform", entry)
    if None in (parent, child) or not isinstance(pose, dict) or not {"translation", "rotation"} <= pose.keys():
        found = ", ".join(map(str, entry)) or "no keys"
        raise InputError(f"{where}: expected parent, child, translation and rotation (x y z w), found {found}")
    tree.add(str(parent), str(child), pose["translation"], pose["rotation"], where)


def _matrices(content: Mapping[str, Any], path: Path) -> dict[str, Matrix]:
    found: dict[str, Matrix] = {}
    before: str | None = None
    for camera, entry in content.items():
        where, keys = f"{path}: {camera}", list(entry) if isinstance(entry, dict) else []
        given = [key for key in POSE_KEYS if key in keys]
        if "T_cn_cnm1" in given and len(given) == 2:
            given.remove("T_cn_cnm1")  # the direct one needs no chain
        if len(given) != 1:
            hint = "; T_cam_imu leads to the inertial unit, not to the lidar" if "T_cam_imu" in keys else ""
            raise InputError(
                f"{where}: expected one of {', '.join(POSE_KEYS)}, or a list of transforms with parent and child, "
                f"found {', '.join(map(str, keys)) or repr(entry)[:60]}{hint}"
            )
        pose = calibration.rigid(entry[given[0]], f"{where}.{given[0]}")
        if given[0] == "to_lidar":
            pose = invert(pose)
        if given[0] == "T_cn_cnm1":
            if before is None:
                raise InputError(f"{where}: T_cn_cnm1 needs a camera before it that has T_cam_lidar")
            pose = pose @ found[before]
        found[before := str(camera)] = pose
    return found


def _components(values: Any, names: str, where: str) -> list[float]:
    if isinstance(values, dict):
        values = [values.get(name) for name in names]
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(names) or not np.isfinite(numbers).all():
        raise InputError(f"{where}: expected the numbers {' '.join(names)}, found {values!r:.60}")
    return numbers
