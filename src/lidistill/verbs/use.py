"""Verbs that use a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from lidistill.verbs.options import Data, Out, Overwrite, RunFolder, Split, arg


def evaluate(
    run: Positional[RunFolder],
    *,
    data: Data,
    split: Split = "val",
    out: Annotated[
        Path | None, arg(metavar="FOLDER", help="Where to write the result card; default RUN/evaluations.")
    ] = None,
    classes: Annotated[
        str | None,
        arg(
            metavar="WORDS",
            help="A run with a CLIP teacher: phrases for classes of the data, 'car; van, truck' or a .yaml file; "
            "default: their names.",
        ),
    ] = None,
    tta: Annotated[
        int, arg(metavar="N", help="Test-time augmentation: poses of each scan, the first as recorded.")
    ] = 1,
    map: Annotated[
        str | None,
        arg(metavar="NAME", help="Class list (kitti-10, poss-6, my.yaml) in which run and data meet."),
    ] = None,
    outside: Annotated[
        Literal["forbid", "miss"],
        arg(help="Predicted classes that have no place in the map: never predict them, or count them as wrong."),
    ] = "forbid",
    corruptions: Annotated[
        str | None, arg(metavar="NAMES", help="Also corrupted, in 3 severities: all, or names such as fog,snow.")
    ] = None,
    baseline: Annotated[
        str | None,
        arg(metavar="CARD", help="Whose errors mCE counts in: such a card of another run, or nuscenes-c (published)."),
    ] = None,
    released: Annotated[
        str | None,
        arg(metavar="SOURCE", help="Corrupted scans of Robo3D's release (nuscenes-c:/path) instead of made ones."),
    ] = None,
    devices: Annotated[int, arg(metavar="N", help="Processes that share the scans, one per GPU.")] = 1,
) -> Path:
    """Evaluate a run that knows classes: per-class IoU and mIoU over all labelled points of a split.

    With --map on data of other classes: both meet in a named class list. With --corruptions also under fog, snow, fewer
    beams ...: mIoU, mCE and mRR; what is finished is kept and not repeated. A run that was only distilled, from
    MaskCLIP, is asked for the classes by their words. Prints ms per scan and Hz beside the sensor's rate.

    Try:

        $ lidistill evaluate runs/a-probe --data semantic-kitti:/data/kitti
        $ lidistill evaluate runs/a-probe --data semantic-kitti:/data/kitti --tta 8
        $ lidistill evaluate runs/nuscenes --data semantic-kitti:/data/kitti --map kitti-10
        $ lidistill evaluate runs/a-probe --data my_rig/ --corruptions all --baseline other-card.json
        $ lidistill evaluate runs/clip --data my_rig/ --classes phrases.yaml
        $ lidistill evaluate runs/n --data nuscenes:/n --corruptions all --released "nuscenes-c:/c?tables=/n"
    """
    from lidistill.apps.evaluate import evaluate as act

    return act(
        run,
        data=data,
        split=split,
        out=out,
        classes=classes,
        tta=tta,
        map=map,
        outside=outside,
        corruptions=corruptions,
        baseline=baseline,
        released=released,
        devices=devices,
    )


def predict(
    run: Positional[RunFolder],
    inputs: Positional[
        Annotated[tuple[str, ...], arg(metavar="SCAN", help="Point files, folders of them, or a source.")]
    ],
    *,
    out: Out,
    classes: Annotated[
        str | None,
        arg(
            metavar="WORDS",
            help="A run with a CLIP teacher: words to tell apart, 'car; van, tram, road' or a .yaml file.",
        ),
    ] = None,
    ply: Annotated[
        bool, arg(help="Leave out the coloured .ply of each scan.", help_behavior_hint="(default: with them)")
    ] = True,
    features: Annotated[bool, arg(help="Also write one feature vector per point (.npy, float16).")] = False,
    sensor: Annotated[
        str | None,
        arg(metavar="NAME", help="Which of the run's lidars recorded the scans; needed when it knows several."),
    ] = None,
    columns: Annotated[Literal[4, 5] | None, arg(help="Columns of .bin files: x y z intensity [ring].")] = None,
    overwrite: Overwrite = False,
) -> Path:
    """Label scans: one .label file per scan, coloured point clouds, optionally features.

    Reads .bin, .npy, .npz, .pcd, .ply, .las and .laz. A run that was only distilled has no classes: it writes
    features, and the .ply shows them in false colours; one with a MaskCLIP teacher knows any --classes by their words.
    Prints ms per scan and Hz beside the sensor's rate.

    Try:

        $ lidistill predict runs/a-probe scans/*.bin --out labels/
        $ lidistill predict runs/a my_rig/ --features --out features/
        $ lidistill predict runs/clip scans/*.bin --classes "car; van, tram, road" --out labels/
    """
    from lidistill.apps.predict import predict as act

    return act(
        run,
        inputs,
        out=out,
        classes=classes,
        ply=ply,
        features=features,
        sensor=sensor,
        columns=columns,
        overwrite=overwrite,
    )


def report(run: Positional[RunFolder]) -> Path:
    """Write the report of a run again: one self-contained HTML file.

    Try:

        $ lidistill report runs/a
    """
    from lidistill.apps.report import write_report

    return write_report(run)


def recipes(
    name: Positional[Annotated[str | None, arg(metavar="NAME", help="Show this recipe in full.")]] = None,
) -> str:
    """List the built-in recipes, or show one in full.

    Try:

        $ lidistill recipes
        $ lidistill recipes scalr-plus > mine.yaml
    """
    from lidistill.apps.recipes import recipes as act

    return act(name)
