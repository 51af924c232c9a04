"""Where to start: see the main job, make data, examine data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction

from lidistill.verbs.options import Out, Overwrite, arg


def demo(
    out: Annotated[Path, arg(help="Folder for data, runs and report.")] = Path("demo"),
    /,
    *,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> Path:
    """See the main job in a few minutes: make a small synthetic city, distil, probe, compare, report.

    Ends with the linear-probe mIoU of a random frozen backbone, of the distilled frozen backbone and of the same
    network trained with full supervision, on city scenes that none of them has seen. Finished parts are kept: a
    second call goes on where the first one stopped.

    Try:

        $ lidistill demo
    """
    from lidistill.apps.demo import demo as act

    return act(out, seed=seed, overwrite=overwrite)


def simulate(
    out: Positional[Out],
    *,
    sensor: Annotated[str, arg(help="spinning-32, spinning-64, uneven-64 or solid-state.")] = "spinning-32",
    style: Annotated[str, arg(help="grid or old-town.")] = "grid",
    scenes: Annotated[int, arg(help="Independent pieces of city; the last fifth becomes the split val.")] = 10,
    frames: Annotated[int, arg(help="Scans per scene, half a second apart.")] = 4,
    seed: int = 0,
    images: Annotated[
        bool, arg(help="Leave out the pictures of the cameras.", help_behavior_hint="(default: with pictures)")
    ] = True,
    masks: Annotated[bool, arg(help="Also write the class of every pixel of the pictures, for teach-images.")] = False,
    workers: Annotated[int, arg(help="Processes.")] = 1,
    overwrite: Overwrite = False,
) -> Path:
    """Make a synthetic city and record it with a simulated sensor: an ordinary rig folder, labels included.

    Try:

        $ lidistill simulate city/
        $ lidistill simulate city/ --sensor solid-state --style old-town --scenes 20 --seed 7
        $ lidistill simulate city/ --masks
    """
    from lidistill.simulator import simulate as act

    return act(
        out,
        sensor=sensor,
        style=style,
        scenes=scenes,
        frames=frames,
        seed=seed,
        images=images,
        masks=masks,
        workers=workers,
        overwrite=overwrite,
    )


def doctor(
    source: Positional[
        Annotated[str, arg(metavar="SOURCE", help="Rig folder, NAME:/path, or a ROS bag (with --rig).")]
    ],
    *,
    frames: Annotated[
        int | None,
        arg(metavar="N", help="Examine N evenly spread frames, and those beside up to ten of them; default: all."),
    ] = None,
    out: Annotated[Path | None, arg(metavar="FILE", help="The page; default doctor-NAME.html here.")] = None,
    page: Annotated[
        bool, arg(help="Only print, write no page with pictures.", help_behavior_hint="(default: a page)")
    ] = True,
    json: Annotated[bool, arg(help="Print the report as JSON.")] = False,
    statistics: Annotated[bool, arg(help="Print the measured sensor record as YAML for rig.yaml.")] = False,
    workers: Annotated[int | None, arg(metavar="N", help="Processes; default: the machine's cores.")] = None,
    calib: Annotated[Path | None, arg(metavar="FILE", help="First write this KITTI calib.txt into rig.yaml.")] = None,
    camera_info: UseAppendAction[
        Annotated[tuple[Path, ...], arg(metavar="FILE", help="First write this ROS camera_info into rig.yaml.")]
    ] = (),
    extrinsics: Annotated[
        Path | None, arg(metavar="FILE", help="Poses of the cameras, for --camera-info and bags.")
    ] = None,
    rig: Annotated[Path | None, arg(metavar="FOLDER", help="Rig folder to write a bag into.")] = None,
    lidar: Annotated[str | None, arg(metavar="TOPIC", help="Topic of the lidar in a bag.")] = None,
    camera: UseAppendAction[
        Annotated[tuple[str, ...], arg(metavar="NAME=TOPIC", help="Topic of a camera in a bag.")]
    ] = (),
    every: Annotated[float | None, arg(metavar="SECONDS", help="Take a frame of the bag at most this often.")] = None,
    overwrite: Annotated[bool, arg(help="Replace cameras that rig.yaml already has.")] = False,
) -> Any:
    """Examine recordings before anything is trained on them: is every file whole, is the calibration right?

    Opens every frame, measures the lidar, and lays the edges of the scans over the edges of the pictures: a wrong
    axis order, a transposed or inverted matrix, swapped cameras, another picture size, shifted frames and turns of
    about a degree are named, with what to do. The exit code is 0 for healthy recordings and 1 for others; in Python the
    report is returned (``report.healthy``, ``report.findings``, ``report.figures``).

    Try:

        $ lidistill doctor my_rig/
        $ lidistill doctor semantic-kitti:/data/kitti --frames 100 --json
        $ lidistill doctor my_rig/ --statistics
        $ lidistill doctor my_rig/ --calib calib.txt
        $ lidistill doctor my_rig/ --camera-info front.yaml --extrinsics extrinsics.yaml
        $ lidistill doctor drive.bag --rig my_rig/
    """
    from lidistill.apps.doctor import doctor as act
    from lidistill.apps.doctor_import import imported

    found = imported(
        source,
        calib=calib,
        camera_info=camera_info,
        extrinsics=extrinsics,
        rig=rig,
        lidar=lidar,
        camera=camera,
        every=every,
        overwrite=overwrite,
    )
    return act(found, frames=frames, out=out, page=page, json=json, statistics=statistics, workers=workers)
