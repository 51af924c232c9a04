"""``lidistill table``: result cards as a table, runs that differ by their seed in one row with mean and spread."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from os.path import commonpath
from pathlib import Path

from lidistill.errors import InputError, nearest
from lidistill.evaluation.card import Card, Metric, experiment, merge_cards, read_card
from lidistill.evaluation.table import Row, html_table, latex_table, markdown_table, text_table
from lidistill.sensing.files.atomic import write_atomically

log = logging.getLogger("lidistill")

RENDER = {"text": text_table, "markdown": markdown_table, "html": html_table, "latex": latex_table}
SEED = re.compile(r"seed[-_=]?\d+")
UNNAMED = {"card.json", "evaluations"}
"""Parts of a path that say nothing about the experiment."""


def table(
    cards: Sequence[str | Path],
    *,
    metrics: Sequence[str] = ("miou",),
    format: str = "text",
    out: str | Path | None = None,
) -> str:
    """See ``lidistill.verbs.table``. Returns the text of the table (also written to ``out``)."""
    text = RENDER[format](rows(find_cards(cards), metrics))
    if out is not None:
        write_atomically(Path(out), lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
    return text


def find_cards(places: Sequence[str | Path]) -> dict[Path, Card]:
    """The cards at ``places``: files, or folders that are searched for ``card.json`` and ``evaluations/*.json``.

    Those of the ``rounds`` in a run of ``adapt`` are of other networks than the run's; name such a folder itself.
    """
    found: dict[Path, Card] = {}
    for place in map(Path, places):
        if not place.is_dir():
            found[place] = read_card(place)
            continue
        inside = sorted({*place.rglob("card.json"), *place.rglob("evaluations/*.json")})
        # committed cards have names of their own: a folder of nothing but cards
        inside = inside or sorted(place.rglob("*.json"))
        inside = [path for path in inside if not _of_a_round(path, place)]
        if not inside:
            raise InputError(f"{place}: holds no result card; probe, finetune and evaluate write them")
        for path in inside:
            try:
                found[path] = read_card(path)
            except InputError as error:  # nobody named it, and the others are none the worse for it
                log.warning("left out: %s", error)
    if not found:
        raise InputError("no card was named that can be read; give card files or folders of runs")
    return found


def _of_a_round(card: Path, place: Path) -> bool:
    """Whether ``card`` lies in a folder ``rounds`` of a run inside ``place``."""
    between = (place / part for part in card.relative_to(place).parents[:-1])
    return any(folder.name == "rounds" and (folder.parent / "recipe.yaml").is_file() for folder in between)


def rows(cards: Mapping[Path, Card], metrics: Sequence[str]) -> list[Row]:
    """One row per experiment and data: label, data, seeds, and the ``metrics`` (names or patterns) in per cent.

    Of several cards of one run about the same, what ``probe`` wrote and a later ``evaluate``, the last one counts.
    """
    latest: dict[tuple[Path, str], Path] = {}
    for path in sorted(cards, key=lambda path: cards[path].created):
        latest[_run_folder(path), experiment(cards[path])] = path
    groups: dict[str, list[Path]] = {}
    for path in cards:
        if latest[_run_folder(path), experiment(cards[path])] == path:
            groups.setdefault(experiment(cards[path]), []).append(path)
    for paths in groups.values():
        _each_seed_once({path: cards[path] for path in paths})
    merged = [(_label(paths, list(cards)), merge_cards([cards[path] for path in paths])) for paths in groups.values()]
    names = _chosen([card for _, card in merged], metrics)
    data = {_examined(card) for _, card in merged}
    return [
        {
            "run": label,
            **({"data": _examined(card)} if len(data) > 1 else {}),
            **{name: shown(card.metrics.get(name)) for name in names},
            "seeds": len(card.seeds) or 1,
        }
        for label, card in merged
    ]


def _examined(card: Card) -> str:
    """The data, and how they were evaluated where that was not as usual: figures of other rules are no rivals."""
    said = card.recipe.get("evaluation", {})
    options = [f"{key} {said[key]}" for key in ("tta", "map", "outside") if key in said]
    options += ["with corruptions"] if "corruptions" in said else []
    return ", ".join([f"{card.data.spec} ({card.data.split})", *options])


def _run_folder(path: Path) -> Path:
    """The run that a card is of; committed cards, in folders of many, stand for themselves."""
    if path.parent.name == "evaluations":
        return path.parent.parent
    return path.parent if path.name == "card.json" else path


def shown(metric: Metric | None) -> str:
    """A metric in per cent, with its spread over the seeds if there are several."""
    if metric is None or metric.mean is None:
        return "-"
    spread = "" if metric.std is None else f" ± {100 * metric.std:.1f}"
    return f"{100 * metric.mean:.1f}{spread}"


def _chosen(cards: Sequence[Card], patterns: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(name for card in cards for name in card.metrics))
    chosen: list[str] = []
    for pattern in patterns:
        fitting = [name for name in known if fnmatchcase(name, pattern)]
        if not fitting:
            raise InputError(f"no card has a metric {pattern!r}{nearest(pattern, known)}")
        chosen += [name for name in fitting if name not in chosen]
    return chosen


def _each_seed_once(cards: Mapping[Path, Card]) -> None:
    """Raise ``InputError`` naming two cards of one experiment that have a seed in common."""
    owner: dict[int, Path] = {}
    for path, card in cards.items():
        for seed in card.seeds:
            if owner.setdefault(seed, path) != path:
                raise InputError(
                    f"{owner[seed]} and {path} are the same experiment with the same seed {seed}, so they would repeat "
                    "a seed; name the runs that you want in the table, or remove one of the two"
                )


def _label(paths: Sequence[Path], all_paths: Sequence[Path]) -> str:
    """What tells this experiment from the others: the path of its first card without root, seed and file name."""
    root = Path(commonpath([path.parent for path in all_paths]))
    parts = paths[0].relative_to(root).with_suffix("").parts if paths[0].is_relative_to(root) else paths[0].parts
    named = [part for part in parts if not SEED.fullmatch(part) and part not in UNNAMED and part != "card"]
    return "/".join(named) or root.name
