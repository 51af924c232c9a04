"""ROS recordings -> rig folders (``docs/how-to/bags.md``).

Two passes: the first reads when everything was taken and how the cameras are calibrated, the second writes the scans
that are kept and, of every camera, the picture nearest in time.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lidistill.datasets.imports.bag_cameras import CameraTopics, camera_topics
from lidistill.datasets.imports.bag_file import Bag, open_bag
from lidistill.datasets.imports.image_message import image_file
from lidistill.datasets.imports.point_message import read_cloud
from lidistill.datasets.imports.rig_import import check_size, update_rig
from lidistill.datasets.imports.ros_camera import camera_entry, message_info
from lidistill.datasets.imports.ros_transforms import Extrinsics, FrameTree, plain, read_extrinsics
from lidistill.datasets.rig_times import NAME as TIMES
from lidistill.datasets.rig_times import write_times
from lidistill.errors import InputError, nearest
from lidistill.sensing.files import PointFile, write_atomically, write_points

MAX_OFFSET = 0.1
"""Seconds between a scan and a picture beyond which they do not belong together."""

JITTER = 0.25
"""Share of the time between two scans by which a kept one may come before ``every`` seconds are over."""


@dataclass
class Recorded:
    """What the first pass finds: by topic, the nanoseconds of every message and the frame; then the calibration."""

    times: dict[str, list[int]]
    frames: dict[str, str] = field(default_factory=dict)
    infos: dict[str, dict[str, Any]] = field(default_factory=dict)
    tree: FrameTree = field(default_factory=FrameTree)


@dataclass(frozen=True)
class Plan:
    """What the second pass writes: by topic, message number -> names of the frames it belongs to."""

    stems: dict[str, dict[int, list[str]]]
    scans: dict[str, int]
    pictures: dict[str, dict[str, int]]


def bag_to_rig(
    bag: Path,
    out: Path,
    *,
    lidar: str | None = None,
    cameras: Mapping[str, str] | None = None,
    extrinsics: Path | None = None,
    every: float | None = None,
) -> Path:
    """Write a ROS recording as the rig folder ``out``, which must not exist or be empty; return it.

    ``lidar`` is a PointCloud2 topic (the only one), ``cameras`` image topics by camera name (all that there are; {} for
    none), ``extrinsics`` a file that says where the cameras are (``ros_transforms``; static transforms of the
    recording), ``every`` the seconds between scans to keep (all). ``rig.yaml`` is written last; whatever goes wrong
    before, nothing is left in ``out``.

    Raises ``InputError`` when the recording is damaged, topics are missing or cannot be told, a message cannot be
    understood, or a camera has no calibration.
    """
    if every is not None and not every > 0:
        raise InputError(f"every = {every}: expected seconds above 0")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        interrupted = (out / "scans").is_dir() and not (out / "rig.yaml").exists()
        why = " (without rig.yaml: an interrupted conversion)" if interrupted else ""
        raise InputError(f"{out}: already there and not empty{why}; choose another folder or remove it")
    with open_bag(bag) as recording:
        lidar = _lidar_topic(recording, lidar)
        topics = camera_topics(recording, cameras)
        recorded = _first_pass(recording, lidar, topics)
        entries = _calibrate(recording.path, recorded, lidar, topics, extrinsics)
        plan = _plan(bag, recorded, lidar, topics, every)
        try:
            record = _second_pass(recording, lidar, topics, entries, plan, out)
            write_times(out / TIMES, plan.scans, plan.pictures)
        except BaseException:  # also when the user stops it
            for name in ("scans", "images"):
                shutil.rmtree(out / name, ignore_errors=True)
            raise
    step = _step(recorded.times[lidar])
    rate = {"rate": round(1 / step, 2)} if step else {}
    update_rig(out, entries, {"name": out.resolve().name, **rate, **record, "forward": "+x"})
    _tell(out, plan)
    return out


def _lidar_topic(bag: Bag, lidar: str | None) -> str:
    found = bag.of_type("PointCloud2")
    if lidar is not None:
        if lidar not in found:
            hint = nearest(lidar, found) if found else "; there is no such topic"
            raise InputError(f"{bag.path}: no PointCloud2 topic {lidar!r} with messages{hint}")
        return lidar
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{bag.path}: several PointCloud2 topics, {', '.join(found)}; name one as lidar")
    there = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(bag.topics.items()))
    raise InputError(f"{bag.path}: no PointCloud2 topic, expected lidar scans; found {there}")


def _first_pass(bag: Bag, lidar: str, cameras: tuple[CameraTopics, ...]) -> Recorded:
    images, infos = {camera.image for camera in cameras}, {camera.info for camera in cameras}
    transforms = {topic for topic in bag.of_type("TFMessage", "tfMessage") if topic.endswith("tf_static")}
    found = Recorded({topic: [] for topic in (lidar, *images)})
    for topic, _, time, message in bag.messages({lidar, *images, *infos, *transforms}, "times"):
        if topic in transforms:
            for entry in message.transforms:
                pose, where = entry.transform, f"{bag.path}: {topic}: {entry.child_frame_id}"
                parent, child = entry.header.frame_id, entry.child_frame_id
                found.tree.add(parent, child, vars(pose.translation), vars(pose.rotation), where)
            continue
        found.frames.setdefault(topic, plain(message.header.frame_id))
        if topic in infos:
            found.infos.setdefault(topic, message_info(message))
        else:
            stamp = message.header.stamp
            found.times[topic].append(stamp.sec * 10**9 + stamp.nanosec or time)
    return found


def _calibrate(
    bag: Path, recorded: Recorded, lidar: str, cameras: tuple[CameraTopics, ...], extrinsics: Path | None
) -> dict[str, dict[str, Any]]:
    """The ``cameras`` of rig.yaml. Transforms of an extrinsics file come before those of the recording."""
    known = Extrinsics(bag, {}, recorded.tree)
    if extrinsics is not None:
        given = read_extrinsics(extrinsics)
        tree = FrameTree({**recorded.tree.poses, **given.tree.poses})
        known = Extrinsics(extrinsics, given.matrices, tree, given.lidar_frame)
    entries = {}
    for camera in cameras:
        frame = recorded.frames[camera.image] or recorded.frames[camera.info]
        pose = known.from_lidar(camera.name, frame or None, recorded.frames[lidar] or None)
        where = f"{bag}: {camera.info}"
        entries[camera.name] = camera_entry(recorded.infos[camera.info], pose, where, camera.rectified)
    return entries


def _plan(bag: Path, recorded: Recorded, lidar: str, cameras: tuple[CameraTopics, ...], every: float | None) -> Plan:
    """Scans in the order of time, each with the nearest picture of every camera within ``MAX_OFFSET``."""
    times = recorded.times[lidar]
    order = sorted(range(len(times)), key=times.__getitem__)
    kept = order[:1]
    closest = 0.0 if every is None else every - JITTER * min(_step(times), every)
    for number in order[1:]:
        if times[number] - times[kept[-1]] >= closest * 1e9:
            kept.append(number)
    stem = {number: f"{i:06d}" for i, number in enumerate(kept)}
    plan = Plan({lidar: {number: [name] for number, name in stem.items()}}, {}, {})
    plan.scans.update({name: times[number] for number, name in stem.items()})
    for camera in cameras:
        pictures = np.array(recorded.times[camera.image])
        wanted: dict[int, list[str]] = {}
        offsets = []
        for number, name in stem.items():
            picture = int(np.abs(pictures - times[number]).argmin())
            offsets.append(abs(int(pictures[picture]) - times[number]) * 1e-9)
            if offsets[-1] <= MAX_OFFSET:
                wanted.setdefault(picture, []).append(name)
        if not wanted:
            raise InputError(
                f"{bag}: no picture of {camera.image} within {MAX_OFFSET} s of a scan of {lidar}, the nearest is "
                f"{min(offsets):.6g} s away; do both clocks run alike? leave the camera out with cameras"
            )
        plan.stems[camera.image] = wanted
        plan.pictures[camera.name] = {name: int(pictures[i]) for i, names in wanted.items() for name in names}
    return plan


def _second_pass(
    bag: Bag,
    lidar: str,
    cameras: tuple[CameraTopics, ...],
    entries: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    out: Path,
) -> dict[str, Any]:
    """Write scans and pictures; what the scans say about the lidar."""
    name = {camera.image: camera.name for camera in cameras}
    rings, columns, empty = 0, None, list[str]()
    for topic, number, _, message in bag.messages(plan.stems, "frames"):
        stems, where = plan.stems[topic].get(number, ()), f"{bag.path}: {topic}, message {number}"
        if not stems:
            continue
        if topic != lidar:
            suffix, content, size = image_file(message, where)
            check_size(size, entries[name[topic]], where, "its camera_info")
            for stem in stems:
                _write(out / "images" / name[topic] / f"{stem}{suffix}", content)
            continue
        cloud = read_cloud(message, plan.scans[stems[0]], where)
        if len(cloud) == 0:
            empty += stems
            continue
        columns = _write_scan(out / "scans" / stems[0], cloud)
        rings = max(rings, 0 if cloud.ring is None else int(cloud.ring.max()) + 1)
    for stem in empty:  # a scan before the mirror turns, say; its pictures go with it
        for times in (plan.scans, *plan.pictures.values()):
            times.pop(stem, None)
        for path in (out / "images").glob(f"*/{stem}.*"):
            path.unlink()
    if not plan.scans:
        raise InputError(f"{bag.path}: every scan of {lidar} is empty or has no return; choose another topic as lidar")
    return {key: value for key, value in (("rings", rings), ("columns", columns)) if value}


def _write_scan(path: Path, cloud: PointFile) -> int | None:
    """Write ``.npz`` when points have times, else ``.bin``; the number of columns of the latter."""
    if cloud.time is not None:
        write_points(path.with_suffix(".npz"), cloud)
        return None
    intensity = np.zeros(len(cloud), np.float32) if cloud.intensity is None else cloud.intensity
    write_points(path.with_suffix(".bin"), PointFile(cloud.points, intensity, cloud.ring))
    return 4 if cloud.ring is None else 5


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write_bytes(content))


def _tell(out: Path, plan: Plan) -> None:
    """One line about what was written, for scans and pictures may be fewer than in the recording."""
    from tqdm import tqdm

    pictures = "".join(f", {len(times)} pictures of {name}" for name, times in plan.pictures.items())
    tqdm.write(f"{out}: {len(plan.scans)} scans{pictures}", file=sys.stderr)


def _step(times: list[int]) -> float:
    """Median seconds between scans, 0 when there is but one."""
    ordered = sorted(times)
    steps = [later - earlier for earlier, later in pairwise(ordered)]
    return median(steps) * 1e-9 if steps else 0.0
