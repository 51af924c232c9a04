"""``lidistill evaluate``: per-class IoU and mIoU of a run on a split, as a table and a card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from lidistill.apps.exam import Exam, iou_rows, main_figures
from lidistill.apps.pace import pace
from lidistill.apps.robustness import chosen_corruptions, robustness
from lidistill.apps.words import knows_words, speaking, words_for
from lidistill.datasets.source import Source, any_frame, open_source
from lidistill.errors import InputError
from lidistill.evaluation.card import write_card
from lidistill.evaluation.class_map import ClassMap, Outside, class_map, direct, maps_between
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import first
from lidistill.evaluation.poses import poses
from lidistill.evaluation.table import text_table
from lidistill.students.network import Network
from lidistill.taxonomy import Taxonomy
from lidistill.training.data import open_split
from lidistill.training.run import ModelConfig, Run

log = logging.getLogger("lidistill")


def evaluate(
    run: str | Path,
    *,
    data: str,
    split: str = "val",
    out: str | Path | None = None,
    classes: str | None = None,
    tta: int = 1,
    map: str | None = None,
    outside: Outside = "forbid",
    corruptions: str | None = None,
    baseline: str | Path | None = None,
    released: str | None = None,
    devices: int = 1,
) -> Path:
    """See ``lidistill.verbs.evaluate``. Returns the path of the result card."""
    seen, names = poses(tta), () if corruptions is None else chosen_corruptions(corruptions)
    if corruptions is None and baseline is not None:
        raise InputError(f"--baseline {baseline}: corruption errors need corruptions; add --corruptions all")
    if corruptions is None and released is not None:
        raise InputError(f"--released {released}: which of its corruptions? add --corruptions all")
    if map is None and outside == "miss":
        raise InputError("--outside miss: only a --map has an outside; name one, or leave it out")
    if devices < 1:
        raise InputError(f"--devices {devices}: expected at least 1")
    if devices > torch.cuda.device_count() > 0:  # without a GPU any number of processes will do
        raise InputError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs; take fewer")
    if corruptions is not None and map is not None:
        # corruptions look at the classes (wet ground, incomplete echo), which a map merges
        raise InputError(f"--map {map}: cannot be joined with --corruptions; evaluate one after the other")
    if devices > 1:
        Fabric(devices=devices).launch()
    opened = Run.open(run)
    options: dict[str, Any] = {"tta": tta} if tta > 1 else {}
    if classes is not None or knows_words(opened.config):
        if map is not None:
            raise InputError(f"--map {map}: words need no map, they are those of the data's own classes; leave it out")
        words = words_for(need_taxonomy(data).classes, classes)
        options["words"] = {name: list(phrases) for name, phrases in words.items()}
        network, model = speaking(opened, words)
        # in cards and figures it is a run with these classes
        opened = Run(opened.path, opened.config.model_copy(update={"model": model}))
    else:
        network, model = opened.load_network()
    source, common = meet(data, split, run, model, map, outside)
    options |= map_options(map, common, model)
    need_labels(source)
    exam = Exam(opened, network, source, split, seen, common, options)
    folder = Path(out) if out else opened.path / "evaluations"
    if names:
        return robustness(exam, folder, names, None if baseline is None else str(baseline), released)
    return record(exam, exam.place(folder / f"{exam.name}.json"))


def need_labels(source: Source, why: str = "to compare with; predict labels scans without") -> None:
    """Raise ``InputError`` when neither the first nor the middle nor the last frame has labels: before, not after."""
    if not any_frame(source, lambda frame: frame.labels is not None):
        raise InputError(f"{source.spec}: its frames have no labels {why}")


def meet(
    data: str, split: str, run: str | Path, model: ModelConfig, map: str | None, outside: Outside
) -> tuple[Source, ClassMap | None]:
    """The split of ``data``, and the map into the common classes if one is asked for.

    Raises ``InputError`` when the run has no classes, or they are not those of the data and no map is given.
    """
    if model.classes is None:
        raise InputError(f"run {run}: was only distilled and has no classes; probe, finetune or adapt it first")
    own = need_taxonomy(data)
    if map is not None:
        common = class_map(map, model.classes, model.taxonomy, own, outside)
        return open_split(data, split, model.sensors, map if direct(map, own) else None), common
    if own.classes != model.classes:
        there_are = maps_between(model.taxonomy, own)
        hint = f"add --map {' or '.join(there_are)}" if there_are else "or a --map, a class list that both are read in"
        raise InputError(
            f"{data}: has {own.name}, the run was trained on {model.taxonomy or ', '.join(model.classes)}; evaluate "
            f"needs the same classes, {hint}"
        )
    return open_split(data, split, model.sensors), None


def map_options(map: str | None, common: ClassMap | None, model: ModelConfig) -> dict[str, Any]:
    """What the card says of the classes in which a network was evaluated, if they are not its own."""
    if common is None or model.classes is None:
        return {}
    return {"map": map, "outside": common.outside, "members": common.members(model.classes)}


def need_taxonomy(data: str) -> Taxonomy:
    """The class list of ``data``; raises ``InputError`` when they have none."""
    own = open_source(data).taxonomy
    if own is None:
        raise InputError(
            f"{data}: has no class list, so there is nothing to compare with; a rig names it in rig.yaml, as classes"
        )
    return own


def score(run: Run, network: Network, source: Source, *, split: str) -> Path:
    """Evaluate a run that was just trained, print the table, log the figures and write its ``card.json``."""
    return record(Exam(run, network, source, split), run.path / "card.json")


def record(exam: Exam, path: Path) -> Path:
    """Evaluate, print the table, log the figures and write the card."""
    result = exam.take(exam.source)
    if not first():
        return path
    for skip in result.skipped:
        log.warning("skipped: %s", skip.reason)
    figures = main_figures(result.confusion)
    print(text_table(class_rows(exam, result.confusion)))
    miou = figures["miou"]
    print(f"mIoU {100 * miou:.1f} % over {len(result.tokens)} scans of {exam.source.spec} ({exam.split})")
    print(pace(result.seconds, len(result.tokens), exam.source.sensor))
    if exam.common is None:  # the report shows the last line that is logged, in the run's own classes
        step = max((row.get("step", 0) for row in exam.run.metrics()), default=0)
        line = {"step": step, "split": exam.split, "data": exam.source.spec, **exam.options}
        iou = {name: figures.get(f"iou/{name}") for name in exam.classes}
        exam.run.log(**line, miou=miou, iou=iou, frames=len(result.tokens))
    write_card(exam.card(figures, result.tokens), path)
    return path


def class_rows(exam: Exam, confusion: Confusion) -> list[dict[str, object]]:
    """One row per class; in common classes with those of the run that go there, and those that go nowhere; of a run
    that knows words with what was said.
    """
    rows = iou_rows(confusion, "points")
    if words := exam.options.get("words"):
        return [{**row, "words": "; ".join(phrases)} for row, phrases in zip(rows, words.values(), strict=True)]
    if exam.common is None:
        return rows
    members = exam.common.members(exam.run.config.model.classes or ())
    rows.append({"class": f"outside ({exam.common.outside})", "IoU %": "-", "points": "-"})
    return [{**row, "of the run": ", ".join(names)} for row, names in zip(rows, members.values(), strict=True)]
