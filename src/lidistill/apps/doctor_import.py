"""What the doctor is given beside recordings: calibrations of other formats and bags become a rig folder first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lidistill.errors import InputError

BAGS = (".bag", ".mcap", ".db3")


def imported(
    source: str,
    *,
    calib: Path | None,
    camera_info: Sequence[Path],
    extrinsics: Path | None,
    rig: Path | None,
    lidar: str | None,
    camera: Sequence[str],
    every: float | None,
    overwrite: bool,
) -> str:
    """Import what there is to import and return the source to examine."""
    path = Path(source)
    if path.suffix in BAGS or (path / "metadata.yaml").is_file():
        return _bag(path, rig, lidar, camera, extrinsics, every)
    if rig is not None or lidar is not None or camera or every is not None:
        raise InputError(f"{source}: --rig, --lidar, --camera and --every concern bags ({', '.join(BAGS)})")
    if calib is not None:
        from lidistill.datasets.imports.rig_import import from_kitti_calib

        from_kitti_calib(calib, path, overwrite=overwrite)
    if camera_info:
        if extrinsics is None:
            raise InputError("--camera-info needs --extrinsics: the poses of the cameras; give that file too")
        from lidistill.datasets.imports.rig_import import from_ros

        from_ros(camera_info, extrinsics, path, overwrite=overwrite)
    elif extrinsics is not None:
        raise InputError(f"{extrinsics}: --extrinsics needs --camera-info (or a bag); give a file for every camera")
    return source


def _bag(
    bag: Path,
    rig: Path | None,
    lidar: str | None,
    camera: Sequence[str],
    extrinsics: Path | None,
    every: float | None,
) -> str:
    if rig is None:
        raise InputError(f"{bag}: a bag is written into a rig folder first; name one with --rig my_rig/")
    from lidistill.datasets.imports.bags import bag_to_rig

    for text in camera:
        if not all(text.partition("=")[::2]):
            raise InputError(f"--camera {text!r}: expected NAME=TOPIC, such as front=/camera/front/image_raw")
    topics = dict(text.split("=", 1) for text in camera) or None
    return str(bag_to_rig(bag, rig, lidar=lidar, cameras=topics, extrinsics=extrinsics, every=every))
