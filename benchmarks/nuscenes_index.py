"""Opening tables as large as those of nuScenes v1.0-trainval: time, memory, and what a loader worker holds.

    python benchmarks/nuscenes_index.py [--scenes 850] [--folder /tmp]

Writes tables of 34 149 key frames and 2 631 083 rows of sample_data in the form of the release (about 2 GB, removed
afterwards), one small scan under the name of every key frame and one picture under the name of every camera's of the
first 20 scenes. Every opening is a process of its own:

- ``first``: no index yet; peak = largest resident memory of the process (``ru_maxrss``), in which the imports count;
- ``later``: the index is there;
- ``workers``: two processes of a torch ``DataLoader`` read 500 frames at random, each with the pictures of its
  cameras when there are any; private = ``Private_Clean + Private_Dirty`` of ``/proc/self/smaps_rollup`` after the last
  frame: pages that the worker shares with nobody. ``shared`` is what it maps together with others, the index among it.
  ``fork`` inherits the imports, ``spawn`` loads them itself; ``idle`` is the same worker of a data set of numbers.

The tables were written just before, so they are in the page cache: times are those of parsing, not of a disk. Times
are wall-clock and processor seconds. Writes ``results/nuscenes_index.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from lidistill.datasets.nuscenes import open_nuscenes
from lidistill.datasets.nuscenes_tables import CAMERAS
from lidistill.datasets.source import Source
from record import write_record

VERSION = "v1.0-trainval"
SAMPLES, ROWS = 34_149, 2_631_083
RADARS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")
CHANNELS = ("LIDAR_TOP", *CAMERAS, *RADARS)
WITH_PICTURES = 20
FRAMES = 500
WORKERS = 2
LINKS = 10_000
"""Names of one file; file systems allow only so many."""


def main() -> None:
    """Generate, measure, print, remove."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=850)
    parser.add_argument("--folder", type=Path, help="where the tables lie while it runs (default: the system's)")
    args = parser.parse_args()
    os.environ.pop("LIDISTILL_CACHE", None)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        result = {"generated": generate(root, args.scenes), **measure(root)}
    print(json.dumps(result, indent=2))
    write_record("nuscenes_index", result)


def measure(root: Path) -> dict[str, Any]:
    """Openings and workers."""
    first = alone(opening, root)
    later = [alone(opening, root) for _ in range(3)]
    index = next((root / ".lidistill").iterdir())
    return {
        "first_open": first,
        "later_opens": later,
        "index_mb": round(index.stat().st_size / 1e6, 1),
        "pickled_source_kb": round(alone(pickled_size, root) / 1e3, 1),
        "workers": {
            f"{kind}, {what}": alone(workers, root, kind, what == "idle")
            for kind in ("fork", "spawn")
            for what in ("idle", "nuscenes")
        },
    }


def alone(task: Callable[..., Any], *arguments: Any) -> Any:
    """The result of ``task`` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def opening(root: Path) -> dict[str, Any]:
    """Open once: seconds, memory, and what was found."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    source = open_nuscenes(root)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "peak_mb": round(peak / 1024, 1),
        "peak_of_imports_mb": round(before / 1024, 1),
        "frames": len(source),
        "splits": {name: len(rows) for name, rows in source.splits.items()},
    }


def pickled_size(root: Path) -> int:
    """Bytes that are sent to a worker for the training split."""
    return len(pickle.dumps(open_nuscenes(root).split("train")))


class Frames:
    """A data set for torch: reads a frame and its pictures, and returns the memory of the process that did."""

    def __init__(self, source: Source | None, rows: list[int]) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, float]:
        pictures = 0
        if self.source is not None:
            frame = self.source[self.rows[index]]
            pictures = sum(view.image().shape[0] > 0 for view in frame.views)
        return {"process": os.getpid(), "pictures": pictures, **memory()}


