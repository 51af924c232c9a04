"""``lidistill probe`` and ``lidistill finetune``: learn a segmentation head, evaluate it, say how good it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from lidistill import __version__
from lidistill.apps.evaluate import score
from lidistill.apps.gallery import draw_gallery
from lidistill.apps.logs import logged
from lidistill.apps.pretrain import overrides
from lidistill.apps.report import write_report
from lidistill.errors import InputError
from lidistill.sensing.frame import Sensor
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.training.data import open_split, with_split
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.recipe import SegmentRecipe, load_recipe
from lidistill.training.run import ModelConfig, Run, RunConfig
from lidistill.training.segment import segment as train_head

log = logging.getLogger("lidistill")


def segment(
    verb: Literal["probe", "finetune"],
    parent: str | Path | None,
    *,
    data: str,
    out: str | Path,
    recipe: str,
    student: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """See ``lidistill.verbs.probe`` and ``finetune``. Returns the run folder."""
    if parent is not None and student is not None:
        raise InputError(f"--student {student}: the run {parent} brings its own student; leave one of the two out")
    chosen = load_recipe(recipe, overrides(student=student, epochs=epochs, seed=seed, set=set))
    if not isinstance(chosen, SegmentRecipe):
        raise InputError(f"recipe {recipe} is for distillation; {verb} takes one of kind segment")
    if chosen.frozen != (verb == "probe"):
        raise InputError(f"recipe {recipe} has frozen = {chosen.frozen}; that is the other one of probe and finetune")
    backbone: dict[str, Tensor] | None = None
    sensors: tuple[Sensor, ...] = ()
    if parent is not None:
        network, known = Run.open(parent).load_network()
        backbone, sensors = network.backbone.state_dict(), known.sensors
        chosen = chosen.model_copy(update={"student": _student(known.student, chosen), "voxel": known.voxel})
    train = open_split(data, "train", sensors)
    taxonomy = train.taxonomy
    if taxonomy is None:
        raise InputError(f"{data}: has no class list; add classes to rig.yaml (a name such as city-16, or a list)")
    model = ModelConfig(
        student=chosen.student,
        head=HeadConfig(kind="probe", outputs=len(taxonomy.classes)),
        classes=taxonomy.classes,
        taxonomy=taxonomy.name,
        voxel=chosen.voxel,
        sensors=(train.sensor, *(s for s in sensors if s.name != train.sensor.name)),
    )
    config = RunConfig(
        verb=verb,
        sources=(data,),
        parent=None if parent is None else str(parent),
        model=model,
        recipe=chosen,
        version=__version__,
    )
    fabric = make_fabric(chosen)
    run = shared_run(fabric, out, config, resume=resume, overwrite=overwrite)
    with logged(run):
        log.info("%d scans with labels, %d classes, student %s", len(train), len(taxonomy.classes), chosen.student.name)
        network = train_head(fabric, run, train, chosen, backbone)
        held_out = with_split((data,), "val", model.sensors)
        if held_out is None:
            log.warning("%s has no split val: nothing to evaluate on", data)
        else:
            score(run, network, held_out, split="val")
        if not fabric.is_global_zero:
            return run.path
        draw_gallery(run, network, held_out or train)
        log.info("report: %s", write_report(run.path))
    return run.path


def _student(pretrained: StudentConfig, recipe: SegmentRecipe) -> StudentConfig:
    """The pretrained student; how it is regularised while finetuning is the recipe's business."""
    return pretrained.model_copy(update={"drop_path": 0.0 if recipe.frozen else recipe.student.drop_path})
