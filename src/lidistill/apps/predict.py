"""``lidistill predict``: label any number of point files, or a whole source."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lidistill.apps.pace import pace
from lidistill.apps.words import read_words, speaking
from lidistill.datasets.rig import open_rig
from lidistill.datasets.source import Source
from lidistill.errors import InputError, RunError, nearest
from lidistill.evaluation.inference import Scanned, scan
from lidistill.evaluation.pca import pca_colors
from lidistill.sensing.files import SUFFIXES, PointFile, read_points, write_labels, write_points
from lidistill.sensing.files.atomic import write_atomically
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import Taxonomy
from lidistill.training.data import open_split
from lidistill.training.run import ModelConfig, Run
from lidistill.training.samples import Skip

log = logging.getLogger("lidistill")


@dataclass(frozen=True)
class PointFiles:
    """Loose point files as a source without labels or images; the token of a frame is its file's name."""

    paths: tuple[Path, ...]
    sensor: Sensor
    columns: int | None = None
    name: str = "files"
    taxonomy: Taxonomy | None = None
    splits: MappingProxyType[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def spec(self) -> str:
        """Where the files lie."""
        return str(self.paths[0].parent)

    def split(self, name: str) -> Source:
        """Loose files have no splits."""
        raise InputError(f"{self.spec}: loose point files have no split {name!r}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Frame:
        path = self.paths[index]
        cloud = read_points(path, columns=self.columns)
        intensity = cloud.intensity
        if intensity is None:
            raise InputError(f"{path}: has no intensity; the student was trained with it")
        good = np.isfinite(cloud.points).all(1) & np.isfinite(intensity)
        if not good.all():
            # labels must fit the file row by row, so nothing may be dropped here
            points = np.where(good[:, None], cloud.points, np.float32(1e6))
            return Frame(points, np.where(good, intensity, np.float32(0)), self.sensor, path.name)
        return Frame(cloud.points, intensity, self.sensor, path.name)


def predict(
    run: str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    classes: str | None = None,
    ply: bool = True,
    features: bool = False,
    sensor: str | None = None,
    columns: int | None = None,
    overwrite: bool = False,
) -> Path:
    """See ``lidistill.verbs.predict``. Returns the folder ``out``."""
    opened = Run.open(run)
    network, model = opened.load_network() if classes is None else speaking(opened, read_words(classes))
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    source = _source([str(i) for i in given], model, sensor, columns)
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"--out {folder}: is not empty; use --overwrite to replace what is there")
    if isinstance(source, PointFiles) and (unlike := differences(source)):
        log.warning(
            "these scans are unlike those of %s: %s; if another lidar recorded them, predict a rig folder that "
            "describes it (docs/how-to/own-rig.md) or a named data set",
            source.sensor.name,
            "; ".join(unlike),
        )
    writer = _Writer(folder, model, source, ply=ply, features=features)
    bad = 0
    started = time.perf_counter()
    with torch.inference_mode(), tqdm(total=len(source), desc="predict", unit="scan") as bar:
        for item in scan(network, source, model.voxel):
            bar.update()
            if isinstance(item, Skip):
                bad += 1
                log.warning("skipped: %s", item.reason)
            else:
                writer.write(item)
    good = len(source) - bad
    if not good:
        raise RunError(f"none of the {len(source)} scans could be labelled")
    print(pace(time.perf_counter() - started, good, source.sensor))
    return folder


UNIT = 6.0
"""Factor between the intensities of scans and of training from which on they are surely in another unit."""
TILT = 8.0
"""Degrees by which scans may look higher or lower than their lidar is said to."""


def differences(source: PointFiles, scans: int = 3) -> list[str]:
    """In what the first ``scans`` differ from the record of their lidar, in words; files that cannot be read say
    nothing here.
    """
    frames = []
    for index in range(min(scans, len(source))):
        try:
            frames.append(source[index])
        except InputError:
            continue
    if not any(len(frame) for frame in frames):
        return []
    found = []
    intensity = float(np.mean(np.concatenate([frame.intensity for frame in frames])))
    usual = source.sensor.intensity[0] if source.sensor.intensity is not None else 0.0
    if usual > 0 and not usual / UNIT < intensity < usual * UNIT:
        found.append(f"intensity is {intensity:.3g} on average, {usual:.3g} in training")
    if source.sensor.fov is not None:
        points = np.concatenate([frame.points for frame in frames])
        distance = np.linalg.norm(points, axis=1)
        points = points[(distance > 2) & (distance < 300)]  # not the own vehicle, nor what is no return
        elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
        low, high = np.percentile(elevation, (0.5, 99.5)) if len(elevation) else source.sensor.fov
        if low < source.sensor.fov[0] - TILT or high > source.sensor.fov[1] + TILT:
            found.append(
                f"they reach from {low:.0f} to {high:.0f} degrees, the lidar from "
                f"{source.sensor.fov[0]:.0f} to {source.sensor.fov[1]:.0f}"
            )
    return found


def _source(inputs: Sequence[str], model: ModelConfig, sensor: str | None, columns: int | None) -> Source:
    """Loose files, folders of files, or one named data set."""
    if len(inputs) == 1 and (Path(inputs[0]) / "rig.yaml").is_file():
        # its files rather than its frames: those leave out points that are not finite
        rig = open_rig(Path(inputs[0]))
        known = open_split(inputs[0], None, model.sensors).sensor
        return PointFiles(tuple(rig.root / "scans" / name for name in rig.scans), known, columns or rig.columns)
    if len(inputs) == 1 and ":" in inputs[0] and not Path(inputs[0]).exists():
        return open_split(inputs[0], None, model.sensors)
    paths: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not found:
                raise InputError(f"{path}: holds no point file ({', '.join(SUFFIXES)})")
            paths += found
        elif path.is_file():
            if path.suffix.lower() not in SUFFIXES:
                raise InputError(f"{path}: is no point file; expected {', '.join(SUFFIXES)}")
            paths.append(path)
        else:
            raise InputError(f"{path} does not exist")
    if not paths:
        raise InputError("no scans: name point files, a folder of them, or a source")
    twice = {p.name for p in paths if sum(q.name == p.name for q in paths) > 1} if len(paths) < 2000 else set()
    if twice:
        raise InputError(
            f"two scans are called {sorted(twice)[0]}, their results would overwrite each other; predict them apart"
        )
    rigs = {path.parent.parent for path in paths}
    if sensor is None and len(rigs) == 1 and paths[0].parent.name == "scans" and (min(rigs) / "rig.yaml").is_file():
        rig = open_rig(min(rigs))
        known = open_split(str(rig.root), None, model.sensors).sensor
        return PointFiles(tuple(paths), known, columns or rig.columns)
    return PointFiles(tuple(paths), _sensor(model, sensor), columns)


def _sensor(model: ModelConfig, name: str | None) -> Sensor:
    known = {s.name: s for s in model.sensors}
    if name is not None:
        if name not in known:
            raise InputError(f"--sensor {name}: the run was not trained on it{nearest(name, known)}")
        return known[name]
    if len(known) > 1:
        raise InputError(
            f"the run knows {len(known)} lidars; say with --sensor which one recorded the scans: {', '.join(known)}"
        )
    return next(iter(known.values()), Sensor("unknown"))


class _Writer:
    """Writes what was asked for side by side: STEM.label, STEM.ply, STEM.npy, and classes.json once."""

    def __init__(self, folder: Path, model: ModelConfig, source: Source, *, ply: bool, features: bool) -> None:
        self.folder, self.source, self.ply = folder, source, ply
        # a run without classes has nothing but features to give
        self.features = features or model.classes is None
        self.taxonomy = model.class_list()
        if self.taxonomy is not None and model.classes is not None:
            names = {int(raw): name for raw, name in zip(self.taxonomy.inverse, model.classes, strict=True)}
            self.classes = json.dumps(names, indent=2)

    def write(self, item: Scanned) -> None:
        """Write the results of one scan, a value per row of its file."""
        frame = self.source[item.index]
        stem = self.folder / Path(item.token.replace("/", "_")).stem
        shown: NDArray[np.uint8] | None = None
        if self.taxonomy is not None:
            # with the first scan, so that a folder for which no scan was of use can be used again
            if not (self.folder / "classes.json").is_file():
                write_atomically(self.folder / "classes.json", lambda file: file.write_text(self.classes))
            predicted = item.prediction()
            write_labels(stem.with_suffix(".label"), self.taxonomy.inverse[predicted])
            shown = self.taxonomy.colors[predicted]
        if self.features:
            values = item.features.half().cpu()[item.rows].numpy()
            write_atomically(stem.with_suffix(".npy"), lambda file: _save(file, values))
        if self.ply:
            if shown is None:
                shown = pca_colors(item.features.cpu().numpy())[item.rows.numpy()]
            write_points(stem.with_suffix(".ply"), PointFile(frame.points, frame.intensity, colors=shown))


def _save(file: Path, values: NDArray[np.float16]) -> None:
    with open(file, "wb") as opened:  # given a path, numpy would add a suffix to the temporary name
        np.save(opened, values)
