"""``simulate``: scenes of the synthetic city written as an ordinary rig folder."""

from __future__ import annotations

import io
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lidistill.datasets.rig_poses import NAME as POSES
from lidistill.datasets.rig_poses import write_poses
from lidistill.errors import InputError
from lidistill.sensing.frame import Pose
from lidistill.simulator import sensors
from lidistill.simulator.city import check_style
from lidistill.simulator.rays import ray_caster
from lidistill.simulator.scene import SimulatedFrame, from_lidar, lidar_pose, scene, simulate_frame

SETTINGS = "simulation.yaml"
"""Written first: what the folder was made with. ``rig.yaml`` is written last, so its absence means: interrupted."""

_OWN = ("scans", "images", "masks", "labels", "rig.yaml", "splits.yaml", POSES, "poses", ".lidistill", SETTINGS)
DRIVES = "poses"
"""Folder for the poses of finished scenes while others are at work; together they become ``poses.csv``."""


@dataclass(frozen=True)
class _Job:
    out: Path
    sensor: str
    style: str
    index: int
    frames: int
    seed: int
    images: bool
    masks: bool


def simulate(
    out: str | Path,
    *,
    sensor: str,
    style: str = "grid",
    scenes: int,
    frames: int = 4,
    seed: int = 0,
    images: bool = True,
    masks: bool = False,
    workers: int = 1,
    overwrite: bool = False,
) -> Path:
    """Write ``scenes`` independent streets with ``frames`` key frames each (0.5 s apart) as a rig folder; return it.

    ``sensor`` is one of ``spinning-32``, ``spinning-64``, ``uneven-64``, ``solid-state``; ``style`` is ``grid`` or
    ``old-town``. The last 20 % of the scenes (at least one if there are two) are the split ``val``, the others
    ``train``. ``masks``: also write the raw class of every pixel, ``masks/CAMERA/*.png``, 0 = sky. The same arguments
    give the same bytes whatever ``workers`` is. A folder left by an interrupted call with the same arguments is
    completed; anything else in ``out`` is refused unless ``overwrite``.

    Raises ``InputError`` for unknown names, counts below one, masks without images, a folder in use, or when embreex
    is missing.
    """
    out = Path(out)
    sensors.rig(sensor)
    check_style(style)
    ray_caster()
    for name, value in (("scenes", scenes), ("frames", frames), ("workers", workers)):
        if value < 1:
            raise InputError(f"simulate: {name} must be at least 1, found {value}")
    if seed < 0:
        raise InputError(f"simulate: seed must not be negative, found {seed}")
    if masks and not images:
        raise InputError("simulate: masks are of images; leave one of --masks and --no-images out")
    settings = {"sensor": sensor, "style": style, "scenes": scenes, "frames": frames, "seed": seed, "images": images}
    settings |= {"masks": True} if masks else {}
    _prepare(out, settings, overwrite)
    jobs = [_Job(out, sensor, style, index, frames, seed, images, masks) for index in range(scenes)]
    _run(jobs, workers)
    _write_splits(out, scenes, frames)
    _write_poses(out)
    _write_rig(out, sensor, images)
    return out


def _prepare(out: Path, settings: dict[str, Any], overwrite: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = sorted(entry.name for entry in out.iterdir())
        if present and not overwrite:
            same = (out / SETTINGS).exists() and yaml.safe_load((out / SETTINGS).read_text()) == settings
            if not same or (out / "rig.yaml").exists():
                raise InputError(
                    f"{out} is not empty (it has {', '.join(present[:4])}); choose another folder or use --overwrite"
                )
        if overwrite:
            for name in _OWN:
                path = out / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _write(out / SETTINGS, yaml.safe_dump(settings, sort_keys=False).encode())
    except OSError as error:
        raise InputError(f"{out} cannot be written to ({error.strerror}); choose another folder") from error


def _run(jobs: list[_Job], workers: int) -> None:
    from tqdm import tqdm

    with tqdm(total=len(jobs) * jobs[0].frames, desc=f"city {jobs[0].sensor}", unit="frame") as bar:
        if workers == 1:
            for job in jobs:
                _simulate_scene(job)
                bar.update(job.frames)
            return
        # forkserver and not fork: the ray caster's threads do not survive a fork
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("forkserver")) as pool:
            for _ in pool.map(_simulate_scene, jobs):
                bar.update(jobs[0].frames)


