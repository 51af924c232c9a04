"""Doing the jobs of a table: one after the other here, or spread over a cluster."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import lidistill
from lidistill.apps.recipes import begun, differing
from lidistill.apps.reproduce.cost import recipe_of
from lidistill.apps.reproduce.plan import Job, Place
from lidistill.apps.reproduce.table_file import City, Scale
from lidistill.errors import InputError, LidistillError
from lidistill.evaluation.card import BY_MACHINE
from lidistill.segmenters.methods import Argmax, Sam, Slic
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import load_teacher, teacher_names
from lidistill.training.loop import Interrupted
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run

log = logging.getLogger("lidistill")
FROM_OPTIONS = {"name", "student", "voxel", "seed", "fraction", *BY_MACHINE}
"""Recipe keys that a run has from elsewhere: from options that name its folder, from its backbone, from its machine."""


def prepare(scale: Scale, place: Place) -> None:
    """Simulate the cities that are not there; a missing data set is one sentence that names all."""
    missing = []
    for name, known in scale.all_data().items():
        if isinstance(known, City):
            folder = place.city(known)
            if not (folder / "rig.yaml").is_file():
                log.info("city %s: %s", name, folder)
                lidistill.simulate(folder, **known.model_dump(), overwrite=True)
        elif not (path := folder_of(place.source(name, known))).exists():
            missing.append(str(path) if name == known else f"{path} ({name})")
    if missing:
        named = any("{data}" in known for known in scale.all_data().values() if not isinstance(known, City))
        remedy = "; name the folder that holds them with --data" if named else ""
        raise InputError(f"data sets are missing: {', '.join(missing)}{remedy}")


def pictures_to_cut(jobs: Sequence[Job]) -> list[tuple[str, Slic | Sam | Argmax]]:
    """Source and method of the superpixels that the jobs which are not done learn from, each once."""
    wanted: dict[tuple[str, Slic | Sam | Argmax], None] = {}
    for job in jobs:
        recipe = recipe_of(job) if job.verb == "pretrain" and not job.done() else None
        if isinstance(recipe, DistilRecipe) and recipe.superpixels is not None:
            wanted |= dict.fromkeys((source, recipe.superpixels) for source in job.sources)
    return list(wanted)


def cut_pictures(jobs: Sequence[Job]) -> None:
    """Make the superpixels that the jobs learn from; what is there stays."""
    for source, method in pictures_to_cut(jobs):
        values = method.model_dump()
        name, model = values.pop("name"), values.pop("model", None)
        options = tuple(f"{key}={json.dumps(value)}" for key, value in values.items())
        lidistill.superpixels(source, method=name, model=model, set=options)


def folder_of(spec: str) -> Path:
    """The path in ``NAME:/path?options``, or the path that it is."""
    return Path((spec.partition(":")[2] or spec).partition("?")[0])


def outdated(job: Job, teachers: dict[TeacherConfig, str]) -> list[str]:
    """In what a run that is there differs from what it should be: keys of a recipe that was changed, weights of a
    teacher that was trained anew. ``teachers``: fingerprints that are known, and those that are found here.
    """
    if job.verb == "evaluate" or not (job.folder / "recipe.yaml").is_file():
        return []
    config = Run.open(job.folder).config
    if config.recipe is None:
        return []
    others = differing(config.recipe, recipe_of(job), but=FROM_OPTIONS)
    of_run = config.recipe.teachers if isinstance(config.recipe, DistilRecipe) else ()
    for known, weights in zip(of_run, config.fingerprints(), strict=True):
        if known.name not in teacher_names() and Path(known.name).expanduser().exists():
            if known not in teachers:
                teachers[known] = load_teacher(known).fingerprint()
            if weights not in (None, teachers[known]):
                others.append(f"weights of {known.name}")
    return others


def check_recipes(jobs: Sequence[Job]) -> None:
    """Raises ``InputError`` if runs that are there were made by other recipes or teachers of the same names."""
    teachers: dict[TeacherConfig, str] = {}
    others = [(job, keys) for job in jobs if (keys := outdated(job, teachers))]
    if others:
        job, keys = others[0]
        raise InputError(
            f"{len(others)} runs were made when their recipes or teachers were others, the first {job.folder} "
            f"({', '.join(keys)}); remove them, or take another folder with --work"
        )


def run(job: Job) -> None:
    """Do one job, or go on with it where it was interrupted; nothing when it is done."""
    if job.done():
        return
    positional, named = job.arguments()
    if job.verb != "evaluate":
        named["resume"] = begun(job.folder)
    getattr(lidistill, job.verb)(*positional, **named)


def run_here(jobs: Sequence[Job]) -> list[str]:
    """Do what is not done, parents first. Returns what failed; jobs that need a failed one are left out.

    Who stops a run (Ctrl-C, SIGTERM) stops all: raises ``Interrupted``; the same call goes on from there.
    """
    todo = [job for job in jobs if not job.done()]
    log.info("%d of %d runs are there", len(jobs) - len(todo), len(jobs))
    failed: dict[Path, str] = {}
    for number, job in enumerate(todo, 1):
        if job.parent is not None and job.parent.folder in failed:
            failed[job.folder] = f"{job.folder}: left out, its backbone failed"
            continue
        log.info("[%d/%d] %s", number, len(todo), job.folder)
        try:
            run(job)
        except Interrupted:
            raise
        except LidistillError as error:
            log.error("failed: %s", error)
            failed[job.folder] = f"{job.folder}: {error}"
        except Exception as error:  # a GPU without memory, say: the other runs do not suffer for it
            log.exception("failed")
            failed[job.folder] = f"{job.folder}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return list(failed.values())


def submit(jobs: Sequence[Job], folder: Path, cluster: str, parameters: dict[str, Any]) -> list[str]:
    """Send what is not done to a cluster, one job per run, an array per generation; returns the numbers of the jobs.

    ``cluster``: ``slurm``, or ``local`` for processes on this machine; ``parameters`` are those of submitit
    (``slurm_partition``, ``timeout_min``, ``gpus_per_node`` ...). A generation waits for the one before it.
    """
    try:
        from submitit import AutoExecutor
    except ImportError:
        raise InputError("--cluster needs submitit: pip install 'lidistill[cluster]'") from None
    todo = [job for job in jobs if not job.done()]
    numbers: list[str] = []
    before: list[Any] = []
    for generation in sorted({len(job.chain()) for job in todo}):
        try:
            executor = AutoExecutor(folder=folder, cluster=cluster)
            executor.update_parameters(**parameters)
        except (RuntimeError, NameError, AssertionError, TypeError) as error:
            raise InputError(f"--cluster {cluster}: {str(error).splitlines()[0]}") from None
        # one that failed spares those that do not need it; those that do find no backbone and say so
        if before and cluster == "slurm":
            waits = "afterany:" + ":".join(str(job.job_id) for job in before)
            executor.update_parameters(slurm_dependency=waits)
        else:
            for job in before:
                job.wait()
        before = executor.map_array(run, [job for job in todo if len(job.chain()) == generation])
        numbers += [str(job.job_id) for job in before]
    return numbers


def cluster_parameters(options: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` of ``--cluster-option``, values in YAML; raises ``InputError`` for anything else."""
    parameters = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key:
            raise InputError(f"--cluster-option {option!r}: expected KEY=VALUE, for example slurm_partition=gpu")
        # 12:00:00 is a time; YAML 1.1 would read a number to the base of 60
        sexagesimal = re.fullmatch(r"[\d:-]+:\d+", text)
        try:
            parameters[key.strip()] = text if sexagesimal else yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--cluster-option {option!r}: {text!r} is not a YAML value") from None
    return parameters
