"""Verbs that compare runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction

from lidistill.verbs.options import Set, arg


def table(
    cards: Positional[Annotated[tuple[Path, ...], arg(metavar="CARD", help="Result cards, or folders of runs.")]],
    *,
    metric: UseAppendAction[
        Annotated[tuple[str, ...], arg(metavar="NAME", help="Columns; a pattern such as 'iou/*' takes several.")]
    ] = (),
    format: Annotated[Literal["text", "markdown", "html", "latex"], arg(help="How it is written.")] = "text",
    out: Annotated[Path | None, arg(metavar="FILE", help="Also write it into this file.")] = None,
) -> str:
    """Render result cards as a table: one row per experiment, seeds together as mean and spread.

    Cards belong to one experiment when they differ by nothing but the seed. Folders are searched for the cards
    that probe, finetune and evaluate wrote. Figures are per cent; without --metric the column is mIoU.

    Try:

        $ lidistill table runs/
        $ lidistill table runs/a-probe runs/b-probe --metric miou --metric 'iou/*' --format latex --out table.tex
    """
    from lidistill.apps.table import table as act

    return act(cards, metrics=metric or ("miou",), format=format, out=out)


def reproduce(
    name: Positional[
        Annotated[str | None, arg(metavar="TABLE", help="table3, ..., or a .yaml file; none lists them.")]
    ] = None,
    *,
    scale: Annotated[
        Literal["city", "paper"], arg(help="Small, on the synthetic city; or the real data sets and sizes.")
    ] = "city",
    data: Annotated[Path, arg(metavar="FOLDER", help="Folder that holds the data sets, for --scale paper.")] = Path(
        "data"
    ),
    work: Annotated[Path, arg(metavar="FOLDER", help="Cities and runs; shared by all tables.")] = Path(
        "runs/reproduce"
    ),
    cards: Annotated[
        Path | None, arg(metavar="FOLDER", help="Also write one card per cell, all seeds together, here.")
    ] = None,
    seeds: UseAppendAction[
        Annotated[tuple[int, ...], arg(metavar="N", help="Only these seeds; default: those of the table.")]
    ] = (),
    set: Set = (),
    dry_run: Annotated[bool, arg(help="Only print the runs, and at the paper's scale what they cost.")] = False,
    cluster: Annotated[
        Literal["slurm", "local"] | None, arg(help="Submit the runs, one job each, instead of doing them here.")
    ] = None,
    cluster_option: UseAppendAction[
        Annotated[tuple[str, ...], arg(metavar="KEY=VALUE", help="For submitit, for example slurm_partition=gpu.")]
    ] = (),
    format: Annotated[Literal["text", "markdown", "html", "latex"], arg(help="How it is written.")] = "text",
) -> str:
    """Make a table of the ScaLR paper, or your own: run or resume what has no card yet, print it beside the published.

    Tables share runs; a backbone is distilled once for all of them. Interrupted work goes on where it was. A .yaml file
    compares your own students, teachers and recipes in the same way (docs/explanation/tables.md).

    Try:

        $ lidistill reproduce table4 --dry-run
        $ lidistill reproduce table4 --seeds 0 --set workers=1
        $ lidistill reproduce table4 --scale paper --data /data --dry-run
        $ lidistill reproduce table4 --scale paper --data /data --cluster slurm --cluster-option slurm_partition=gpu
    """
    from lidistill.apps.reproduce import reproduce as act

    return act(
        name,
        scale=scale,
        data=data,
        work=work,
        cards=cards,
        seeds=seeds,
        set=set,
        dry_run=dry_run,
        cluster=cluster,
        cluster_options=cluster_option,
        format=format,
    )
