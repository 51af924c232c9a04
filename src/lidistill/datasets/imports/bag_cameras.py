"""Which topics of a recording belong to one camera: its pictures and its ``camera_info``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lidistill.datasets.imports.bag_file import Bag
from lidistill.errors import InputError, nearest

TRANSPORT = re.compile(r"[/_](compressed|theora|ffmpeg)$")
PICTURE = {"image", "raw", "rect", "color", "mono", "rgb", "compressed"}
"""Words of a topic that say what a picture is, not which camera took it."""

NO_CAMERA = re.compile(r"depth|disparity|(range|signal|reflec|nearir)_image")
"""Pictures of distances, and those that Ouster's driver makes of the lidar."""


@dataclass(frozen=True)
class CameraTopics:
    """An Image or CompressedImage topic and its CameraInfo topic; ``rectified`` pictures come from ``image_proc``."""

    name: str
    image: str
    info: str
    rectified: bool


def camera_topics(bag: Bag, cameras: Mapping[str, str] | None) -> tuple[CameraTopics, ...]:
    """The cameras of a recording, or those named in ``cameras`` (name -> image topic).

    By itself it takes every image topic but depth and lidar pictures; of one that is there raw and compressed, raw.
    The camera is called like the last word of the topic that does not describe the picture: ``/rig/front/image_raw``
    is ``front``. Its camera_info is the topic beside it.

    Raises ``InputError`` when a topic is not there, has no camera_info, or two topics are of one camera.
    """
    images, infos = bag.of_type("Image", "CompressedImage"), bag.of_type("CameraInfo")
    if cameras is None:
        cameras = _by_name(bag, [topic for topic in images if not NO_CAMERA.search(topic.lower())])
    found: list[CameraTopics] = []
    for name, topic in cameras.items():
        if topic in (other.image for other in found):
            raise InputError(f"{bag.path}: image topic {topic} is given to two cameras; name each once")
        if topic not in images:
            hint = nearest(topic, images) if images else "; there is no image topic"
            raise InputError(f"{bag.path}: no image topic {topic!r} with messages for camera {name!r}{hint}")
        if not re.fullmatch(r"[\w.-]+", name):
            raise InputError(f"{bag.path}: camera name {name!r} must be a folder name of letters, digits, _ . and -")
        info = _beside(topic)
        if info not in infos:
            there = f"; found {', '.join(infos)}" if infos else ""
            raise InputError(
                f"{bag.path}: image topic {topic} has no {info} with messages{there}; name the topics to take in "
                "cameras (none for points alone)"
            )
        found.append(CameraTopics(name, topic, info, "rect" in re.split(r"[/_]", topic)))
    return tuple(found)


def _by_name(bag: Bag, images: list[str]) -> dict[str, str]:
    raw = {topic for topic in images if not TRANSPORT.search(topic)}
    images = [topic for topic in images if topic in raw or TRANSPORT.sub("", topic) not in raw]
    found: dict[str, list[str]] = {}
    for topic in images:
        found.setdefault(_camera(topic), []).append(topic)
    for topics in found.values():
        if len(topics) > 1:
            raise InputError(
                f"{bag.path}: several image topics of one camera, {', '.join(topics)}; name one in cameras"
            )
    return {name: topics[0] for name, topics in found.items()}


def _camera(topic: str) -> str:
    words = [word for word in topic.split("/") if word]
    telling = [word for word in words if not PICTURE.issuperset(word.split("_"))]
    return telling[-1] if telling else words[-1]


def _beside(topic: str) -> str:
    return f"{TRANSPORT.sub('', topic).rpartition('/')[0]}/camera_info"
