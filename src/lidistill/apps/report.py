"""``lidistill report``: what a run did, as one self-contained HTML file beside its other files."""

from __future__ import annotations

import base64
import html
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lidistill import __version__
from lidistill.apps.charts import Series, chart, smooth
from lidistill.apps.record import BEFORE, Record, Row, number, part, picture_kind, read_record
from lidistill.apps.report_page import page, section, tiles
from lidistill.evaluation.card import KEPT
from lidistill.evaluation.table import html_table
from lidistill.sensing.files import write_atomically
from lidistill.taxonomy import load as load_taxonomy
from lidistill.taxonomy import names as taxonomy_names

BESIDE = {"step", "epoch", "split", "lr", "samples_per_s", "data", "frames", "miou", "iou", KEPT}
"""Keys of a line of metrics.jsonl that are not losses."""


def write_report(run: str | Path) -> Path:
    """Write ``report.html`` into the folder ``run`` from what lies there, and return its path.

    The file holds everything it shows and loads nothing. Parts that are missing (a run that was stopped, that has no
    classes, no pictures) are left out. Raises ``InputError`` when the folder is no run.
    """
    record = read_record(Path(run))
    target = record.path / "report.html"
    text = render(record)
    write_atomically(target, lambda file: file.write_text(text, encoding="utf-8"))
    return target


def render(record: Record) -> str:
    """The report as HTML."""
    title = record.path.resolve().name
    parts = [
        _header(title, record),
        section("Learning", _charts(record.rows, _noun(record))),
        section("Rounds", _rounds(record.rows)),
        section("Classes", _classes(record)),
        section("Evaluations", _evaluations(record.cards)),
        section("Pictures", "\n".join(_figure(caption, data) for caption, data in record.pictures)),
        section("Skipped frames", _skipped(record.skipped)),
        section("Recipe", f"<pre>{html.escape(record.text.rstrip())}</pre>"),
        section("Environment", _environment(record.cards)),
    ]
    parts.append(f"<footer>Written by lidistill {__version__}. This file is complete in itself.</footer>")
    return page(f"{title} - lidistill", "\n".join(text for text in parts if text))


# ---- sections


def _header(title: str, record: Record) -> str:
    config = record.config
    verb = str(config.get("verb") or "run")
    sources = config.get("sources") or ()
    arrow = " -> " if verb == "adapt" else ", "
    about = [
        _student(part(config, "model", "student")),
        f"network {part(config, 'model', 'network')}" if part(config, "model", "network") else "",
        _teachers(part(config, "recipe", "teacher")),
        f"recipe {part(config, 'recipe', 'name')}" if part(config, "recipe", "name") else "",
        f"data {arrow.join(map(str, sources))}" if isinstance(sources, list | tuple) and sources else "",
        f"from {config['parent']}" if config.get("parent") else "",
    ]
    badges = [verb, *([] if record.finished else ["not finished"])]
    shown = " ".join(f'<span class="badge">{html.escape(b)}</span>' for b in badges)
    lead = html.escape(" · ".join(text for text in about if text))
    heading = f'<h1>{html.escape(title)} {shown}</h1>\n<p class="lead">{lead}</p>'
    return f"<header>\n{heading}\n{tiles(_figures(record))}\n</header>"


def _student(student: Any) -> str:
    kind, depth, width = (part(student, key) for key in ("kind", "depth", "width"))
    return f"student {kind}-{depth}-{width}" if kind else ""


def _teachers(said: Any) -> str:
    """One teacher is a mapping, several are a list of them."""
    names = [str(name) for one in (said if isinstance(said, list) else [said]) if (name := part(one, "name"))]
    return f"teacher{'s' if len(names) > 1 else ''} {' + '.join(names)}" if names else ""


