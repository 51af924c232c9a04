"""The verbs: one function each, the same on the command line and in Python.

Signatures and help texts live here and import nothing heavy, so that every help screen answers at once; what a
verb does stands in ``lidistill.apps``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

Out = Annotated[Path, arg(metavar="FOLDER", help="Folder to write; made if it does not exist.")]
Set = UseAppendAction[Annotated[tuple[str, ...], arg(metavar="KEY=VALUE", help="Override any key of the recipe.")]]
Overwrite = Annotated[bool, arg(help="Replace what an earlier run left in the folder.")]
Resume = Annotated[bool, arg(help="Go on with the interrupted run in the folder, by its own recipe.")]
Data = Annotated[str, arg(metavar="SOURCE", help="Rig folder, or NAME:/path such as semantic-kitti:/data/kitti.")]
RunFolder = Annotated[Path, arg(metavar="RUN", help="Folder of a run.")]
Seed = Annotated[int | None, arg(metavar="N", help="Seed of everything random; default: the recipe's.")]
Split = Annotated[str, arg(help="Split of the data.")]
Fraction = Annotated[
    float | None,
    arg(metavar="SHARE", help="Learn from 0.01, 0.05, 0.1, 0.25 or 0.5 of the training scans; default: the recipe's."),
]
Labels = Annotated[
    Path | None, arg(metavar="FOLDER", help="Your own .label files for some scans of a rig: those alone are used.")
]
Classes = Annotated[
    str | None,
    arg(metavar="NAME", help="Class list to read the labels with, a name or a .yaml file; default: its own."),
]


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


def superpixels(
    source: Positional[Data],
    *,
    method: Annotated[Literal["slic", "sam", "argmax"], arg(help="How pictures are cut.")] = "slic",
    model: Annotated[
        str | None,
        arg(metavar="NAME", help="Network of sam or argmax: hub name or local folder; for argmax also program.pt2."),
    ] = None,
    set: UseAppendAction[
        Annotated[tuple[str, ...], arg(metavar="KEY=VALUE", help="A parameter of the method, such as n_segments=100.")]
    ] = (),
    split: Annotated[str | None, arg(help="Only this split; default: all frames.")] = None,
    out: Annotated[
        Path | None, arg(metavar="FOLDER", help="Where they go; default: beside the data, where training finds them.")
    ] = None,
    shard: Annotated[str | None, arg(metavar="I/N", help="Only one share of the frames: 0/4, 1/4, 2/4 or 3/4.")] = None,
    workers: Annotated[
        int | None, arg(metavar="N", help="Processes; default: the machine's cores for slic, 1 for networks.")
    ] = None,
) -> Path:
    """Cut the pictures of a data set into superpixels, once, for the objectives that compare them.

    slic as in SLidR, sam (automatic masks) as in Seal, argmax: the classes of a segmentation network. Writes one PNG of
    ids per picture and a page that shows some; an interrupted call goes on where it stopped.

    Try:

        $ lidistill superpixels my_rig/
        $ lidistill superpixels nuscenes:/data/nuscenes --split train --shard 0/4 --workers 16
        $ lidistill superpixels my_rig/ --method sam --model facebook/sam-vit-base --set points=16
        $ lidistill superpixels my_rig/ --method argmax --model my_segformer/ --out classes/
    """
    from lidistill.apps.superpixels import superpixels as act

    return act(source, method=method, model=model, set=set, split=split, out=out, shard=shard, workers=workers)


def teach_images(
    source: Positional[
        Annotated[
            str,
            arg(metavar="SOURCE", help="Pictures with classes: nuimages:/path, cityscapes:/path, a folder, a rig."),
        ]
    ],
    *,
    out: Out,
    recipe: Annotated[
        str | None, arg(metavar="NAME", help="Built-in recipe or a .yaml file; default: teach-images.")
    ] = None,
    start: Annotated[
        str | None,
        arg(metavar="NAME", help="Weights to start from: a ResNet-50 file (.pth), city, or a folder of teach-images."),
    ] = None,
    classes: Annotated[
        str | None, arg(metavar="NAME", help="Class list to read the masks with; default: the source's own.")
    ] = None,
    epochs: Annotated[int | None, arg(metavar="N", help="Passes over the pictures.")] = None,
    seed: Seed = None,
    set: Set = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Path:
    """Train an image network on pictures with classes: a teacher that knows classes, for zero-shot segmentation.

    Trains on the split train and evaluates on val. What comes out is a run folder that pretrain takes as --teacher:
    features, and the linear classifier that a lidar network can share (recipe fskd).

    Try:

        $ lidistill teach-images nuimages:/data/nuimages --start resnet50.pth --out runs/images
        $ lidistill teach-images my_pictures/ --start runs/images --epochs 10 --out runs/mine
        $ lidistill teach-images city/ --recipe city-images --out runs/city-images
        $ lidistill pretrain nuscenes:/data/nuscenes --recipe fskd --teacher runs/images --out runs/a
    """
    from lidistill.apps.teach_images import teach_images as act

    return act(
        source,
        out=out,
        recipe=recipe,
        start=start,
        classes=classes,
        epochs=epochs,
        seed=seed,
        set=set,
        resume=resume,
        overwrite=overwrite,
    )


def pretrain(
    sources: Positional[
        Annotated[tuple[str, ...], arg(metavar="SOURCE", help="One or more sources of scans and images.")]
    ],
    *,
    out: Out,
    recipe: Annotated[
        str | None,
        arg(metavar="NAME", help="Built-in recipe (see lidistill recipes) or a .yaml file; default: scalr-plus."),
    ] = None,
    teacher: Annotated[
        str | None,
        arg(
            metavar="NAME[,NAME]",
            help="Short name (dinov2-vitl14), hub name, local folder, program.pt2, or city; or several, by commas.",
        ),
    ] = None,
    student: Annotated[str | None, arg(metavar="NAME", help="Student by name, for example waffleiron-48-256.")] = None,
    epochs: Annotated[int | None, arg(metavar="N", help="Passes over the data.")] = None,
    seed: Seed = None,
    set: Set = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Path:
    """Distil an image network into a lidar network, without labels.

    Every scan is seen through one random camera; the points that this camera sees learn the teacher's features at
    their pixels (of several teachers, all side by side). Uses the split train where there is one, otherwise all scans.

    Try:

        $ lidistill pretrain my_rig/ --teacher dinov2-vitl14 --student waffleiron-48-256 --out runs/a
        $ lidistill pretrain my_rig/ --teacher dinov2-vitl14,maskclip-vitb16 --out runs/two
        $ lidistill pretrain semantic-kitti:/data/kitti my_rig/ --out runs/both --set batch_size=4
        $ lidistill pretrain my_rig/ --out runs/a --resume
    """
    from lidistill.apps.pretrain import pretrain as act

    return act(
        sources,
        out=out,
        recipe=recipe,
        teacher=teacher,
        student=student,
        epochs=epochs,
        seed=seed,
        set=set,
        resume=resume,
        overwrite=overwrite,
    )


def probe(
    run: Positional[Annotated[Path | None, arg(metavar="RUN", help="Folder of a run; none = random weights.")]] = None,
    *,
    data: Data,
    out: Out,
    recipe: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help="Built-in recipe or a .yaml file; default: linear-probe, few-labels-probe with --labels.",
        ),
    ] = None,
    student: Annotated[
        str | None, arg(metavar="NAME", help="Without RUN: a random backbone of this kind, the baseline.")
    ] = None,
    fraction: Fraction = None,
    labels: Labels = None,
    classes: Classes = None,
    epochs: Annotated[int | None, arg(metavar="N", help="Passes over the data.")] = None,
    seed: Seed = None,
    set: Set = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Path:
    """Measure a backbone by linear probing: freeze it, train one linear layer on labels, evaluate.

    Trains on the split train of the data (or the --fraction of it) and evaluates on val. Without RUN the backbone is
    random. With --labels it trains on a few labelled scans of a rig, one in five of them held out.

    Try:

        $ lidistill probe runs/a --data semantic-kitti:/data/kitti --out runs/a-probe
        $ lidistill probe runs/a --data my_rig/ --labels my_labels/ --out runs/a-probe
        $ lidistill probe --student waffleiron-48-256 --data my_rig/ --out runs/random-probe
    """
    from lidistill.apps.segment import segment as act

    return act(
        "probe",
        run,
        data=data,
        out=out,
        recipe=recipe,
        student=student,
        fraction=fraction,
        labels=labels,
        classes=classes,
        epochs=epochs,
        seed=seed,
        set=set,
        resume=resume,
        overwrite=overwrite,
    )


def adapt(
    run: Positional[RunFolder],
    *,
    source: Annotated[str | None, arg(metavar="SOURCE", help="Data with labels: rig folder, or NAME:/path.")] = None,
    target: Annotated[
        str | None, arg(metavar="SOURCE", help="Data of the new lidar; its labels, if any, are never learned.")
    ] = None,
    setting: Annotated[
        str | None,
        arg(metavar="NAME", help="Published pair, such as nuscenes-to-waymo: source, target, classes and map at once."),
    ] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER", help="Holds the data sets of --setting; default: data.")] = None,
    out: Out,
    recipe: Annotated[str | None, arg(metavar="NAME", help="Built-in recipe or a .yaml file; default: muddos.")] = None,
    classes: Classes = None,
    map: Annotated[
        str | None, arg(metavar="NAME", help="Class list in which to compare with the target's labels, if it has any.")
    ] = None,
    epochs: Annotated[int | None, arg(metavar="N", help="Passes over the target in every round.")] = None,
    seed: Seed = None,
    set: Set = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Path:
    """Carry a network to a new lidar without labels: frozen backbone, head of the source, self-training.

    RUN is a backbone that was distilled, best on scans of both lidars: a head is trained on the labels of the source
    first, into the folder OUT-head. Or RUN is such a run with a head already. Then the network teaches itself on the
    target in rounds, and the round that agrees most with itself is kept, if it agrees clearly more than the start.

    Try:

        $ lidistill pretrain nuscenes:/data/nuscenes my_rig/ --out runs/both
        $ lidistill adapt runs/both --source nuscenes:/data/nuscenes --target my_rig/ --out runs/mine
        $ lidistill predict runs/mine my_rig/scans/*.bin --out labels/
        $ lidistill adapt runs/both --setting nuscenes-to-semantic-kitti --data /data --out runs/kitti

    docs/reference/settings.md lists the settings.
    """
    from lidistill.apps.adapt import adapt as act

    return act(
        run,
        source=source,
        target=target,
        setting=setting,
        data=data,
        out=out,
        recipe=recipe,
        classes=classes,
        map=map,
        epochs=epochs,
        seed=seed,
        set=set,
        resume=resume,
        overwrite=overwrite,
    )


def finetune(
    run: Positional[Annotated[Path | None, arg(metavar="RUN", help="Folder of a run; none = random weights.")]] = None,
    *,
    data: Data,
    out: Out,
    recipe: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help="Built-in recipe or a .yaml file; default: the one that fits this RUN and --fraction.",
        ),
    ] = None,
    student: Annotated[
        str | None, arg(metavar="NAME", help="Without RUN: train this student from random weights.")
    ] = None,
    from_scratch: Annotated[
        bool, arg(help="Only the student of RUN, with random weights: what the pretraining is worth.")
    ] = False,
    fraction: Fraction = None,
    labels: Labels = None,
    classes: Classes = None,
    epochs: Annotated[int | None, arg(metavar="N", help="Passes over the data.")] = None,
    seed: Seed = None,
    set: Set = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Path:
    """Train the whole network on labels, from a distilled backbone or from scratch, and evaluate.

    With --labels it learns from a few labelled scans of a rig, one in five of them held out to evaluate on.

    Try:

        $ lidistill finetune runs/a --data semantic-kitti:/data/kitti --out runs/a-finetuned
        $ lidistill finetune runs/a --data semantic-kitti:/data/kitti --fraction 0.01 --out runs/a-1
        $ lidistill finetune runs/a-probed --data semantic-kitti:/data/kitti --out runs/b    # goes on with its head
        $ lidistill finetune runs/a --from-scratch --data semantic-kitti:/data/kitti --fraction 0.01 --out runs/none-1
        $ lidistill finetune runs/a --data my_rig/ --labels my_labels/ --out runs/mine
        $ lidistill finetune --student waffleiron-48-256 --data my_rig/ --out runs/scratch
    """
    from lidistill.apps.segment import segment as act

    return act(
        "finetune",
        run,
        data=data,
        out=out,
        recipe=recipe,
        student=student,
        from_scratch=from_scratch,
        fraction=fraction,
        labels=labels,
        classes=classes,
        epochs=epochs,
        seed=seed,
        set=set,
        resume=resume,
        overwrite=overwrite,
    )


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
    """Evaluate a probed or finetuned run: per-class IoU and mIoU over all labelled points of a split.

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


def import_checkpoint(
    file: Positional[
        Annotated[Path, arg(metavar="FILE", help="A checkpoint of ScaLR, WaffleIron or SLidR (.pth, .pt).")]
    ],
    out: Positional[Out],
    *,
    activation: Annotated[
        Literal["auto", "relu", "gelu"], arg(help="Not stored in downstream files: gelu for those of ScaLR+.")
    ] = "auto",
    fov: Annotated[
        tuple[float, float, float, float, float, float],
        arg(metavar="X0 X1 Y0 Y1 Z0 Z1", help="Field of view in metres (not stored in the file)."),
    ] = (-64.0, 64.0, -64.0, 64.0, -8.0, 8.0),
    cell: Annotated[float, arg(help="Edge of the student's 2D cells in metres (not stored in the file).")] = 0.5,
    taxonomy: Annotated[
        str | None, arg(metavar="NAME", help="Class list of a downstream file, for example semantic-kitti-19.")
    ] = None,
    overwrite: Overwrite = False,
) -> Path:
    """Turn a released ScaLR / ScaLR+ / WaffleIron / SLidR checkpoint into a run folder that every verb takes.

    Try:

        $ lidistill import-checkpoint WI_768-DINOv2_ViT_L_14-NS_KI_PD-pretrained/model.pth runs/scalr
    """
    from lidistill.apps.checkpoint import import_checkpoint as act

    return act(file, out, activation=activation, fov=fov, cell=cell, taxonomy=taxonomy, overwrite=overwrite)


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


def table(
    cards: Positional[Annotated[tuple[Path, ...], arg(metavar="CARD", help="Result cards, or folders of runs.")]],
    *,
    metric: UseAppendAction[
        Annotated[tuple[str, ...], arg(metavar="NAME", help="Columns; a pattern such as 'iou/*' takes several.")]
    ] = (),
    format: Annotated[Literal["text", "markdown", "html", "latex"], arg(help="How it is written.")] = "text",
    out: Annotated[Path | None, arg(metavar="FILE", help="Also write it into this file.")] = None,
) -> str:
    """Render result cards as a table: one row per experiment, seeds together as mean and spread.

    Cards belong to one experiment when they differ by nothing but the seed. Folders are searched for the cards
    that probe, finetune and evaluate wrote. Figures are per cent; without --metric the column is mIoU.

    Try:

        $ lidistill table runs/
        $ lidistill table runs/a-probe runs/b-probe --metric miou --metric 'iou/*' --format latex --out table.tex
    """
    from lidistill.apps.table import table as act

    return act(cards, metrics=metric or ("miou",), format=format, out=out)


def reproduce(
    name: Positional[
        Annotated[str | None, arg(metavar="TABLE", help="table3, ..., or a .yaml file; none lists them.")]
    ] = None,
    *,
    scale: Annotated[
        Literal["city", "paper"], arg(help="Small, on the synthetic city; or the real data sets and sizes.")
    ] = "city",
    data: Annotated[Path, arg(metavar="FOLDER", help="Folder that holds the data sets, for --scale paper.")] = Path(
        "data"
    ),
    work: Annotated[Path, arg(metavar="FOLDER", help="Cities and runs; shared by all tables.")] = Path(
        "runs/reproduce"
    ),
    cards: Annotated[
        Path | None, arg(metavar="FOLDER", help="Also write one card per cell, all seeds together, here.")
    ] = None,
    seeds: UseAppendAction[
        Annotated[tuple[int, ...], arg(metavar="N", help="Only these seeds; default: those of the table.")]
    ] = (),
    set: Set = (),
    dry_run: Annotated[bool, arg(help="Only print the runs, and at the paper's scale what they cost.")] = False,
    cluster: Annotated[
        Literal["slurm", "local"] | None, arg(help="Submit the runs, one job each, instead of doing them here.")
    ] = None,
    cluster_option: UseAppendAction[
        Annotated[tuple[str, ...], arg(metavar="KEY=VALUE", help="For submitit, for example slurm_partition=gpu.")]
    ] = (),
    format: Annotated[Literal["text", "markdown", "html", "latex"], arg(help="How it is written.")] = "text",
) -> str:
    """Make a table of the ScaLR paper, or your own: run or resume what has no card yet, print it beside the published.

    Tables share runs; a backbone is distilled once for all of them. Interrupted work goes on where it was. A .yaml file
    compares your own students, teachers and recipes in the same way (docs/explanation/tables.md).

    Try:

        $ lidistill reproduce table4 --dry-run
        $ lidistill reproduce table4 --seeds 0 --set workers=1
        $ lidistill reproduce table4 --scale paper --data /data --dry-run
        $ lidistill reproduce table4 --scale paper --data /data --cluster slurm --cluster-option slurm_partition=gpu
    """
    from lidistill.apps.reproduce import reproduce as act

    return act(
        name,
        scale=scale,
        data=data,
        work=work,
        cards=cards,
        seeds=seeds,
        set=set,
        dry_run=dry_run,
        cluster=cluster,
        cluster_options=cluster_option,
        format=format,
    )


def report(run: Positional[RunFolder]) -> Path:
    """Write the report of a run again: one self-contained HTML file.

    Try:

        $ lidistill report runs/a
    """
    from lidistill.apps.report import write_report

    return write_report(run)
