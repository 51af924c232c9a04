"""``lidistill adapt``: a network that knows the classes of a source learns a target without its labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lidistill import __version__
from lidistill.apps.evaluate import meet, need_labels, record
from lidistill.apps.exam import Exam
from lidistill.apps.gallery import draw_gallery
from lidistill.apps.logs import logged
from lidistill.apps.recipes import choose, overrides
from lidistill.apps.report import write_report
from lidistill.apps.segment import segment
from lidistill.datasets.source import Source, open_source
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.evaluation.class_map import maps_between
from lidistill.students.network import Network
from lidistill.training.adapt import adapt as self_training
from lidistill.training.data import open_split
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.recipe import AdaptRecipe, SegmentRecipe, load_recipe
from lidistill.training.run import ModelConfig, Run, RunConfig

log = logging.getLogger("lidistill")
HEAD = "head"
"""Folder of the head that was trained on the source, beside the run."""


def adapt(
    run: str | Path,
    *,
    source: str,
    target: str,
    out: str | Path,
    recipe: str | None = None,
    classes: str | None = None,
    map: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """See ``lidistill.verbs.adapt``. Returns the run folder."""
    chosen = choose(
        recipe, "muddos", overrides(student=None, epochs=epochs, seed=seed, set=set), out=out, resume=resume
    )
    if not isinstance(chosen, AdaptRecipe):
        raise InputError(f"recipe {chosen.name} is of kind {chosen.kind}; adapt takes one of kind adapt")
    given = Run.open(run)
    unlabelled = Unlabelled(open_split(target, "train", given.config.model.sensors))
    before = _with_head(given, source, out, chosen, classes, resume=resume, overwrite=overwrite)
    network, model = before.load_network()
    known = open_split(source, "train", model.sensors, classes)
    _same_classes(known, model, before)
    common = map or _map(target, model)
    chosen = chosen.model_copy(update={"voxel": model.voxel})
    sensors = (*model.sensors, *(s for s in (unlabelled.sensor,) if s.name not in {one.name for one in model.sensors}))
    config = RunConfig(
        verb="adapt",
        sources=(source, target),
        parent=str(before.path),
        pretraining=given.config.taught(),
        model=model.model_copy(update={"sensors": sensors}),
        recipe=chosen,
        version=__version__,
    )
    fabric = make_fabric(chosen)
    opened = shared_run(fabric, out, config, resume=resume, overwrite=overwrite)
    with logged(opened):
        log.info(
            "%d scans with labels of %s, %d without of %s, %d rounds, recipe %s",
            *(len(known), source, len(unlabelled), target, chosen.rounds, chosen.name),
        )
        adapted = self_training(fabric, opened, known, unlabelled, chosen, network)
        # labels of the target are looked at for the record alone, when nothing is left to be learned
        start = compare(before, before.load_network()[0], target, common, opened.path / "source-only.json")
        end = compare(opened, adapted, target, common, opened.path / "card.json")
        if not fabric.is_global_zero:
            return opened.path
        if start is not None and end is not None:
            log.info("mIoU on %s: %.1f %% before, %.1f %% adapted", target, 100 * start, 100 * end)
        draw_gallery(opened, adapted, unlabelled)
        log.info("report: %s", write_report(opened.path))
    return opened.path


def _with_head(
    given: Run,
    source: str,
    out: str | Path,
    recipe: AdaptRecipe,
    classes: str | None,
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """``given`` if it knows classes; else its backbone with a head that is trained on the labels of ``source``."""
    if given.config.model.classes is not None:
        return given
    folder = Path(f"{Path(out)}-{HEAD}")
    head = load_recipe(recipe.head)
    if not isinstance(head, SegmentRecipe):
        raise InputError(f"recipe {recipe.name}: head = {recipe.head!r}: expected a recipe of kind segment")
    if not (resume and (folder / "model.safetensors").is_file()):
        segment(
            "probe" if head.frozen else "finetune",
            given.path,
            data=source,
            out=folder,
            recipe=recipe.head,
            classes=classes,
            seed=recipe.seed,
            set=(f"workers={recipe.workers}",),
            resume=resume and (folder / "recipe.yaml").is_file(),
            overwrite=overwrite,
        )
    return Run.open(folder)


def _same_classes(source: Source, model: ModelConfig, run: Run) -> None:
    listed = None if source.taxonomy is None else source.taxonomy.classes
    if listed != model.classes:
        name = "no class list" if source.taxonomy is None else source.taxonomy.name
        raise InputError(
            f"{source.spec}: has {name}, the run {run.path} knows the classes of {model.taxonomy}; name the source "
            "that its head was trained on, or the list with --classes"
        )


def _map(target: str, model: ModelConfig) -> str | None:
    """The class list in which run and target can be compared, where their own differ and exactly one fits."""
    own = open_source(target).taxonomy
    if own is None or own.classes == model.classes:
        return None
    there_are = maps_between(model.taxonomy, own)
    if len(there_are) == 1:
        return there_are[0]
    log.warning("%s: not evaluated; add --map %s", target, " or ".join(there_are) or "with a class list of your own")
    return None


def compare(run: Run, network: Network, target: str, map: str | None, card: Path) -> float | None:
    """The mIoU of ``network`` on the split val of ``target``, for the record; None, with a word, if it has none."""
    try:
        source, common = meet(target, "val", run.path, run.config.model, map, "forbid")
        need_labels(source)
    except InputError as error:
        log.info("not evaluated: %s", error)
        return None
    options = {} if common is None else {"map": map, "outside": "forbid"}
    found = read_card(record(Exam(run, network, source, "val", common=common, options=options), card))
    return found.metrics["miou"].mean
