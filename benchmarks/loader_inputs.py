"""Scans and pictures of the size of real ones, for the loader's benchmark: simulated, and real ones where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from lidistill.datasets.nuscenes import NuScenes, open_nuscenes
from lidistill.datasets.rig import Rig, open_rig
from lidistill.datasets.semantic_kitti import SemanticKitti, open_semantic_kitti
from lidistill.datasets.source import Source
from lidistill.sensing.frame import Frame
from lidistill.simulator import simulate
from lidistill.simulator.sensors import RIGS
from lidistill.taxonomy import Taxonomy
from published_pipeline import Picture, Recording

SCENES = 3
FRAMES = 2


@dataclass(frozen=True)
class Input:
    """A data set to both pipelines: a ``source`` to ours, the files of every frame to the published one."""

    name: str
    beams: int
    source: Source
    recordings: tuple[Recording, ...]


def inputs(city: Path, real: Path | None) -> list[Input]:
    """Simulated scans (written to ``city``) and, where the folder ``real`` is, real ones."""
    found = [
        _city(city / "spinning-32", "spinning-32", 32, azimuths=1300, height=900, width=1600, suffix=".jpg"),
        _city(city / "spinning-64", "spinning-64", 64, azimuths=2100, height=376, width=1241, suffix=".png"),
    ]
    if real is not None and (real / "nuscenes").is_dir():
        found.append(_nuscenes(open_nuscenes(real / "nuscenes"), real / "nuscenes"))
    if real is not None and (real / "semantickitti").is_dir():
        found.append(_kitti(open_semantic_kitti(real / "semantickitti")))
    return found


def _city(out: Path, sensor: str, beams: int, azimuths: int, height: int, width: int, suffix: str) -> Input:
    """A simulated rig with denser rays and larger pictures."""
    rig, name = RIGS[sensor], f"{sensor}-full-size"
    cameras = tuple(replace(camera, height=height, width=width) for camera in rig.cameras)
    RIGS[name] = replace(rig, lidar=replace(rig.lidar, azimuths=azimuths), cameras=cameras)
    if not (out / "rig.yaml").exists():
        simulate(out, sensor=name, scenes=SCENES, frames=FRAMES, seed=700)
    for jpeg in sorted(out.glob("images/*/*.jpg")) if suffix == ".png" else ():
        Image.open(jpeg).save(jpeg.with_suffix(suffix))
        jpeg.unlink()
    source = open_rig(out)
    return Input(f"city, {beams} beams", beams, source, _recordings(source, 5, "uint32", _rig_files(source)))


def _rig_files(rig: Rig) -> Callable[[int], tuple[Path, Path]]:
    return lambda i: (rig.root / "scans" / rig.scans[i], rig.root / "labels" / f"{rig.stems[i]}.label")


def _kitti(source: SemanticKitti) -> Input:
    def files(index: int) -> tuple[Path, Path]:
        sequence, stem = source.frames[index]
        root = source.sequences / sequence
        return root / "velodyne" / f"{stem}.bin", root / "labels" / f"{stem}.label"

    return Input("SemanticKITTI, 64 beams", 64, source, _recordings(source, 4, "uint32", files))


def _nuscenes(source: NuScenes, root: Path) -> Input:
    """The one key frame of the piece of nuScenes."""

    def files(_: int) -> tuple[Path, Path]:
        return next(root.glob("samples/LIDAR_TOP/*.bin")), next(root.glob("lidarseg/*/*.bin"))

    return Input("nuScenes, 32 beams", 32, source, _recordings(source, 5, "uint8", files))


def _recordings(
    source: Source, columns: int, label_type: str, files: Callable[[int], tuple[Path, Path]]
) -> tuple[Recording, ...]:
    return tuple(_recording(source[i], *files(i), columns, label_type, source.taxonomy) for i in range(len(source)))


def _recording(
    frame: Frame, scan: Path, labels: Path, columns: int, label_type: str, taxonomy: Taxonomy | None
) -> Recording:
    assert taxonomy is not None
    assert frame.sensor.intensity is not None
    pictures = tuple(Picture(Path(view.load.args[0]), view.intrinsics, view.from_lidar) for view in frame.views)  # type: ignore[attr-defined]
    train_ids = {raw: int(train) for raw, train in enumerate(taxonomy.table)}
    return Recording(scan, columns, labels, label_type, train_ids, frame.sensor.intensity, pictures)
