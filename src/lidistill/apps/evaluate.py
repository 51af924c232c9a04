"""``lidistill evaluate``: per-class IoU and mIoU of a run on a split, as a table and a card."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import distributed

from lidistill.datasets.source import Source
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import make_card, write_card
from lidistill.evaluation.inference import evaluate as confuse
from lidistill.evaluation.table import text_table
from lidistill.students.network import Network
from lidistill.training.data import open_split
from lidistill.training.run import Run

log = logging.getLogger("lidistill")


def evaluate(run: str | Path, *, data: str, split: str = "val", out: str | Path | None = None) -> Path:
    """See ``lidistill.verbs.evaluate``. Returns the path of the result card."""
    opened = Run.open(run)
    network, model = opened.load_network()
    if model.classes is None:
        raise InputError(f"run {run}: was only distilled and has no classes; probe or finetune it first")
    source = open_split(data, split, model.sensors, model.taxonomy)
    if source.taxonomy is None or source.taxonomy.classes != model.classes:
        theirs = source.taxonomy.name if source.taxonomy else "no class list"
        raise InputError(
            f"{data}: has {theirs}, the run was trained on {model.taxonomy}; evaluate needs the same classes"
        )
    folder = Path(out) if out else opened.path / "evaluations"
    return score(opened, network, source, split=split, folder=folder)


def score(run: Run, network: Network, source: Source, *, split: str, folder: Path | None = None) -> Path:
    """Evaluate, print the table, log the figures and write the card (``card.json``, or into ``folder``)."""
    model = run.config.model
    assert model.classes is not None
    result = confuse(network, source, model.classes, model.voxel)
    if not result.tokens:
        raise RunError(
            f"{source.spec}: none of its {len(source)} frames could be used; the first: {result.skipped[0].reason}"
        )
    path = run.path / "card.json" if folder is None else folder / f"{source.name}-{split}.json"
    if distributed.is_initialized() and distributed.get_rank() > 0:
        return path
    for skip in result.skipped:
        log.warning("skipped: %s", skip.reason)
    iou = dict(zip(model.classes, result.confusion.iou(), strict=True))
    counts = result.confusion.matrix.sum(1)
    rows = [
        {"class": name, "IoU %": "-" if value != value else f"{100 * value:.1f}", "points": int(count)}
        for (name, value), count in zip(iou.items(), counts, strict=True)
    ]
    miou = result.confusion.miou()
    print(text_table(rows))
    print(f"mIoU {100 * miou:.1f} % over {len(result.tokens)} scans of {source.spec} ({split})")
    figures = {name: None if value != value else value for name, value in iou.items()}
    step = max((row.get("step", 0) for row in run.metrics()), default=0)
    run.log(step=step, split=split, data=source.spec, miou=miou, iou=figures, frames=len(result.tokens))
    seeds = (run.config.recipe.seed,) if run.config.recipe else ()
    present = [value for value, count in zip(iou.values(), counts, strict=True) if count]
    metrics = {"miou": miou, "miou_present": sum(present) / max(len(present), 1)}
    metrics["accuracy"] = result.confusion.accuracy()
    metrics |= {f"iou/{name}": value for name, value in figures.items() if value is not None}
    card = make_card(
        name=run.path.name,
        verb=run.config.verb,
        recipe=run.config.model_dump(mode="json"),
        source=source,
        split=split,
        seeds=seeds,
        metrics=metrics,
        tokens=result.tokens,
    )
    write_card(card, path)
    return path
