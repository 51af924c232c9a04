"""Ours beside the paper's: the finished cells of a table."""

from __future__ import annotations

from collections.abc import Mapping

from lidistill.apps.reproduce.table_file import Scale, Table
from lidistill.apps.table import shown
from lidistill.evaluation.card import Card
from lidistill.evaluation.table import Row

Cells = Mapping[tuple[str, str], Card]
"""Merged cards by the names of row and column."""


def table_rows(table: Table, scale: Scale, cells: Cells) -> list[Row]:
    """One row per backbone: our figures in per cent with their spread, and the paper's where it has any."""
    rows: list[Row] = []
    for line in scale.rows:
        row: dict[str, object] = {"": line.name}
        for column in scale.columns:
            card = cells.get((line.name, column.name))
            row[column.name] = "" if card is None else shown(card.metrics.get(column.metric))
            published = table.paper.figure(line.paper, column.paper)
            if any(c.paper for c in scale.columns) and column.paper:
                row[f"paper: {column.paper}"] = "" if published is None else f"{published:.1f}"
        if line.open:
            row[scale.columns[0].name] = f"open: {line.open}"
        rows.append(row)
    return rows