def _simulate_scene(job: _Job) -> None:
    rig = sensors.rig(job.sensor)
    cameras = [camera.name for camera in rig.cameras] if job.images else []
    stems = [f"{job.index:04d}_{frame:02d}" for frame in range(job.frames)]
    masked = cameras if job.masks else []
    missing = [
        frame
        for frame, stem in enumerate(stems)
        if not all(path.exists() for path in _paths(job.out, stem, cameras, masked))
    ]
    poses = job.out / DRIVES / f"{job.index:04d}.csv"
    if not missing and poses.exists():
        return
    pictures = [f"images/{name}" for name in cameras] + [f"masks/{name}" for name in masked]
    for folder in ("scans", "labels", DRIVES, *pictures):
        (job.out / folder).mkdir(parents=True, exist_ok=True)
    place = scene(job.sensor, job.style, job.index, job.seed, job.frames)
    for frame in missing:
        write_frame(job.out, stems[frame], simulate_frame(place, frame, job.images), job.masks)
    drive = f"{job.index:04d}"
    write_poses(poses, {stem: Pose(drive, lidar_pose(place, frame)) for frame, stem in enumerate(stems)})


def _paths(out: Path, stem: str, cameras: list[str], masked: list[str]) -> list[Path]:
    images = [out / "images" / name / f"{stem}.jpg" for name in cameras]
    masks = [out / "masks" / name / f"{stem}.png" for name in masked]
    return [out / "scans" / f"{stem}.bin", out / "labels" / f"{stem}.label", *images, *masks]


def write_frame(out: Path, stem: str, frame: SimulatedFrame, masks: bool = False) -> None:
    """Write the scan, the labels and the pictures of one frame, and their ``masks``; the folders must exist."""
    from PIL import Image

    columns = np.column_stack([frame.points, frame.intensity, frame.ring.astype(np.float32)])
    _write(out / "scans" / f"{stem}.bin", columns.astype("<f4").tobytes())
    _write(out / "labels" / f"{stem}.label", frame.raw_labels.astype("<u4").tobytes())
    for name, image in frame.images.items():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=92)
        _write(out / "images" / name / f"{stem}.jpg", buffer.getvalue())
    for name, classes in frame.image_labels.items() if masks else ():
        buffer = io.BytesIO()
        Image.fromarray(classes).save(buffer, "PNG")
        _write(out / "masks" / name / f"{stem}.png", buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Write all of the file or nothing."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _write_splits(out: Path, scenes: int, frames: int) -> None:
    held_out = max(1, round(0.2 * scenes)) if scenes > 1 else 0
    stems: dict[str, list[str]] = {"train": [], "val": []}
    for index in range(scenes):
        split = "train" if index < scenes - held_out else "val"
        stems[split] += [f"{index:04d}_{frame:02d}" for frame in range(frames)]
    _write(out / "splits.yaml", yaml.safe_dump(stems, sort_keys=False).encode())


def _write_poses(out: Path) -> None:
    """``poses.csv`` from those of the scenes, in their order."""
    scenes = [path.read_text().splitlines() for path in sorted((out / DRIVES).glob("*.csv"))]
    lines = [scenes[0][0], *(line for rows in scenes for line in rows[1:])]
    _write(out / POSES, ("\n".join(lines) + "\n").encode())
    shutil.rmtree(out / DRIVES)


def _write_rig(out: Path, sensor: str, images: bool) -> None:
    rig = sensors.rig(sensor)
    lidar = rig.lidar
    mean, deviation = _intensity(out)
    record = {
        "lidar": {
            "name": lidar.name,
            "rate": lidar.rate,
            "rings": len(lidar.elevations),
            "fov": [lidar.elevations[0], lidar.elevations[-1]],
            "max_range": lidar.max_range,
            "intensity": [mean, deviation],
            "forward": lidar.forward,
            "columns": 5,
        },
        "cameras": {
            camera.name: {
                "height": camera.height,
                "width": camera.width,
                "intrinsics": _rows(camera.intrinsics()),
                "from_lidar": _rows(from_lidar(rig, camera)),
            }
            for camera in (rig.cameras if images else ())
        },
        "classes": "city-16",
    }
    _write(out / "rig.yaml", yaml.safe_dump(record, sort_keys=False, default_flow_style=None).encode())


def _rows(matrix: NDArray[np.float64]) -> list[list[float]]:
    return [[round(float(value), 9) for value in row] for row in matrix]


def _intensity(out: Path) -> tuple[float, float]:
    """Mean and standard deviation of the raw intensities of all scans."""
    count, total, squares = 0, 0.0, 0.0
    for path in sorted((out / "scans").glob("*.bin")):
        values = np.fromfile(path, "<f4").reshape(-1, 5)[:, 3].astype(np.float64)
        count, total, squares = count + len(values), total + values.sum(), squares + (values**2).sum()
    mean = total / max(count, 1)
    return round(float(mean), 4), round(float(np.sqrt(max(squares / max(count, 1) - mean**2, 1e-12))), 4)
