"""``lidistill report``: what a run did, as one self-contained HTML file beside its other files."""

from __future__ import annotations

import base64
import html
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lidistill.apps.charts import Series, chart, smooth
from lidistill.apps.report_page import page, section, tiles
from lidistill.errors import InputError
from lidistill.evaluation.table import html_table
from lidistill.sensing.files import write_atomically
from lidistill.taxonomy import load as load_taxonomy
from lidistill.taxonomy import names as taxonomy_names

KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
BESIDE = {"step", "epoch", "split", "lr", "samples_per_s", "data", "frames", "miou", "iou"}
"""Keys of a line of metrics.jsonl that are not losses."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What lies in a run folder, as far as it is there and can be read."""

    path: Path
    text: str
    config: Row
    rows: tuple[Row, ...]
    cards: tuple[Row, ...]
    pictures: tuple[tuple[str, bytes], ...]
    skipped: tuple[Row, ...]
    finished: bool


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


def read_record(path: Path) -> Record:
    """Read a run folder; damaged parts count as missing, but for ``recipe.yaml``, without which it is no run."""
    recipe = path / "recipe.yaml"
    if not recipe.is_file():
        what = "does not exist" if not path.exists() else "holds no recipe.yaml, so it is no run folder"
        raise InputError(f"run {path}: {what}; give the --out folder of pretrain, probe or finetune")
    try:
        text = recipe.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{recipe}: not valid YAML: {' '.join(str(error).split())}") from None
    cards = [_json(file) for file in (path / "card.json", *sorted((path / "evaluations").glob("*.json")))]
    skipped = _json(path / "skipped.json")
    return Record(
        path,
        text,
        config if isinstance(config, dict) else {},
        tuple(_lines(path / "metrics.jsonl")),
        tuple(card for card in cards if isinstance(card, dict)),
        tuple(_pictures(path / "pictures")),
        tuple(item for item in skipped if isinstance(item, dict)) if isinstance(skipped, list) else (),
        (path / "model.safetensors").is_file(),
    )


def render(record: Record) -> str:
    """The report as HTML."""
    title = record.path.resolve().name
    parts = [
        _header(title, record),
        section("Learning", _charts(record.rows)),
        section("Classes", _classes(record)),
        section("Evaluations", _evaluations(record.cards)),
        section("Pictures", "\n".join(_figure(caption, data) for caption, data in record.pictures)),
        section("Skipped frames", _skipped(record.skipped)),
        section("Recipe", f"<pre>{html.escape(record.text.rstrip())}</pre>"),
        section("Environment", _environment(record.cards)),
    ]
    version = str(record.config.get("version") or "")
    parts.append(f"<footer>Written by lidistill {html.escape(version)}. This file is complete in itself.</footer>")
    return page(f"{title} - lidistill", "\n".join(part for part in parts if part))


# ---- reading


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[Row]:
    """The lines of ``metrics.jsonl``; one that a kill cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _pictures(folder: Path) -> list[tuple[str, bytes]]:
    """(caption, content) of the pictures, in the order of ``captions.json``, the others after them by name."""
    captions = _json(folder / "captions.json")
    captions = captions if isinstance(captions, dict) else {}
    there = {p.name: p for p in sorted(folder.glob("*")) if p.suffix in {".png", ".jpg", ".jpeg"} and p.is_file()}
    order = [*(name for name in captions if name in there), *(name for name in there if name not in captions)]
    found = [(str(captions.get(name, there[name].stem)), there[name].read_bytes()) for name in order]
    return [(caption, data) for caption, data in found if _kind(data)]


def _kind(data: bytes) -> str | None:
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), None)


def _number(value: Any) -> float:
    """A finite number, or nan."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else math.nan


