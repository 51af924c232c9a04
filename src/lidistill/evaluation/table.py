"""Tables for people: rows of dictionaries as aligned text, Markdown, HTML or LaTeX."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
# the first three come out as other signs in the default font encoding; after the end of a row [ begins a length
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "±": r"$\pm$"}


def text_table(rows: Sequence[Row]) -> str:
    """Columns aligned with spaces; numbers to the right. No rows give an empty string."""
    names, cells, numeric = _cells(rows)
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    lines = [names, ["-" * width for width in widths], *cells] if names else []
    return "\n".join(
        "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """A GitHub table; bars in the cells are escaped."""
    names, cells, numeric = _cells(rows)
    rule = ["---:" if number else "---" for number in numeric]
    lines = [[_markdown(c) for c in names], rule, *([_markdown(c) for c in line] for line in cells)] if names else []
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def html_table(rows: Sequence[Row]) -> str:
    """A ``<table>`` element without styles; number cells have the class ``number``; all text is escaped."""
    names, cells, numeric = _cells(rows)

    def line(tag: str, values: Sequence[str]) -> str:
        marks = [' class="number"' if number else "" for number in numeric]
        inner = (f"<{tag}{m}>{html.escape(v)}</{tag}>" for v, m in zip(values, marks, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "\n".join(line("td", values) for values in cells)
    return f"<table>\n<thead>\n{line('th', names)}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def latex_table(rows: Sequence[Row]) -> str:
    """A ``tabular`` with the rules of booktabs; all text is escaped, a spread is set with a sign."""
    names, cells, numeric = _cells(rows)
    columns = "".join("r" if number else "l" for number in numeric)
    head, *body = (" & ".join(map(_latex, line)) + r" \\" for line in [names, *cells])
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    )


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]], list[bool]]:
    """Column names in order of first appearance, the text of every cell, and which columns hold numbers."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text(row.get(name, "")) for name in names] for row in rows]
    numeric = [all(_is_number(line[i]) for line in cells) for i in range(len(names))]
    return names, cells, numeric


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split())  # a line break would break the table


def _is_number(text: str) -> bool:
    """Whether the cell belongs to a column of numbers: a number (as in "61.2 ± 0.3"), or nothing."""
    try:
        float(text.split("±")[0].rstrip(" %"))
    except ValueError:
        return text in ("", "-")
    return True


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _latex(text: str) -> str:
    parts = ("".join(LATEX.get(letter, letter) for letter in part) for part in text.split("->"))
    return r"$\to$".join(parts)
