"""``lidistill reproduce``: a table of the ScaLR paper, run, resumed and set beside the published figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lidistill.apps.reproduce.cost import cost, recipe_of
from lidistill.apps.reproduce.execute import (
    check_recipes,
    cluster_parameters,
    cut_pictures,
    folder_of,
    pictures_to_cut,
    prepare,
    run_here,
    submit,
)
from lidistill.apps.reproduce.plan import Job, Place, jobs, last_job
from lidistill.apps.reproduce.show import Cells, table_rows
from lidistill.apps.reproduce.table_file import City, Scale, Table, load_table, table_names
from lidistill.apps.table import RENDER
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import Card, merge_cards, read_card, write_card
from lidistill.evaluation.table import text_table
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.registry import is_path
from lidistill.training.image_run import ImageRun
from lidistill.training.recipe import DistilRecipe

log = logging.getLogger("lidistill")


def reproduce(
    name: str | None,
    *,
    scale: str = "city",
    data: str | Path = "data",
    work: str | Path = "runs/reproduce",
    cards: str | Path | None = None,
    seeds: Sequence[int] = (),
    set: Sequence[str] = (),
    dry_run: bool = False,
    cluster: str | None = None,
    cluster_options: Sequence[str] = (),
    format: str = "text",
) -> str:
    """See ``lidistill.verbs.reproduce``. Returns what the command prints."""
    if name is None:
        width = max(map(len, table_names()))
        return "\n".join(f"{known:{width}}  {load_table(known).title.partition(': ')[2]}" for known in table_names())
    table = load_table(name)
    chosen = table.at(scale)
    place = Place(Path(work), Path(data))
    planned = jobs(chosen, tuple(seeds) or chosen.seeds, place, tuple(set))
    for job in planned:
        if job.verb != "evaluate":
            recipe_of(job)  # what is wrong in its options is said now, not after hours
    if dry_run:
        return dry(name, table, chosen, planned, place, scale)
    check_recipes(planned)
    if any(not job.done() for job in planned):
        missing = [name for name in teachers(planned) if is_path(name) and not Path(name).expanduser().exists()]
        if missing:
            raise InputError(f"teachers are missing: {', '.join(missing)}; make or fetch them first")
        prepare(chosen, place)
        cut_pictures(planned)
    if cluster is not None:
        numbers = submit(planned, Path(work) / "cluster", cluster, cluster_parameters(cluster_options))
        return f"{len(numbers)} runs submitted to {cluster}; the same command without --cluster shows what is there"
    failed = run_here(planned)
    found = finished(chosen, tuple(seeds) or chosen.seeds, place, tuple(set))
    if cards is not None:
        for (row, column), card in found.items():
            write_card(card, card_path(Path(cards), row, column))
    text = f"{table.title}\n\n{RENDER[format](table_rows(table, chosen, found))}"
    if failed:
        print(text)
        raise RunError(f"{len(failed)} runs failed, the first: {failed[0]}")
    return text


def finished(scale: Scale, seeds: Sequence[int], place: Place, options: tuple[str, ...] = ()) -> Cells:
    """The cells of which every seed is there, merged."""
    found = {}
    for row, column in scale.cells():
        made = [last_job(scale, row, column, seed, place, options).card() for seed in seeds]
        there: list[Card] = [card for card in made if card is not None]
        if len(there) < len(seeds):
            continue
        try:
            found[row.name, column.name] = merge_cards(there, f"{row.name}/{column.name}")
        except InputError as error:
            log.warning("row %r, column %r: left out: %s", row.name, column.name, error)
    return found


def card_path(folder: Path, row: str, column: str) -> Path:
    """Where the merged card of a cell lies."""
    return folder / row.replace(" ", "-").replace("/", "-") / f"{column.replace(' ', '-').replace('/', '-')}.json"


def committed(name: str, folder: Path) -> str:
    """The table of the merged cards in ``folder`` as markdown (for the pages of the documentation)."""
    table = load_table(name)
    cells = {}
    for row, column in table.city.cells():
        path = card_path(folder, row.name, column.name)
        if path.is_file():
            cells[row.name, column.name] = read_card(path)
    return RENDER["markdown"](table_rows(table, table.city, cells))


def teachers(planned: Sequence[Job]) -> list[str]:
    """Names of the teachers that the jobs which are not done learn from, each once."""
    recipes = [recipe_of(job) for job in planned if job.verb == "pretrain" and not job.done()]
    learning = [recipe for recipe in recipes if isinstance(recipe, DistilRecipe)]
    return list(dict.fromkeys(teacher.name for recipe in learning for teacher in recipe.teachers))


def superpixels(planned: Sequence[Job]) -> list[tuple[str, str]]:
    """Source and method of all superpixels that the jobs which are not done learn from, each once."""
    found = dict.fromkeys((source, method.name) for source, method in pictures_to_cut(planned))
    return list(found)


def _whence(name: str) -> str:
    """Where a teacher comes from, in words."""
    if is_path(name):
        path = Path(name).expanduser()
        if (path / "recipe.yaml").is_file():
            made = ImageRun.open(path).config
            return f"there: an image network taught on {', '.join(made.sources)} by recipe {made.recipe.name}"
        return "there" if path.exists() else "missing"
    known = CATALOG.get(name)
    if known is None:
        return "comes with lidistill" if name == "city" else "a plug-in, or weights of the hub"
    return f"weights {known.hub} of the hub" if known.hub else f"fetch {known.download}, give the path"


def dry(name: str, table: Table, scale: Scale, planned: Sequence[Job], place: Place, size: str) -> str:
    """What would be run: the data, every command, and at the paper's scale what it costs."""
    lines = [f"{name}: {table.title}", *([scale.says] if scale.says else []), "", "data"]
    for known, place_of in ((known, place.source(key, known)) for key, known in scale.all_data().items()):
        missing = "simulated when it is not there" if isinstance(known, City) else "missing"
        there = "there" if folder_of(place_of).exists() else missing
        lines.append(f"  {place_of} ({there})")
    lines += ["", "teachers", *(f"  {one} ({_whence(one)})" for one in teachers(planned))]
    divided = [f"  {name} of {source}" for source, name in superpixels(planned)]
    lines += ["", "superpixels, made first where they are not there", *divided] if divided else []
    lines += ["", f"{len(planned)} runs, {sum(job.done() for job in planned)} of them there"]
    lines += [f"{n:5d} {'done  ' if job.done() else ''}{job.command()}" for n, job in enumerate(planned, 1)]
    waiting = [line for line in scale.rows if line.open]
    lines += [f"  open: {line.name}: {line.open}" for line in waiting]
    if size == "paper":
        rows = []
        for job in planned:
            if job.verb == "evaluate":
                continue
            estimate = cost(job)
            rows.append(
                {
                    "run": f"{job.folder.parent.name}/{job.folder.name}",
                    "GPU hours": f"{estimate.hours:.1f}",
                    "GPU memory GB": f"{estimate.memory:.0f}",
                    "scans": estimate.scans,
                }
            )
        hours = sum(float(str(row["GPU hours"])) for row in rows)
        lines += ["", text_table(rows), f"{hours:.0f} GPU hours in all: arithmetic, not a measurement (100 TFLOP/s,"]
        lines[-1] += " 1.5 TB/s sustained; see lidistill/apps/reproduce/cost.py), evaluation not counted;"
        lines[-1] += (
            " memory of the whole batch, shared by the devices (devices, or student.checkpointing, need less each)"
        )
    return "\n".join(lines)
