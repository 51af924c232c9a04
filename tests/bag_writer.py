"""Small ROS recordings for tests, in every format, written by the rosbags library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

KINDS = ("ros1", "sqlite3", "mcap", "mcap-file")
START = 1_700_000_000_123_456_789
FIELDS = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
STORES = {1: get_typestore(Stores.ROS1_NOETIC), 2: get_typestore(Stores.ROS2_HUMBLE)}
TF = get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", "tf2_msgs/msg/TFMessage")
if "tf2_msgs/msg/TFMessage" not in STORES[1].types:
    STORES[1].register(TF)


class Messages:
    """Builds messages of one ROS version; a recording is a list of (topic, type, nanoseconds, message)."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.types = STORES[version].types

    def header(self, time: int, frame: str) -> Any:
        stamp = self.types["builtin_interfaces/msg/Time"](time // 10**9, time % 10**9)
        seq = {"seq": 0} if self.version == 1 else {}
        return self.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame, **seq)

    def cloud(self, rows: np.ndarray, time: int = START, frame: str = "velodyne", **changes: Any) -> Any:
        """``rows`` is a structured array, (N,) or (height, width); its layout becomes that of the message."""
        kind = self.types["sensor_msgs/msg/PointField"]
        rows = rows if rows.ndim == 2 else rows[None]
        fields = [
            kind(name, rows.dtype.fields[name][1], FIELDS[rows.dtype.fields[name][0].str[1:]], 1)
            for name in rows.dtype.names
        ]
        message = {
            "header": self.header(time, frame),
            "height": rows.shape[0],
            "width": rows.shape[1],
            "fields": fields,
            "is_bigendian": False,
            "point_step": rows.dtype.itemsize,
            "row_step": rows.dtype.itemsize * rows.shape[1],
            "data": np.frombuffer(rows.tobytes(), np.uint8),
            "is_dense": False,
        }
        return self.types["sensor_msgs/msg/PointCloud2"](**{**message, **changes})

    def image(self, pixels: np.ndarray, encoding: str, time: int, frame: str, pad: int = 0) -> Any:
        rows = pixels.reshape(len(pixels), -1)
        rows = np.pad(rows, ((0, 0), (0, pad)))
        size = {"height": pixels.shape[0], "width": pixels.shape[1], "step": rows.shape[1], "is_bigendian": 0}
        header = self.header(time, frame)
        return self.types["sensor_msgs/msg/Image"](header=header, encoding=encoding, data=rows.ravel(), **size)

    def compressed(self, content: bytes, kind: str, time: int, frame: str) -> Any:
        data = np.frombuffer(content, np.uint8)
        return self.types["sensor_msgs/msg/CompressedImage"](self.header(time, frame), kind, data)

    def info(self, time: int, frame: str, k: np.ndarray, size: tuple[int, int], **changes: Any) -> Any:
        """``size`` = (height, width); ``changes`` in small letters."""
        roi = self.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        values = {"d": np.zeros(5), "k": k.ravel(), "r": np.eye(3).ravel(), "p": np.eye(3, 4).ravel()}
        values |= {"distortion_model": "plumb_bob", "binning_x": 0, "binning_y": 0, "roi": roi, **changes}
        if self.version == 1:
            values = {name.upper() if name in "dkrp" else name: value for name, value in values.items()}
        header = self.header(time, frame)
        return self.types["sensor_msgs/msg/CameraInfo"](header=header, height=size[0], width=size[1], **values)

    def transforms(self, steps: Sequence[tuple[str, str, Sequence[float], Sequence[float]]]) -> Any:
        """``steps``: parent, child, translation, quaternion x y z w."""
        stamped, transform = (self.types[f"geometry_msgs/msg/{name}"] for name in ("TransformStamped", "Transform"))
        vector, turn = (self.types[f"geometry_msgs/msg/{name}"] for name in ("Vector3", "Quaternion"))
        return self.types["tf2_msgs/msg/TFMessage"](
            [
                stamped(self.header(0, a), b, transform(vector(*map(float, t)), turn(*map(float, q))))
                for a, b, t, q in steps
            ]
        )


def write_bag(path: Path, kind: str, messages: Sequence[tuple[str, int, Any]]) -> Path:
    """Write (topic, nanoseconds, message) as a recording of that kind; return the path to give to a reader."""
    version = 1 if kind == "ros1" else 2
    store = STORES[version]
    if version == 1:
        path = path.with_suffix(".bag")
        writer: Any = Writer1(path)
        serialize = store.serialize_ros1
    else:
        plugin = StoragePlugin.SQLITE3 if kind == "sqlite3" else StoragePlugin.MCAP
        writer = Writer2(path, version=9, storage_plugin=plugin)
        serialize = store.serialize_cdr
    with writer:
        topics: dict[str, Any] = {}
        for topic, time, message in messages:
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            writer.write(topics[topic], time, serialize(message, message.__msgtype__))
    return next(path.glob("*.mcap")) if kind == "mcap-file" else path


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """JPEG or PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
