"""``lidistill pretrain``: distil an image network into a lidar network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lidistill import __version__
from lidistill.apps.gallery import draw_gallery
from lidistill.apps.logs import logged
from lidistill.apps.recipes import DISTIL, choose, overrides
from lidistill.apps.report import write_report
from lidistill.datasets.source import any_frame
from lidistill.errors import InputError
from lidistill.objectives import OF_CLASSES, OF_SWEEPS
from lidistill.segmenters.store import open_superpixels
from lidistill.students.config import HeadConfig
from lidistill.teachers.joint import labels
from lidistill.teachers.registry import load_teachers
from lidistill.teachers.teacher import Classifier, Teacher
from lidistill.training.data import open_mixture, sensors_of, with_split
from lidistill.training.distil import distil, measure_colors
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import ModelConfig, Run, RunConfig
from lidistill.training.sweeps import need_sweeps

log = logging.getLogger("lidistill")


def pretrain(
    sources: str | Sequence[str],
    out: str | Path,
    *,
    recipe: str | None = None,
    teacher: str | None = None,
    student: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """See ``lidistill.verbs.pretrain``. Returns the run folder."""
    specs = (sources,) if isinstance(sources, str) else tuple(str(s) for s in sources)
    changes = overrides(teacher=teacher, student=student, epochs=epochs, seed=seed, set=set)
    chosen = choose(recipe, DISTIL, changes, out=out, resume=resume)
    if not isinstance(chosen, DistilRecipe):
        raise InputError(f"recipe {chosen.name} is of kind {chosen.kind}; pretrain takes one of kind distil")
    train = open_mixture(specs, "train")
    if not any_frame(train, lambda frame: bool(frame.views)):
        raise InputError(f"{train.spec}: its frames have no camera image; pretrain learns from images")
    if chosen.objective in OF_SWEEPS:
        need_sweeps(train)
    divided = None if chosen.superpixels is None else open_superpixels(train, chosen.superpixels)
    teachers = load_teachers(chosen.teachers)
    shape, known = head(chosen, [teacher.dim for teacher in teachers]), None
    if chosen.objective in OF_CLASSES:
        known = need_classes(chosen, teachers[0])
        shape = shape.model_copy(update={"outputs": len(known.classes)})
    model = ModelConfig(
        student=chosen.student,
        head=shape,
        classes=None if known is None else known.classes,
        taxonomy=None if known is None else known.taxonomy,
        voxel=chosen.voxel,
        sensors=sensors_of(specs),
    )
    config = RunConfig(
        verb="pretrain",
        sources=specs,
        model=model,
        recipe=chosen,
        teacher_weights={c.name: t.fingerprint() for c, t in zip(chosen.teachers, teachers, strict=True)},
        version=__version__,
    )
    fabric = make_fabric(chosen)
    run = shared_run(fabric, Run, out, config, resume=resume, overwrite=overwrite)
    with logged(run):
        held_out = with_split(specs, "val")
        colors = measure_colors(train, teachers)
        heard = [f"{name} ({t.dim} features)" for name, t in zip(labels(teachers), teachers, strict=True)]
        log.info("%d scans, teacher %s, student %s", len(train), " + ".join(heard), chosen.student.name)
        trained = distil(fabric, run, train, held_out, chosen, teachers, colors, divided)
        if fabric.is_global_zero:
            draw_gallery(run, trained, held_out or train, teachers, colors)
            log.info("report: %s", write_report(run.path))
        fabric.barrier()  # what comes after finds the folder complete, in every process
    return run.path


def need_classes(recipe: DistilRecipe, teacher: Teacher) -> Classifier:
    """What reads classes from the teacher's features; raises ``InputError`` when it knows none."""
    if teacher.classifier is None:
        raise InputError(
            f"objective {recipe.objective}: teacher {teacher.name} knows no classes; train one on pictures that have "
            "some (lidistill teach-images), or name classes, taxonomy and classifier in the sidecar of a .pt2 program"
        )
    if teacher.classifier.taxonomy is None:
        log.warning(
            "teacher %s does not say which class list its classes are of: the run can predict, but be evaluated only "
            "on data with the very same names; name the taxonomy in the sidecar of its program",
            teacher.name,
        )
    return teacher.classifier


def head(recipe: DistilRecipe, sizes: Sequence[int]) -> HeadConfig:
    """The student's projection head for teachers of ``sizes`` features: what they say, side by side.

    Several teachers need two layers (ScaLR); unless the recipe gives their width, it is the wider of the student's
    and of all features together, so that no point of the head is narrower than both its ends.
    """
    outputs, hidden = recipe.image_head or sum(sizes), recipe.head_hidden
    if hidden is None and len(sizes) > 1 and recipe.image_head is None:
        hidden = max(recipe.student.width, outputs)
    kind: Literal["mlp", "linear"] = "mlp" if hidden else "linear"
    return HeadConfig(kind=kind, outputs=outputs, hidden=hidden, calibration=recipe.calibration)
