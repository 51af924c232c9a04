"""``lidistill probe`` and ``lidistill finetune``: learn a segmentation head, evaluate it, say how good it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError

from lidistill import __version__
from lidistill.apps.evaluate import score
from lidistill.apps.few_labels import label_report, with_labels
from lidistill.apps.gallery import draw_gallery
from lidistill.apps.logs import logged
from lidistill.apps.recipes import choose, overrides
from lidistill.apps.report import write_report
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.sensing.frame import Sensor
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.network import Network
from lidistill.training.data import open_split
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.recipe import SegmentRecipe, sentences
from lidistill.training.run import ModelConfig, Pretraining, Run, RunConfig
from lidistill.training.segment import segment as train_head

log = logging.getLogger("lidistill")
CONTRASTIVE = ("ppkt", "slidr", "st-slidr", "seal")
"""Objectives whose backbones were published with SLidR's way of learning from labels."""
MOSTLY = 0.6
"""Share of ignored labels from which on the class list is doubted; published lists ignore up to a third."""


def segment(
    verb: Literal["probe", "finetune"],
    parent: str | Path | None,
    *,
    data: str,
    out: str | Path,
    recipe: str | None = None,
    student: str | None = None,
    from_scratch: bool = False,
    fraction: float | None = None,
    labels: str | Path | None = None,
    classes: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """See ``lidistill.verbs.probe`` and ``finetune``. Returns the run folder."""
    if parent is not None and student is not None:
        raise InputError(f"--student {student}: the run {parent} brings its own student; leave one of the two out")
    if parent is not None and Path(out).resolve() == Path(parent).resolve():
        raise InputError(f"--out {out}: is the run that {verb} starts from; choose another folder")
    if labels is not None and fraction is not None:
        raise InputError(f"--fraction {fraction:g}: is of the data's own labels; with --labels all of yours are used")
    given = [] if fraction is None else [f"fraction={fraction}"]
    changes = [*given, *overrides(student=student, epochs=epochs, seed=seed, set=set)]
    before = None if parent is None else Run.open(parent)
    taught = None if before is None else before.taught()
    default = default_recipe(verb, taught, fraction, few=labels is not None, first=before is None)
    chosen = choose(recipe, default, changes, out=out, resume=resume)
    if not isinstance(chosen, SegmentRecipe):
        raise InputError(f"recipe {chosen.name} is of kind {chosen.kind}; {verb} takes one of kind segment")
    if chosen.frozen != (verb == "probe"):
        raise InputError(
            f"recipe {chosen.name} has frozen = {chosen.frozen}; that is the other one of probe and finetune"
        )
    network: Network | None = None
    known: ModelConfig | None = None
    sensors: tuple[Sensor, ...] = ()
    network_of = chosen.student
    if before is not None:
        network, known = before.load_network()
        sensors, network_of = known.sensors, known.student
        chosen = chosen.model_copy(update={"voxel": known.voxel})
    chosen = chosen.model_copy(update={"student": _student(network_of, chosen)})
    spec = data if labels is None else with_labels(data, labels)
    source = open_split(spec, None, sensors, classes)
    taxonomy = source.taxonomy
    if taxonomy is None:
        raise InputError(
            f"{data}: has no class list; add classes to rig.yaml (a name such as city-16, or a list of names), or name "
            "one with --classes"
        )
    train = _training_part(source, chosen)
    _warn_of_unknown_labels(train)
    found = None if labels is None else label_report(spec, classes)
    head = HeadConfig(
        kind="probe",
        outputs=len(taxonomy.classes),
        hidden=chosen.head_hidden,
        calibration=chosen.calibration,
        reads=_space(chosen, known, from_scratch),
        both=chosen.reads == "both",
    )
    # a head that knows these classes, of a probe or of FSKD, need not be found again while the backbone moves with it
    goes_on = verb == "finetune" and known is not None and known.classes == taxonomy.classes and not from_scratch
    if goes_on and known is not None:
        asked, there = (chosen.head_hidden, chosen.calibration), (known.head.hidden, known.head.calibration)
        if all(one in (None, other) for one, other in zip(asked, there, strict=True)):
            head = known.head
    model = ModelConfig(
        student=chosen.student,
        head=head,
        classes=taxonomy.classes,
        taxonomy=taxonomy.name,
        voxel=chosen.voxel,
        sensors=(source.sensor, *(s for s in sensors if s.name != source.sensor.name)),
    )
    config = RunConfig(
        verb=verb,
        sources=(spec,),
        split=chosen.split,
        parent=None if from_scratch or parent is None else str(parent),
        pretraining=None if from_scratch else taught,
        model=model,
        recipe=chosen,
        version=__version__,
    )
    start: dict[str, dict[str, Any]] = {}
    if network is not None and known is not None and not from_scratch:
        # the head of a run that was only distilled speaks in the space of its teachers
        parts = {**network.distilled, "space" if known.classes is None else "head": network.head}
        below = ("backbone",) if head.reads is None else ("backbone", "calibration", "space")
        same = goes_on and head == known.head
        start = {name: part.state_dict() for name, part in parts.items() if same or name in below}
    fabric = make_fabric(chosen)
    run = shared_run(fabric, Run, out, config, resume=resume, overwrite=overwrite)
    with logged(run):
        log.info(
            "%d scans with labels, %d classes, student %s, recipe %s",
            *(len(train), len(taxonomy.classes), chosen.student.name, chosen.name),
        )
        if found:
            log.info("%s", found)
        if "head" in start:
            log.info("starts with the head of %s too: its classes are the same", parent)
        elif verb == "finetune" and start and known is not None and known.classes is not None:
            log.info("leaves the head of %s behind: its classes are others, or it has another shape", parent)
        if "backbone" not in start:
            log.info("the backbone has random weights%s", " and keeps them" if chosen.frozen else "")
        if parent is None and (recipe, student) == (None, None) and not torch.cuda.is_available():
            log.warning(
                "no --student was named: %s is made for a GPU; without one a small student such as --student "
                "waffleiron-6-64 trains sooner and needs less memory",
                chosen.student.name,
            )
        trained = train_head(fabric, run, train, chosen, start)
        held_out = source.split("val") if source.splits.get("val") else None
        if held_out is not None:
            score(run, trained, held_out, split="val")
        elif labels is None:  # else the label report said so
            log.warning("%s has no split val: nothing to evaluate on", spec)
        if fabric.is_global_zero:
            draw_gallery(run, trained, held_out or train)
            log.info("report: %s", write_report(run.path))
        fabric.barrier()
    return run.path


def default_recipe(verb: str, taught: Pretraining | None, fraction: float | None, *, few: bool, first: bool) -> str:
    """The recipe that fits when none is named: published rates differ by share of labels and kind of distillation.

    ``taught``: how the backbone was distilled, None for one that was not; ``first``: no run comes before.
    """
    contrastive = (
        taught is not None and taught.objective in CONTRASTIVE and not taught.recipe.startswith("city") and not few
    )
    if verb == "probe":
        return "few-labels-probe" if few else "slidr-probe" if contrastive else "linear-probe"
    if taught is None:
        return "few-labels" if few else "from-scratch" if first else "finetune"
    if taught.recipe.startswith("city") and not few:
        return "city-finetune"
    if contrastive:
        return "slidr-finetune"
    plus = taught.recipe.startswith("scalr-plus")
    share = {0.01: "-nuscenes-1", 0.1: "-nuscenes-10"}.get(fraction or 1.0, "-nuscenes" if plus else "")
    return ("scalr-plus-" if plus else "") + ("few-labels" if few else f"finetune{share}")


def _space(recipe: SegmentRecipe, known: ModelConfig | None, from_scratch: bool) -> HeadConfig | None:
    """The distillation head that the head will read, if the recipe asks for it: that of a distilled run, or of one that
    reads it already. Raises ``InputError`` where there is none.
    """
    if recipe.reads == "features":
        return None
    found = None if known is None else known.head if known.classes is None else known.head.reads
    if found is None or from_scratch:
        raise InputError(
            f"recipe {recipe.name}: reads = {recipe.reads} needs a run that was distilled and has learned no classes "
            "yet; name one, or read the backbone's features with --set reads=features"
        )
    return found


def _student(given: StudentConfig, recipe: SegmentRecipe) -> StudentConfig:
    """The student; how it is regularised, and what it sees of these data, is the recipe's business."""
    changed: dict[str, object] = {"drop_path": 0.0 if recipe.frozen else recipe.student.drop_path}
    if recipe.fov is not None:
        changed["fov"] = recipe.fov
    try:
        return StudentConfig.model_validate({**given.model_dump(), **changed})
    except ValidationError as error:
        raise InputError(f"recipe {recipe.name}: fov: {sentences(error, list(StudentConfig.model_fields))}") from None


def _warn_of_unknown_labels(train: Source) -> None:
    """A class list that does not fit the label files leaves nearly nothing to learn from: say so at the start."""
    ignored = []
    for index in sorted({0, len(train) // 2, len(train) - 1}):
        try:
            labels = train[index].labels
        except InputError:  # a damaged frame is counted by the loop
            continue
        if labels is not None and len(labels):
            ignored.append(float(np.mean(labels == 255)))
    share = float(np.mean(ignored)) if ignored else 0.0
    if share > MOSTLY:
        log.warning(
            "%.0f %% of the labels of %s are none of its %d classes; does the class list fit the label files? "
            "(lidistill doctor tells which ids are unknown)",
            100 * share,
            train.spec,
            len(train.taxonomy.classes) if train.taxonomy else 0,
        )


def _training_part(source: Source, recipe: SegmentRecipe) -> Source:
    """The scans to learn from: ``train``, or the fraction of it that the recipe asks for."""
    if recipe.fraction < 1 and recipe.split not in source.splits:
        there = {name.removeprefix("train-"): len(rows) for name, rows in source.splits.items()}
        lists = [f"{int(name) / 100:g} ({count} scans)" for name, count in there.items() if name.isdigit()]
        raise InputError(
            f"{source.spec}: has no list for the fraction {recipe.fraction:g} of its training scans (split "
            f"{recipe.split}); there are: {', '.join(lists) or 'none'}"
        )
    train = source.split(recipe.split)
    if not len(train):
        raise InputError(f"{source.spec}: split {recipe.split!r} has no frame")
    return train