def _figures(record: Record) -> list[tuple[str, str]]:
    """The main figures, most telling first."""
    train, held_out = _of(record.rows, "train"), _of(record.rows, "val")
    found: list[tuple[str, str]] = []
    scored = _scored(record.rows)
    if scored:
        found.append((f"{100 * number(scored['miou']):.1f} %", f"mIoU, split {scored.get('split', 'val')}"))
    if losses := _column(train, "loss"):
        found.append((f"{statistics.fmean(losses[-10:]):.3f}", f"training loss (began at {losses[0]:.3f})"))
    if losses := _column(held_out, "loss"):
        found.append((f"{losses[-1]:.3f}", f"loss on held-out {_noun(record)}"))
    if steps := _column(train, "step"):
        epochs = _column(train, "epoch")
        found.append((f"{steps[-1]:,.0f}", f"iterations, {epochs[-1]:.3g} epochs" if epochs else "iterations"))
    if rates := _column(train, "samples_per_s"):
        found.append((f"{statistics.median(rates):.3g}", f"{_noun(record)} per second while training"))
    if record.skipped:
        found.append((str(len(record.skipped)), "frames skipped"))
    return found


def _of(rows: Sequence[Row], split: str) -> list[Row]:
    return [row for row in rows if row.get("split") == split]


def _column(rows: Sequence[Row], key: str) -> list[float]:
    """The finite numbers under ``key``."""
    return [value for row in rows if not math.isnan(value := number(row.get(key)))]


def _noun(record: Record) -> str:
    """What the network learned from."""
    return "pictures" if record.config.get("verb") == "teach-images" else "scans"


def _charts(rows: Sequence[Row], noun: str) -> str:
    train, held_out = _of(rows, "train"), _of(rows, "val")
    axis = "epoch" if train and len(_column(train, "epoch")) == len(train) else "step"

    def curve(name: str, key: str, lines: Sequence[Row], style: Any = "main") -> Series:
        return Series(name, [number(row.get(axis)) for row in lines], [number(row.get(key)) for row in lines], style)

    def smoothed(title: str, key: str, *more: Series) -> str:
        raw = curve("", key, train, "raw")
        return chart(title, [raw, Series("training", raw.x, smooth(raw.y), "main"), *more], x_label=axis)

    charts = []
    for key in dict.fromkeys(k for row in (*train, *held_out) for k in row if k not in BESIDE):
        charts.append(smoothed(key, key, curve("held out", key, held_out, "dots")))
    if len(_column(held_out, "miou")) > 1:
        charts.append(chart("mIoU", [curve("", "miou", held_out)], x_label=axis))
    charts.append(chart("learning rate", [curve("", "lr", train)], x_label=axis))
    charts.append(smoothed(f"{noun} per second", "samples_per_s"))
    drawn = "\n".join(c for c in charts if c)
    return f'<div class="charts">\n{drawn}\n</div>' if drawn else ""


def _scored(rows: Sequence[Row]) -> Row | None:
    """The last line with an mIoU."""
    return next((row for row in reversed(rows) if not math.isnan(number(row.get("miou")))), None)


def _rounds(rows: Sequence[Row]) -> str:
    """What the rounds of an adaptation were judged and by what, and which was kept."""
    last = next((row for row in reversed(rows) if row.get("split") == "kept"), {})
    shown = [
        {
            "round": row["step"] or "before the first",
            "judged": f"{100 * number(row.get('judged')):.1f}",
            **{str(name): f"{100 * number(value):.1f}" for name, value in (part(row, "parts") or {}).items()},
            "": "kept" if row["step"] == last.get("step") else "",
        }
        for row in _of(rows, "target")
    ]
    said = f"Compared by {last['by']}; x 100." if last.get("by") else ""
    note = f'<p class="lead">{html.escape(said)}</p>' if said else ""
    return f'{note}<div class="wide">{html_table(shown)}</div>' if shown else ""