def _part(values: Any, *keys: str) -> Any:
    """``values[a][b]...`` as far as it goes; None where it ends."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


# ---- sections


def _header(title: str, record: Record) -> str:
    config = record.config
    verb = str(config.get("verb") or "run")
    sources = config.get("sources") or ()
    about = [
        _student(_part(config, "model", "student")),
        f"teacher {_part(config, 'recipe', 'teacher', 'name')}" if _part(config, "recipe", "teacher", "name") else "",
        f"recipe {_part(config, 'recipe', 'name')}" if _part(config, "recipe", "name") else "",
        f"data {', '.join(map(str, sources))}" if isinstance(sources, list | tuple) and sources else "",
        f"from {config['parent']}" if config.get("parent") else "",
    ]
    badges = [verb, *([] if record.finished else ["not finished"])]
    shown = " ".join(f'<span class="badge">{html.escape(b)}</span>' for b in badges)
    lead = html.escape(" · ".join(part for part in about if part))
    return f'<header>\n<h1>{html.escape(title)} {shown}</h1>\n<p class="lead">{lead}</p>\n{tiles(_figures(record))}\n</header>'


def _student(student: Any) -> str:
    kind, depth, width = (_part(student, key) for key in ("kind", "depth", "width"))
    return f"student {kind}-{depth}-{width}" if kind else ""


def _figures(record: Record) -> list[tuple[str, str]]:
    """The main figures, most telling first."""
    train = [row for row in record.rows if row.get("split") == "train"]
    found: list[tuple[str, str]] = []
    scored = _scored(record.rows)
    if scored:
        found.append((f"{100 * _number(scored.get('miou')):.1f} %", f"mIoU, split {scored.get('split', 'val')}"))
    losses = [value for row in train if math.isfinite(value := _number(row.get("loss")))]
    if losses:
        found.append((f"{smooth(losses)[-1]:.3f}", f"training loss (began at {losses[0]:.3f})"))
    held_out = [
        value for row in record.rows if row.get("split") == "val" and not math.isnan(value := _number(row.get("loss")))
    ]
    if held_out:
        found.append((f"{held_out[-1]:.3f}", "loss on held-out scans"))
    steps = [_number(row.get("step")) for row in train]
    epochs = [_number(row.get("epoch")) for row in train]
    if steps and not math.isnan(steps[-1]):
        passes = "" if math.isnan(epochs[-1]) else f", {epochs[-1]:.3g} epochs"
        found.append((f"{steps[-1]:,.0f}", f"iterations{passes}"))
    rates = [value for row in train if math.isfinite(value := _number(row.get("samples_per_s")))]
    if rates:
        found.append((f"{statistics.median(rates):.3g}", "scans per second while training"))
    if record.skipped:
        found.append((str(len(record.skipped)), "frames skipped"))
    return found


def _charts(rows: Sequence[Row]) -> str:
    train = [row for row in rows if row.get("split") == "train"]
    held_out = [row for row in rows if row.get("split") == "val"]
    has_epochs = bool(train) and all(not math.isnan(_number(row.get("epoch"))) for row in train)
    axis = "epoch" if has_epochs else "step"

    def curve(name: str, key: str, lines: Sequence[Row], style: Any = "main") -> Series:
        return Series(name, [_number(row.get(axis)) for row in lines], [_number(row.get(key)) for row in lines], style)

    charts = []
    for key in dict.fromkeys(k for row in (*train, *held_out) for k in row if k not in BESIDE):
        raw = curve("", key, train, "raw")
        mean = Series("training", raw.x, smooth(raw.y), "main")
        charts.append(chart(key, [raw, mean, curve("held out", key, held_out, "dots")], x_label=axis))
    if sum(not math.isnan(_number(row.get("miou"))) for row in held_out) > 1:
        charts.append(chart("mIoU", [curve("", "miou", held_out)], x_label=axis))
    charts.append(chart("learning rate", [curve("", "lr", train)], x_label=axis))
    charts.append(chart("scans per second", [curve("", "samples_per_s", train)], x_label=axis))
    drawn = "\n".join(c for c in charts if c)
    return f'<div class="charts">\n{drawn}\n</div>' if drawn else ""


def _scored(rows: Sequence[Row]) -> Row | None:
    """The last line with an mIoU."""
    return next((row for row in reversed(rows) if not math.isnan(_number(row.get("miou")))), None)


def _classes(record: Record) -> str:
    """IoU per class of the last evaluation: swatch, name, value, bar."""
    scored = next((row for row in reversed(record.rows) if isinstance(row.get("iou"), dict)), None)
    if scored is None:
        return ""
    colors = _swatches(_part(record.config, "model", "taxonomy"))
    lines = []
    for name, raw in scored["iou"].items():
        value = _number(raw)
        absent = math.isnan(value)
        bar = "" if absent else f'<i style="width:{100 * min(max(value, 0), 1):.1f}%{_paint(colors.get(name))}"></i>'
        swatch = f'<i style="background:{colors[name]}"></i>' if name in colors else ""
        lines.append(
            f'<tr><td class="swatch">{swatch}</td><td>{html.escape(str(name))}</td>'
            f'<td class="number">{"absent" if absent else f"{100 * value:.1f}"}</td><td class="bar">{bar}</td></tr>'
        )
    body = "\n".join(lines)
    miou = _number(scored.get("miou"))
    foot = (
        "" if math.isnan(miou) else f'<tr><td></td><td>mIoU</td><td class="number">{100 * miou:.1f}</td><td></td></tr>'
    )
    where = f"{scored.get('frames', '')} scans of {scored.get('data', '')} ({scored.get('split', '')})"
    note = f'<p class="lead">{html.escape(where)}</p>' if scored.get("data") else ""
    return (
        f'{note}<div class="wide"><table>\n<thead><tr><th></th><th>class</th><th class="number">IoU %</th><th></th></tr>'
        f"</thead>\n<tbody>\n{body}\n</tbody>\n<tfoot>{foot}</tfoot>\n</table></div>"
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
        metrics = _part(card, "metrics")
        figures = {k: v for k, v in metrics.items() if "/" not in k} if isinstance(metrics, Mapping) else {}
        row: Row = {"data": _part(card, "data", "spec"), "split": _part(card, "data", "split")}
        row |= {"scans": _part(card, "data", "frames"), "seeds": ", ".join(map(str, card.get("seeds") or ()))}
        for key, metric in figures.items():
            value, spread = _number(_part(metric, "mean")), _number(_part(metric, "std"))
            shown = "-" if math.isnan(value) else f"{100 * value:.1f}"
            row[f"{key} %"] = shown if math.isnan(spread) else f"{shown} ± {100 * spread:.1f}"
        rows.append(row)
    return f'<div class="wide">{html_table(rows)}</div>' if rows else ""


def _figure(caption: str, data: bytes) -> str:
    content = base64.b64encode(data).decode()
    text = html.escape(caption)
    return (
        f'<figure><img src="data:{_kind(data)};base64,{content}" alt="{text}"><figcaption>{text}</figcaption></figure>'
    )


def _skipped(skipped: Sequence[Row]) -> str:
    shown = [{"frame": item.get("frame"), "reason": item.get("reason")} for item in skipped[:200]]
    more = f'<p class="lead">and {len(skipped) - 200} more in skipped.json</p>' if len(skipped) > 200 else ""
    return f'<div class="wide">{html_table(shown)}</div>{more}' if shown else ""


def _environment(cards: Sequence[Row]) -> str:
    if not cards:
        return ""
    card = cards[0]
    facts = [*(_part(card, "hardware") or {}).items(), *(_part(card, "software") or {}).items()]
    facts += [("evaluated", card["created"])] if card.get("created") else []
    return f'<div class="wide">{html_table([{"what": k, "value": str(v)} for k, v in facts])}</div>' if facts else ""
