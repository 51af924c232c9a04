"""A ROS recording, opened through the ``rosbags`` library (no ROS needed): its topics and messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.errors import InputError

LAYOUT = "a ROS 1 .bag, a ROS 2 folder with metadata.yaml, or one .mcap or .db3 file"
REPAIR = "if the recording was cut short, `rosbag reindex`, `ros2 bag reindex` or `mcap recover` repairs it"


@dataclass(frozen=True)
class Bag:
    """An open recording: ``topics`` with a message -> type (``sensor_msgs/msg/Image``)."""

    path: Path
    reader: Any
    topics: dict[str, str]

    def of_type(self, *names: str) -> list[str]:
        """Topics whose type ends in one of ``names`` (``PointCloud2``), sorted."""
        return sorted(topic for topic, kind in self.topics.items() if kind.rpartition("/")[2] in names)

    def messages(self, topics: Collection[str], title: str) -> Iterator[tuple[str, int, int, Any]]:
        """(topic, number within the topic, nanoseconds when recorded, message), in the order of recording."""
        from tqdm import tqdm

        connections = [connection for connection in self.reader.connections if connection.topic in topics]
        if not connections:
            return
        count = dict.fromkeys(topics, 0)
        raw = self.reader.messages(connections)
        with tqdm(total=sum(connection.msgcount for connection in connections), desc=title, unit="message") as bar:
            while True:
                with _explained(self.path):
                    found = next(raw, None)
                    if found is None:
                        return
                    connection, time, data = found
                    message = self.reader.deserialize(data, connection.msgtype)
                yield connection.topic, count[connection.topic], time, message
                count[connection.topic] += 1
                bar.update()


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open ``path``: a file, a ROS 2 folder, or a folder with the parts of a ROS 1 recording.

    Raises ``InputError`` when rosbags is not installed, nothing of the kind is there, the recording is damaged, or it
    holds no message.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise InputError(f"{path}: reading ROS recordings needs rosbags: pip install 'lidistill[ros]'") from None
    if not path.exists():
        raise InputError(f"{path}: does not exist, expected {LAYOUT}; check the path")
    parts = sorted(path.glob("*.bag")) if path.is_dir() else []
    if not parts and not (path / "metadata.yaml").exists() and path.suffix not in (".bag", ".mcap", ".db3"):
        raise InputError(f"{path}: no ROS recording, expected {LAYOUT}")
    with _explained(path):
        # sqlite3 recordings older than ROS 2 Iron hold no definitions: the common messages have not changed since
        reader = AnyReader(parts or [path], default_typestore=get_typestore(Stores.LATEST))
        reader.open()
    try:
        topics = {connection.topic: connection.msgtype for connection in reader.connections if connection.msgcount}
        if not topics:
            raise InputError(f"{path}: no messages in the recording, expected lidar scans; record it again")
        yield Bag(path, reader, topics)
    finally:
        reader.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except Exception as error:  # a damaged recording ends in struct, sqlite, zstd, yaml, or in rosbags itself
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: the recording cannot be read ({reason}); {REPAIR}") from None