def _classes(record: Record) -> str:
    """IoU per class of the last evaluation: swatch, name, value, bar."""
    scored = next((row for row in reversed(record.rows) if isinstance(row.get("iou"), dict)), None)
    if scored is None:
        return ""
    colors = _swatches(part(record.config, "model", "taxonomy"))
    lines = []
    for name, raw in scored["iou"].items():
        value = number(raw)
        absent = math.isnan(value)
        bar = "" if absent else f'<i style="width:{100 * min(max(value, 0), 1):.1f}%{_paint(colors.get(name))}"></i>'
        swatch = f'<i style="background:{colors[name]}"></i>' if name in colors else ""
        lines.append(
            f'<tr><td class="swatch">{swatch}</td><td>{html.escape(str(name))}</td>'
            f'<td class="number">{"absent" if absent else f"{100 * value:.1f}"}</td><td class="bar">{bar}</td></tr>'
        )
    body = "\n".join(lines)
    miou = number(scored.get("miou"))
    foot = (
        "" if math.isnan(miou) else f'<tr><td></td><td>mIoU</td><td class="number">{100 * miou:.1f}</td><td></td></tr>'
    )
    where = f"{scored.get('frames', '')} {_noun(record)} of {scored.get('data', '')} ({scored.get('split', '')})"
    note = f'<p class="lead">{html.escape(where)}</p>' if scored.get("data") else ""
    return (
        f'{note}<div class="wide"><table>\n'
        '<thead><tr><th></th><th>class</th><th class="number">IoU %</th><th></th></tr></thead>'
        f"\n<tbody>\n{body}\n</tbody>\n<tfoot>{foot}</tfoot>\n</table></div>"
    )


def _swatches(taxonomy: Any) -> dict[str, str]:
    """CSS colour of every class of a built-in class list."""
    if taxonomy not in taxonomy_names():
        return {}
    known = load_taxonomy(taxonomy)
    return {name: f"rgb({r},{g},{b})" for name, (r, g, b) in zip(known.classes, known.colors.tolist(), strict=True)}


def _paint(color: str | None) -> str:
    return f";background:{color}" if color else ""


def _evaluations(cards: Sequence[Row]) -> str:
    rows = []
    for card in cards:
        metrics = part(card, "metrics")
        figures = {k: v for k, v in metrics.items() if "/" not in k} if isinstance(metrics, Mapping) else {}
        row: Row = {"data": part(card, "data", "spec"), "split": part(card, "data", "split")}
        row |= {"how": "before adaptation" if card["file"] == BEFORE else _how(part(card, "recipe", "evaluation"))}
        row |= {"frames": part(card, "data", "frames"), "seeds": ", ".join(map(str, card.get("seeds") or ()))}
        for key, metric in figures.items():
            value, spread = number(part(metric, "mean")), number(part(metric, "std"))
            shown = "-" if math.isnan(value) else f"{100 * value:.1f}"
            row[f"{key} %"] = shown if math.isnan(spread) else f"{shown} ± {100 * spread:.1f}"
        rows.append(row)
    return f'<div class="wide">{html_table(rows)}</div>' if rows else ""


def _how(said: Any) -> str:
    """What was not as usual in an evaluation."""
    if not isinstance(said, Mapping):
        return ""
    told = [f"{said['tta']} poses"] if "tta" in said else []
    told += ["by words"] if "words" in said else []
    told += [f"in {said['map']} ({said.get('outside')})"] if "map" in said else []
    corruptions = said.get("corruptions")
    if isinstance(corruptions, list):
        told.append(f"{len(corruptions)} corruption{'s' if len(corruptions) != 1 else ''}")
    return ", ".join(told)


def _figure(caption: str, data: bytes) -> str:
    content = base64.b64encode(data).decode()
    text = html.escape(caption)
    image = f'<img src="data:{picture_kind(data)};base64,{content}" alt="{text}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _skipped(skipped: Sequence[Row]) -> str:
    shown = [{"frame": item.get("frame"), "reason": item.get("reason")} for item in skipped[:200]]
    more = f'<p class="lead">and {len(skipped) - 200} more in skipped.json</p>' if len(skipped) > 200 else ""
    return f'<div class="wide">{html_table(shown)}</div>{more}' if shown else ""


def _environment(cards: Sequence[Row]) -> str:
    if not cards:
        return ""
    card = cards[0]
    groups = [group for key in ("hardware", "software") if isinstance(group := card.get(key), Mapping)]
    facts = [fact for group in groups for fact in group.items()]
    facts += [("evaluated", card["created"])] if card.get("created") else []
    return f'<div class="wide">{html_table([{"what": k, "value": str(v)} for k, v in facts])}</div>' if facts else ""
