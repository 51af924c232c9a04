"""Ours beside the paper's: the finished cells of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from lidistill.apps.reproduce.table_file import Column, Scale, Table
from lidistill.apps.table import shown
from lidistill.evaluation.card import Card, Metric
from lidistill.evaluation.robustness import mean_corruption_error
from lidistill.evaluation.table import Row
from lidistill.transforms.corruptions import NAMES

Cells = Mapping[tuple[str, str], Card]
"""Merged cards by the names of row and column."""


def table_rows(table: Table, scale: Scale, cells: Cells) -> list[Row]:
    """One row per backbone: our figures in per cent with their spread, and the paper's where it has any."""
    rows: list[Row] = []
    for line in scale.rows:
        row: dict[str, object] = {"": line.name}
        for column in scale.columns:
            card = cells.get((line.name, column.name))
            row[column.name] = "" if card is None else shown(_metric(scale, cells, card, column))
            published = table.paper.figure(line.paper, column.paper)
            if any(c.paper for c in scale.columns) and column.paper:
                row[f"paper: {column.paper}"] = "" if published is None else f"{published:.1f}"
        if line.open:
            row[scale.columns[0].name] = f"open: {line.open}"
        rows.append(row)
    for name in dict.fromkeys(line.mean for line in scale.rows if line.mean):
        parts = [line.name for line in scale.rows if line.mean == name]
        rows.append({"": name} | {column.name: _mean(scale, cells, parts, column) for column in scale.columns})
    return rows


def _mean(scale: Scale, cells: Cells, rows: Sequence[str], column: Column) -> str:
    """The mean over ``rows``, of every seed that all of them have; nothing where a row is missing."""
    cards = [card for name in rows if (card := cells.get((name, column.name))) is not None]
    if len(cards) < len(rows):
        return ""
    figures = [_by_seed(card, _metric(scale, cells, card, column)) for card in cards]
    common = sorted(set.intersection(*map(set, figures)))
    return shown(Metric.of([fmean(figure[seed] for figure in figures) for seed in common]))


def _by_seed(card: Card, metric: Metric | None) -> dict[int, float]:
    values = () if metric is None else metric.values
    return {seed: value for seed, value in zip(card.seeds, values, strict=False) if value is not None}


def _metric(scale: Scale, cells: Cells, card: Card, column: Column) -> Metric | None:
    """The column's metric of ``card``; mCE against the row that the table names, seed by seed."""
    base = cells.get((scale.baseline or "", column.name))
    if column.metric != "mce" or "mce" in card.metrics or base is None:
        return card.metrics.get(column.metric)
    scores = [_corrupted(one, index) for one in (card, base) for index in range(len(one.seeds) or 1)]
    ours, theirs = scores[: len(scores) // 2], scores[len(scores) // 2 :]
    return Metric.of([mean_corruption_error(a, b) / 100 for a, b in zip(ours, theirs, strict=True)])


def _corrupted(card: Card, seed: int) -> dict[str, float]:
    """Corruption -> mIoU in per cent of one seed."""
    found = {name: card.metrics[f"miou/{name}"].values[seed] for name in NAMES if f"miou/{name}" in card.metrics}
    return {name: 100 * value for name, value in found.items() if value is not None}