def workers(root: Path, kind: str, idle: bool) -> dict[str, Any]:
    """Private memory of the loader's processes after their last frame."""
    from torch.utils.data import DataLoader

    source = open_nuscenes(root)
    rows = np.random.default_rng(0).permutation(len(source))[: FRAMES - 20].tolist() + list(range(20))
    loader = DataLoader(
        Frames(None if idle else source, rows),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=WORKERS,
        multiprocessing_context=kind,
    )
    seen = list(loader)
    last = {entry["process"]: entry for entry in seen}
    return {
        "private_mb": [round(entry["private"], 1) for entry in last.values()],
        "shared_mb": [round(entry["shared"], 1) for entry in last.values()],
        "pictures": sum(int(entry["pictures"]) for entry in seen),
    }


def memory() -> dict[str, float]:
    """Private and shared resident MB of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kb = {name: float(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return {kind: sum(v for k, v in kb.items() if k.startswith(kind.title())) / 1024 for kind in ("private", "shared")}


# ---- tables of the full size


def generate(root: Path, scenes: int) -> dict[str, Any]:
    """Write tables, scans and pictures; the rows of a scene lie together, scenes in another order than their table."""
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    folder = root / VERSION
    folder.mkdir()
    samples = [SAMPLES // 850 + (i < SAMPLES % 850) for i in range(scenes)]
    rows = ROWS * scenes // 850
    tables = {name: (folder / f"{name}.json").open("w") for name in ("sample_data", "ego_pose", "sample")}
    written = dict.fromkeys(tables, 0)
    small: dict[str, list[dict[str, Any]]] = {"scene": [], "sensor": [], "calibrated_sensor": []}
    small["sensor"] = [{"token": token(rng), "channel": channel, "modality": "any"} for channel in CHANNELS]
    numbers = scene_numbers()[:scenes]
    small["scene"] = [{"token": token(rng), "name": f"scene-{number:04d}"} for number in numbers]
    names: dict[str, list[str]] = {"scans": [], "pictures": []}
    left = rows
    for order, scene in enumerate(rng.permutation(scenes).tolist()):
        count = left // (scenes - order)
        left -= count
        for name, texts in scene_rows(rng, scene, samples[scene], count, small, names):
            write_rows(tables[name], texts, written[name])
            written[name] += len(texts)
    for file in tables.values():
        file.write("\n]")
        file.close()
    for name, table in small.items():
        (folder / f"{name}.json").write_text(json.dumps(table, indent=0))
    files(root, names)
    size = {path.name: round(path.stat().st_size / 1e6, 1) for path in sorted(folder.iterdir())}
    return {"scenes": scenes, "rows": written, "mb": size, "seconds": round(time.perf_counter() - start, 1)}


def scene_numbers() -> list[int]:
    """The 850 scenes of trainval in the order of their number."""
    from lidistill.datasets.nuscenes import scenes_of

    lists = scenes_of(VERSION)
    return sorted(int(name[6:]) for split in ("train", "val") for name in lists[split].tolist())


def scene_rows(
    rng: np.random.Generator,
    scene: int,
    samples: int,
    count: int,
    small: dict[str, list[dict[str, Any]]],
    names: dict[str, list[str]],
) -> Iterator[tuple[str, list[str]]]:
    """(table, texts of rows) of one scene with ``count`` rows of sample_data."""
    start = 1_530_000_000_000_000 + scene * 10**8
    sample_tokens = [token(rng) for _ in range(samples)]
    times = [start + 500_000 * i for i in range(samples)]
    owner = small["scene"][scene]["token"]
    yield (
        "sample",
        [
            row_text(token=t, timestamp=time, prev=token(rng), next=token(rng), scene_token=owner)
            for t, time in zip(sample_tokens, times, strict=True)
        ],
    )
    lidar, camera = 10 * samples - 9, 6 * samples - 5
    radar = [(count - lidar - 6 * camera - i) // 5 for i in range(5)]
    assert sum(radar) <= count <= sum(radar) + lidar + 6 * camera + 5
    radar[0] += count - lidar - 6 * camera - sum(radar)
    for channel, number in zip(CHANNELS, [lidar, *[camera] * 6, *radar], strict=True):
        mount = {"token": token(rng), "sensor_token": small["sensor"][CHANNELS.index(channel)]["token"]}
        mount |= {"translation": rng.uniform(-1, 2, 3).tolist(), "rotation": rng.normal(size=4).tolist()}
        intrinsics = [[1266.4172, 0, 816.267], [0, 1266.4172, 491.50706], [0, 0, 1]] if "CAM" in channel else []
        small["calibrated_sensor"].append({**mount, "camera_intrinsic": intrinsics})
        yield from channel_rows(rng, channel, mount["token"], start, number, sample_tokens, scene, names)


def channel_rows(
    rng: np.random.Generator,
    channel: str,
    mount: str,
    start: int,
    number: int,
    samples: list[str],
    scene: int,
    names: dict[str, list[str]],
) -> Iterator[tuple[str, list[str]]]:
    """Rows of sample_data and ego_pose of one sensor; its key frames are spread evenly."""
    picture, lidar = channel.startswith("CAM"), channel == "LIDAR_TOP"
    suffix = "jpg" if picture else "pcd.bin" if lidar else "pcd"
    key = set(np.linspace(0, number - 1, len(samples)).astype(int).tolist())
    tokens = ["", *[token(rng) for _ in range(number)], ""]
    poses = np.column_stack(
        [rng.normal(size=(number, 4)), rng.uniform(0, 2000, (number, 2)), np.zeros(number)]
    ).tolist()
    delay = int(rng.integers(-45_000, -1))
    data, ego = [], []
    for i in range(number):
        time = start + delay * picture + 500_000 * i * (len(samples) - 1) // max(number - 1, 1)
        place = "samples" if i in key else "sweeps"
        name = f"{place}/{channel}/n015-2018-07-24-11-22-45+0800__{channel}__{time}.{suffix}"
        if i in key and (lidar or (picture and scene < WITH_PICTURES)):
            names["scans" if lidar else "pictures"].append(name)
        data.append(
            row_text(
                token=tokens[i + 1],
                sample_token=samples[i * len(samples) // number],
                ego_pose_token=tokens[i + 1],
                calibrated_sensor_token=mount,
                timestamp=time,
                fileformat=suffix[:3],
                is_key_frame=i in key,
                height=900 * picture,
                width=1600 * picture,
                filename=name,
                prev=tokens[i],
                next=tokens[i + 2],
            )
        )
        pose = poses[i]
        ego.append(row_text(token=tokens[i + 1], timestamp=time, rotation=pose[:4], translation=pose[4:]))
    yield "sample_data", data
    yield "ego_pose", ego


def files(root: Path, names: dict[str, list[str]]) -> None:
    """A scan of 1000 points and a picture under many names (links: they take no space)."""
    cloud = np.random.default_rng(1).uniform(-40, 40, (1000, 5)).astype("<f4")
    cloud[:, 4] = np.arange(1000) % 32
    for kind, listed in names.items():
        for name in listed:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
        for i, name in enumerate(listed):
            if i % LINKS == 0:
                original = root / name
                if kind == "scans":
                    cloud.tofile(original)
                else:
                    Image.effect_noise((1600, 900), 40).convert("RGB").save(original)
            else:
                os.link(original, root / name)


def row_text(**values: Any) -> str:
    """A row as the release writes it: every key and every number of a list on its own line."""
    return "{\n" + ",\n".join([f'"{key}": {value_text(value)}' for key, value in values.items()]) + "\n}"


def value_text(value: Any) -> str:
    """JSON of a string, a bool, an integer or a list of numbers."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(repr, value)) + "\n]"
    return str(value).lower()


def write_rows(file: TextIO, texts: list[str], before: int) -> None:
    """Append rows to the list."""
    file.write((",\n" if before else "[\n") + ",\n".join(texts))


def token(rng: np.random.Generator) -> str:
    """32 hexadecimal digits."""
    return rng.bytes(16).hex()


if __name__ == "__main__":
    main()
