"""``lidistill adapt``: a network that knows the classes of a source learns a target without its labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lidistill import __version__
from lidistill import taxonomy as class_lists
from lidistill.apps.evaluate import map_options, meet, need_labels, record
from lidistill.apps.exam import Exam, main_figures
from lidistill.apps.gallery import draw_gallery
from lidistill.apps.logs import logged
from lidistill.apps.recipes import ADAPT, HEAD, choose, differing, overrides
from lidistill.apps.record import BEFORE
from lidistill.apps.report import write_report
from lidistill.apps.segment import segment
from lidistill.datasets.source import Source, open_source
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import KEPT, read_card, write_card
from lidistill.evaluation.class_map import class_map, maps_between
from lidistill.evaluation.inference import first
from lidistill.evaluation.information import information
from lidistill.evaluation.opinion import ask_pictures
from lidistill.evaluation.pseudo_label import pseudo_label
from lidistill.evaluation.settings import load_setting
from lidistill.students.network import Network
from lidistill.training.adapt import Judge, SelfTraining
from lidistill.training.data import open_split
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.loop import Interrupted
from lidistill.training.recipe import AdaptRecipe, SegmentRecipe, load_recipe
from lidistill.training.run import ModelConfig, Run, RunConfig

log = logging.getLogger("lidistill")
SHARED = ("workers", "devices", "nodes", "precision", "bad_frames", "checkpoint_minutes", "checkpoint_iterations")
"""Recipe keys that the head's training takes over."""
INFORMATION = 0.4
"""Its weight beside the agreement with the pictures. Learning from one's own predictions makes the one rise and, being
less and less what the teachers say, the other fall, whatever it is worth (``benchmarks/which_round.py``).
"""


