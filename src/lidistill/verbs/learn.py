"""Verbs that learn, and what they need for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction

from lidistill.verbs.options import Classes, Data, Fraction, Labels, Out, Overwrite, Resume, RunFolder, Seed, Set, arg


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

    Every scan is seen through one random camera, or through all of them where the recipe says so (cameras: all); the
    points that they see learn the teacher's features at their pixels (of several teachers, all side by side). Uses the
    split train where there is one, otherwise all scans.

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
    target in rounds; the one is kept that agrees most with the pictures and tells most of the points apart, or the
    latter alone where no picture can be asked.

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
