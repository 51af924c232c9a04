"""``lidistill evaluate``: per-class IoU and mIoU of a run on a split, as a table and a card."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from torch import distributed

from lidistill.apps.pace import pace
from lidistill.datasets.source import Source, open_source
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import Card, make_card, write_card
from lidistill.evaluation.class_map import ClassMap, Outside, class_map, direct, maps_between
from lidistill.evaluation.inference import AS_RECORDED, Evaluation, as_learned
from lidistill.evaluation.inference import evaluate as confuse
from lidistill.evaluation.poses import Pose, poses
from lidistill.evaluation.table import text_table
from lidistill.students.network import Network
from lidistill.training.data import open_split
from lidistill.training.run import ModelConfig, Run

log = logging.getLogger("lidistill")


@dataclass(frozen=True)
class Exam:
    """A network, the split it is examined on, and how: in which ``poses``, in which classes (None = its own)."""

    run: Run
    network: Network
    source: Source
    split: str
    poses: tuple[Pose, ...] = AS_RECORDED
    common: ClassMap | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """What is not as usual, for the card."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are counted."""
        return self.common.classes if self.common else self.run.config.model.classes or ()

    @property
    def name(self) -> str:
        """Of the card's file: data, split and what is not as usual."""
        parts = [self.source.name, self.split]
        parts += [f"{Path(self.common.name).stem}-{self.common.outside}"] if self.common else []
        return "-".join([*parts, f"tta{len(self.poses)}"] if len(self.poses) > 1 else parts)

    def take(self, source: Source, title: str = "evaluate") -> Evaluation:
        """Confusion over ``source``, the split or a changed form of it. Raises ``RunError`` if no frame was usable."""
        read = self.common.read if self.common else as_learned
        voxel = self.run.config.model.voxel
        result = confuse(self.network, source, self.classes, voxel, poses=self.poses, read=read, title=title)
        if not result.tokens:
            reason = result.skipped[0].reason
            raise RunError(f"{source.spec}: none of its {len(source)} frames could be used; the first: {reason}")
        return result

    def card(self, metrics: dict[str, float], tokens: Sequence[str]) -> Card:
        """The card of these figures."""
        config = self.run.config
        recipe = config.model_dump(mode="json") | ({"evaluation": self.options} if self.options else {})
        return make_card(
            name=self.run.path.name,
            verb=config.verb,
            recipe=recipe,
            source=self.source,
            split=self.split,
            seeds=(config.recipe.seed,) if config.recipe else (),
            metrics=metrics,
            tokens=tokens,
        )


def evaluate(
    run: str | Path,
    *,
    data: str,
    split: str = "val",
    out: str | Path | None = None,
    tta: int = 1,
    map: str | None = None,
    outside: Outside = "forbid",
    devices: int = 1,
) -> Path:
    """See ``lidistill.verbs.evaluate``. Returns the path of the result card."""
    seen = poses(tta)
    if devices > 1:
        Fabric(devices=devices).launch()
    opened = Run.open(run)
    network, model = opened.load_network()
    source, common = meet(data, split, run, model, map, outside)
    options: dict[str, Any] = {"tta": tta} if tta > 1 else {}
    if common is not None and model.classes is not None:
        options |= {"map": map, "outside": outside, "members": common.members(model.classes)}
    exam = Exam(opened, network, source, split, seen, common, options)
    folder = Path(out) if out else opened.path / "evaluations"
    return record(exam, folder / f"{exam.name}.json")


def meet(
    data: str, split: str, run: str | Path, model: ModelConfig, map: str | None, outside: Outside
) -> tuple[Source, ClassMap | None]:
    """The split of ``data``, and the map into the common classes if one is asked for.

    Raises ``InputError`` when the run has no classes, or they are not those of the data and no map is given.
    """
    if model.classes is None:
        raise InputError(f"run {run}: was only distilled and has no classes; probe or finetune it first")
    own = open_source(data).taxonomy
    if own is None:
        raise InputError(f"{data}: has no class list, so there is nothing to compare with; add classes to rig.yaml")
    if map is not None:
        common = class_map(map, model.classes, model.taxonomy, own, outside)
        return open_split(data, split, model.sensors, map if direct(map, own) else None), common
    if own.classes != model.classes:
        there_are = maps_between(model.taxonomy, own)
        hint = f"add --map {' or '.join(there_are)}" if there_are else "or a --map, a class list that both are read in"
        raise InputError(
            f"{data}: has {own.name}, the run was trained on {model.taxonomy}; evaluate needs the same classes, {hint}"
        )
    return open_split(data, split, model.sensors), None


def score(run: Run, network: Network, source: Source, *, split: str) -> Path:
    """Evaluate a run that was just trained, print the table, log the figures and write its ``card.json``."""
    return record(Exam(run, network, source, split), run.path / "card.json")


def record(exam: Exam, path: Path) -> Path:
    """Evaluate, print the table, log the figures and write the card."""
    result = exam.take(exam.source)
    if not_first():
        return path
    for skip in result.skipped:
        log.warning("skipped: %s", skip.reason)
    iou = dict(zip(exam.classes, result.confusion.iou(), strict=True))
    truth = result.confusion.matrix.sum(1) + result.confusion.missed
    print(text_table(class_rows(exam, iou, truth.tolist())))
    miou = result.confusion.miou()
    print(f"mIoU {100 * miou:.1f} % over {len(result.tokens)} scans of {exam.source.spec} ({exam.split})")
    print(pace(result.seconds, len(result.tokens), exam.source.sensor))
    figures = {name: None if value != value else value for name, value in iou.items()}
    if exam.common is None:  # the report shows the last line that is logged, in the run's own classes
        step = max((row.get("step", 0) for row in exam.run.metrics()), default=0)
        line = {"step": step, "split": exam.split, "data": exam.source.spec, **exam.options}
        exam.run.log(**line, miou=miou, iou=figures, frames=len(result.tokens))
    present = [value for value, count in zip(iou.values(), truth, strict=True) if count]
    metrics = {"miou": miou, "miou_present": sum(present) / max(len(present), 1)}
    metrics["accuracy"] = result.confusion.accuracy()
    metrics |= {f"iou/{name}": value for name, value in figures.items() if value is not None}
    write_card(exam.card(metrics, result.tokens), path)
    return path


def class_rows(exam: Exam, iou: dict[str, float], truth: Sequence[int]) -> list[dict[str, object]]:
    """One row per class; in common classes with those of the run that go there, and those that go nowhere."""
    rows: list[dict[str, object]] = [
        {"class": name, "IoU %": "-" if value != value else f"{100 * value:.1f}", "points": count}
        for (name, value), count in zip(iou.items(), truth, strict=True)
    ]
    if exam.common is None:
        return rows
    members = exam.common.members(exam.run.config.model.classes or ())
    rows.append({"class": f"outside ({exam.common.outside})", "IoU %": "-", "points": "-"})
    return [{**row, "of the run": ", ".join(names)} for row, names in zip(rows, members.values(), strict=True)]


def not_first() -> bool:
    """Whether another process prints and writes."""
    return distributed.is_initialized() and distributed.get_rank() > 0
