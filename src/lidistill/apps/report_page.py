"""The page around a report: one HTML file that asks nothing of the network, in light, dark and on paper."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from PIL import Image

from lidistill.evaluation.render import Picture

WIDEST = 960
"""Pixels of a picture in a page."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2330; --soft: #5d6878; --line: #dfe3ea; --card: #f6f7f9;
  --main: #2457d6; --second: #c2570c; --bar: #b9ccf5; }
@media (prefers-color-scheme: dark) { :root { --page: #12151c; --ink: #e6e9ef; --soft: #98a2b3; --line: #2b313d;
  --card: #1a1f29; --main: #7aa2ff; --second: #f0a35e; --bar: #34508f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p.lead { color: var(--soft); margin: .3rem 0 0; overflow-wrap: anywhere; }
.badge { font-size: .8rem; font-weight: 600; vertical-align: middle; padding: .15rem .6rem; border-radius: 1rem;
  background: var(--card); border: 1px solid var(--line); color: var(--soft); white-space: nowrap; }
.tiles { display: grid; gap: .8rem; margin-top: 1.4rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
.chart { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.chart .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
.chart .tick { font-size: 11px; fill: var(--soft); }
.chart .grid { stroke: var(--line); }
.chart polyline { fill: none; stroke-linejoin: round; }
.chart .main { stroke: var(--main); stroke-width: 2; }
.chart .second, .chart .dots { stroke: var(--second); stroke-width: 2; }
.chart .raw { stroke: var(--main); opacity: .3; stroke-width: 1; }
.chart circle.main { fill: var(--main); stroke: none; }
.chart circle.second, .chart circle.dots { fill: var(--second); stroke: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-size: .82rem; font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.swatch { width: 1.6rem; padding-right: 0; }
td.swatch i { display: block; width: .95rem; height: .95rem; border-radius: .25rem; border: 1px solid var(--line); }
td.bar { width: 50%; }
td.bar i { display: block; height: .8rem; border-radius: .2rem; background: var(--bar); min-width: 1px; }
tfoot td { font-weight: 700; border-bottom: 0; }
figure { margin: 0 0 1.4rem; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; border-radius: .5rem; }
figcaption { color: var(--soft); font-size: .88rem; padding-top: .35rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem;
  overflow-x: auto; font: 13px/1.45 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; margin: 0; }
summary { cursor: pointer; color: var(--soft); margin-bottom: .6rem; }
footer { color: var(--soft); font-size: .82rem; margin-top: 3rem; }
@media (max-width: 36rem) { td.bar { width: 30%; } th, td { padding: .3rem .35rem; } }
@media print { :root { --page: #fff; --ink: #000; --soft: #444; --line: #ccc; --card: #fff; --main: #1a4ccc;
  --second: #b34a00; --bar: #b9ccf5; } body { font-size: 11pt; } main { max-width: none; padding: 0; }
  pre { white-space: pre-wrap; } td.bar i, td.swatch i { print-color-adjust: exact; }
  .charts { grid-template-columns: 1fr 1fr; }
  .chart, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""

# The policy makes the promise binding: whatever stands in a recipe, the browser loads nothing from anywhere.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, body: str) -> str:
    """The whole document; ``body`` is HTML, ``title`` plain text."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, inner: str) -> str:
    """A section with a heading; nothing at all when ``inner`` is empty."""
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{inner}\n</section>" if inner else ""


def tiles(figures: list[tuple[str, str]]) -> str:
    """The main figures: (value, what it is)."""
    inner = "".join(f'<div class="tile"><b>{html.escape(v)}</b><span>{html.escape(w)}</span></div>' for v, w in figures)
    return f'<div class="tiles">{inner}</div>' if figures else ""


def figure(picture: Picture, caption: str) -> str:
    """A picture inside the page, with its caption."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=82)
    data = base64.b64encode(content.getvalue()).decode()
    words = html.escape(caption)
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{words}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def narrow(picture: Picture) -> Picture:
    """The picture, made smaller if it is wider than a page shows."""
    if picture.shape[1] <= WIDEST:
        return picture
    size = (WIDEST, round(picture.shape[0] * WIDEST / picture.shape[1]))
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