def adapt(
    run: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    setting: str | None = None,
    data: str | Path | None = None,
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
    chosen = choose(recipe, ADAPT, overrides(student=None, epochs=epochs, seed=seed, set=set), out=out, resume=resume)
    if not isinstance(chosen, AdaptRecipe):
        raise InputError(f"recipe {chosen.name} is of kind {chosen.kind}; adapt takes one of kind adapt")
    source, target, classes, map = pair(source, target, setting, data, classes, map)
    given = Run.open(run)
    if Path(out).resolve() == given.path.resolve():
        raise InputError(f"--out {out}: is the run that is to be adapted; choose another folder")
    check_out(Path(out), resume=resume, overwrite=overwrite)
    if open_source(source).spec == open_source(target).spec:
        raise InputError(f"{source}: is source and target; adapt carries from one lidar, or one town, to another")
    if map is not None:  # one that does not fit is said now, not when all is done
        _check_map(map, given.config.model, source, classes, target)
    open_split(target, "train", given.config.model.sensors)  # what cannot be read is said before a head is trained
    if given.config.model.classes is not None and any(one.partition("=")[0] == "head" for one in set):
        raise InputError(f"--set head: run {run} has a head already and is taken as it is; leave it out")
    before = _with_head(given, source, out, chosen, classes, resume=resume, overwrite=overwrite)
    network, model = before.load_network()
    # on the scale of the lidars that the head knows: that on which it is evaluated and predicts
    unlabelled = Unlabelled(open_split(target, "train", model.sensors))
    known = open_split(source, "train", model.sensors, classes)
    _same_classes(known, model, before, asked=classes)
    need_labels(known, "to learn from")
    common = map or _map(target, model)
    chosen = chosen.model_copy(update={"voxel": model.voxel})
    sensors = (*model.sensors, *(s for s in (unlabelled.sensor,) if s.name not in {one.name for one in model.sensors}))
    config = RunConfig(
        verb="adapt",
        sources=(source, target),
        parent=str(before.path),
        pretraining=given.taught(),
        model=model.model_copy(update={"sensors": sensors}),
        recipe=chosen,
        version=__version__,
    )
    fabric = make_fabric(chosen)
    opened = shared_run(fabric, Run, out, config, resume=resume, overwrite=overwrite)
    with logged(opened):
        log.info(
            "%d scans with labels of %s, %d without of %s, rounds: %d, recipe %s",
            *(len(known), source, len(unlabelled), target, chosen.rounds, chosen.name),
        )
        judge = who_judges(before, network, unlabelled, chosen.rounds)
        if chosen.rounds:
            log.info("rounds are compared by %s", judge.by)
        ask = partial(pseudo_label, target=unlabelled, voxel=chosen.voxel)
        try:
            best = SelfTraining(fabric, opened, known, unlabelled, chosen, ask, judge).adapt(network)
        except Interrupted as stopped:  # in a round, whose folder is no run to go on with
            raise Interrupted(opened.path, stopped.step, stopped.number) from None
        # labels of the target are looked at for the record alone, when nothing is left to be learned
        start = compare(before, before.load_network()[0], target, common, opened.path / BEFORE)
        end = compare(opened, best.network, target, common, opened.path / "card.json", kept=best.number)
        if fabric.is_global_zero:
            if start is not None and end is not None:
                unchanged = chosen.rounds and not best.number
                adapted = "and so it stays: nothing was adapted" if unchanged else f"{100 * end:.1f} % adapted"
                log.info("mIoU on %s: %.1f %% before, %s", target, 100 * start, adapted)
            draw_gallery(opened, best.network, unlabelled)
            log.info("report: %s", write_report(opened.path))
        fabric.barrier()
    return opened.path


def who_judges(run: Run, network: Network, target: Unlabelled, rounds: int) -> Judge:
    """What compares ``rounds`` on ``target``: the information they give, and its pictures where they can be asked."""
    origin, voxel = run.origin(), run.config.model.voxel
    tells: Callable[[Network], float] = partial(information, target=target, voxel=voxel)
    alone = Judge("the information they give", lambda learned: {"information": tells(learned)})
    if not rounds:
        return alone
    try:
        distilled, parent = origin.distillation(), origin.config.parent
        if distilled is None:
            raise InputError(
                f"the run it started from, {parent}, is neither there from here nor from a folder above {origin.path}"
                if parent
                else f"{origin.path} was not distilled here"
            )
        if network.space is not None and _moved(network, origin.load_network()[0]):
            raise InputError(f"what was learned since {origin.path} has moved more than a head")
        pictures = ask_pictures(network, distilled, target, voxel, origin.config.fingerprints())
    except InputError as error:
        return replace(alone, by=f"{alone.by}; the pictures were not asked: {error}")
    return Judge(
        f"their agreement with the pictures of {len(pictures.said)} scans + {INFORMATION} x {alone.by}",
        lambda learned: {"pictures": pictures(learned), f"{INFORMATION} x information": INFORMATION * tells(learned)},
    )


def _moved(network: Network, distilled: Network) -> bool:
    """Whether ``network`` has other weights below its head than ``distilled`` had when it spoke as its teachers do."""
    then = {**distilled.distilled, "space": distilled.head}
    return any(
        not torch.equal(one.cpu(), other.cpu())
        for name, part in network.distilled.items()
        for one, other in zip(part.parameters(), then[name].parameters(), strict=True)
    )


def pair(
    source: str | None,
    target: str | None,
    setting: str | None,
    data: str | Path | None,
    classes: str | None,
    map: str | None,
) -> tuple[str, str, str | None, str | None]:
    """Source, target, the classes to learn and those to compare in: as they are given, or those of ``setting``."""
    if setting is None:
        if source is None or target is None:
            raise InputError("adapt needs --source and --target, or a --setting that names both")
        if data is not None:
            raise InputError(f"--data {data}: only a --setting looks for its data there; leave it out")
        return source, target, classes, map
    given = {"--source": source, "--target": target, "--classes": classes, "--map": map}
    for option, value in given.items():
        if value is not None:
            raise InputError(f"--setting {setting} says what {option} is; leave out one of them")
    named = load_setting(setting)
    folder = Path("data" if data is None else data).expanduser()
    return named.open("source", folder), named.open("target", folder), named.learned, named.compared


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
    # on the same devices as what follows: a process that one of the two does not have would do the other twice
    shared = tuple(f"{key}={getattr(recipe, key)}" for key in SHARED)
    there = resume and (folder / "recipe.yaml").is_file()
    if not (there and (folder / "model.safetensors").is_file()):
        log.info(
            "first a head by recipe %s on the labels of %s, into %s; --epochs and --set are of the rounds after it",
            *(recipe.head, source, folder),
        )
        try:
            segment(
                "probe" if head.frozen else "finetune",
                given.path,
                data=source,
                out=folder,
                recipe=recipe.head,
                classes=classes,
                seed=recipe.seed,
                set=shared,
                resume=there,
                overwrite=overwrite,
            )
        except Interrupted as stopped:
            raise Interrupted(Path(out), stopped.step, stopped.number) from None
    found = Run.open(folder)
    config, asked = found.config, load_recipe(recipe.head, [f"seed={recipe.seed}"])
    if (config.parent, config.sources) != (str(given.path), (source,)) or config.recipe is None:
        raise InputError(
            f"{folder}: the head there is of {config.parent} on {config.sources[0]}, asked for is one of {given.path} "
            f"on {source}; use another --out"
        )
    if keys := differing(config.recipe, asked, but={"student", "voxel", *SHARED}):
        raise InputError(f"{folder}: the head there is of another recipe ({', '.join(keys)}); use another --out")
    return found


def _same_classes(source: Source, model: ModelConfig, run: Run, asked: str | None) -> None:
    listed = None if source.taxonomy is None else source.taxonomy.classes
    if listed != model.classes:
        name = "no class list" if source.taxonomy is None else f"the classes of {source.taxonomy.name}"
        remedy = "name the source that its head was trained on, or the list with --classes"
        if asked:
            remedy = "leave out --classes"
        raise InputError(
            f"{source.spec}: is read with {name}, the run {run.path} knows the classes of {model.taxonomy}; {remedy}"
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


def _check_map(map: str, model: ModelConfig, source: str, classes: str | None, target: str) -> None:
    """Raise ``InputError`` when the classes to learn, or those of ``target`` if it has any, cannot be read in it."""
    learned = model.class_list() or open_split(source, "train", (), classes).taxonomy
    own = open_source(target).taxonomy
    if learned is not None and own is not None:
        class_map(map, learned.classes, learned.name, own, "forbid")
    class_lists.load(map)


def check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise ``InputError`` now for a folder that the run would be refused after its head was trained."""
    there = (out / "recipe.yaml").is_file()
    if there and Run.open(out).config.verb != "adapt":
        raise InputError(f"--out {out}: holds a run of another verb; choose another folder")
    if there and not (resume or overwrite):
        raise InputError(f"--out {out}: holds a run already; use --resume to go on with it or --overwrite")
    if not there and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: is a file, or a folder that is not empty and holds no run; choose another")


def compare(
    run: Run, network: Network, target: str, map: str | None, card: Path, *, kept: int | None = None
) -> float | None:
    """The mIoU of ``network`` on the split val of ``target``, for the record; None, with a word, if it has none.

    ``kept``: the round that it is of, where it was adapted.
    """
    try:
        source, common = meet(target, "val", run.path, run.config.model, map, "forbid")
        need_labels(source)
        options = map_options(map, common, run.config.model)
        if kept is not None:
            exam = Exam(run, network, source, "val", common=common, options={**options, KEPT: kept})
            record(exam, card)
            return read_card(card).metrics["miou"].mean if first() else None
        # of the run that is adapted nothing is changed, so it logs nothing
        exam = Exam(run, network, source, "val", common=common, options=options)
        result = exam.take(source, "evaluate as it was")
    except (InputError, RunError) as error:
        if kept is not None:  # of both networks for the same reason, said once
            log.info("not evaluated: %s", error)
        return None
    figures = main_figures(result.confusion)
    if first():
        write_card(exam.card(figures, result.tokens), card)
    return figures["miou"]
