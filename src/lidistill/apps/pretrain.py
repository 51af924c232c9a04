"""``lidistill pretrain``: distil an image network into a lidar network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lidistill import __version__
from lidistill.apps.gallery import draw_gallery
from lidistill.apps.logs import logged
from lidistill.apps.report import write_report
from lidistill.errors import InputError
from lidistill.students.config import HeadConfig
from lidistill.teachers.registry import load_teacher
from lidistill.training.data import open_mixture, sensors_of, with_split
from lidistill.training.distil import distil, measure_colors
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import ModelConfig, RunConfig

log = logging.getLogger("lidistill")


def pretrain(
    sources: str | Sequence[str],
    out: str | Path,
    *,
    recipe: str = "scalr-plus",
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
    chosen = load_recipe(recipe, overrides(teacher=teacher, student=student, epochs=epochs, seed=seed, set=set))
    if not isinstance(chosen, DistilRecipe):
        raise InputError(f"recipe {recipe} is for learning from labels; pretrain takes one of kind distil")
    train = open_mixture(specs, "train")
    if not train[0].views:
        raise InputError(f"{specs[0]}: frame {train[0].token} has no camera image; pretrain learns from images")
    network = load_teacher(chosen.teacher)
    model = ModelConfig(
        student=chosen.student,
        head=HeadConfig(kind="mlp" if chosen.head_hidden else "linear", outputs=network.dim, hidden=chosen.head_hidden),
        voxel=chosen.voxel,
        sensors=sensors_of(specs),
    )
    config = RunConfig(verb="pretrain", sources=specs, model=model, recipe=chosen, version=__version__)
    fabric = make_fabric(chosen)
    run = shared_run(fabric, out, config, resume=resume, overwrite=overwrite)
    with logged(run):
        held_out = with_split(specs, "val")
        colors = measure_colors(train, network)
        log.info(
            "%d scans, teacher %s (%d features), student %s",
            len(train),
            network.name,
            network.dim,
            chosen.student.name,
        )
        trained = distil(fabric, run, train, held_out, chosen, network, colors)
        if not fabric.is_global_zero:
            return run.path
        draw_gallery(run, trained, held_out or train, network, colors)
        path = write_report(run.path)
        log.info("report: %s", path)
    return run.path


def overrides(
    *, teacher: str | None = None, student: str | None, epochs: int | None, seed: int | None, set: Sequence[str]
) -> list[str]:
    """The common options as recipe overrides; ``--set`` comes last and wins."""
    options = {"teacher": teacher, "student": student, "epochs": epochs, "seed": seed}
    return [f"{key}={value}" for key, value in options.items() if value is not None] + list(set)
