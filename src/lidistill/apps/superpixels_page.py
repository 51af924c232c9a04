"""The page of superpixels: some pictures with their borders and in mean colours, and what was skipped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lidistill import __version__
from lidistill.apps.report_page import WIDEST, figure, page, section, tiles
from lidistill.datasets.source import Source
from lidistill.evaluation.pictures import stack
from lidistill.segmenters.draw import borders, mean_colors, segments
from lidistill.segmenters.make import Made
from lidistill.segmenters.methods import Ids
from lidistill.segmenters.store import RECORD, Superpixels
from lidistill.sensing.files import write_atomically
from lidistill.sensing.frame import CameraView

SHOWN = 12
NAME = "superpixels.html"


def write_page(store: Superpixels, source: Source, made: Sequence[Made]) -> Path:
    """Write the page into the folder of the superpixels; ``made`` is what the call went through."""
    (folder,) = store.folders
    path = folder / NAME
    text = render(store, source, made)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return path


def render(store: Superpixels, source: Source, made: Sequence[Made]) -> str:
    """The page as HTML."""
    (folder,) = store.folders
    figures, counts = [], []
    for frame, camera in _chosen(made):
        opened = source[frame.index]
        ids = store.load(opened.token, camera)
        counts.append(segments(ids, store.unassigned))
        figures.append(_figure(opened.token, opened.view(camera), ids, counts[-1], store.unassigned))
    pictures = sum(len(frame.made) + len(frame.kept) for frame in made)
    faults = [fault for frame in made for fault in frame.faults]
    shown = [(f"{pictures:,}", "pictures"), (f"{len(faults):,}", "skipped")]
    if counts:
        shown.append((f"{np.median(counts):g}", f"superpixels in a picture ({min(counts)} to {max(counts)} below)"))
    lead = html.escape(f"{source.spec} · {store.method.name} · ids below {store.count}")
    body = [
        f'<header>\n<h1>Superpixels</h1>\n<p class="lead">{lead}</p>\n{tiles(shown)}\n</header>',
        section("Pictures", "\n".join(figures)),
        section(
            "Skipped", f"<ul>{''.join(f'<li>{html.escape(fault)}</li>' for fault in faults)}</ul>" if faults else ""
        ),
        section("How they were made", f"<pre>{html.escape((folder / RECORD).read_text(encoding='utf-8'))}</pre>"),
        f"<footer>Written by lidistill {__version__}. This file is complete in itself.</footer>",
    ]
    return page(f"superpixels: {source.spec}", "\n".join(part for part in body if part))


def _chosen(made: Sequence[Made]) -> list[tuple[Made, str]]:
    """Evenly spread pictures."""
    there = [(frame, camera) for frame in made for camera in (*frame.made, *frame.kept)]
    rows = np.unique(np.linspace(0, len(there) - 1, min(SHOWN, len(there))).round().astype(int))
    return [there[row] for row in rows.tolist()]


def _figure(token: str, view: CameraView, ids: Ids, count: int, unassigned: int | None) -> str:
    image = view.image()
    means = mean_colors(image, ids, unassigned)
    # made small first: thin lines would fade with the rest
    size = (min(view.width, WIDEST), round(view.height * min(1, WIDEST / view.width)))
    small, flat = (np.array(Image.fromarray(p).resize(size, Image.Resampling.LANCZOS)) for p in (image, means))
    small_ids = np.array(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    free = "" if unassigned is None else f", {np.mean(ids == unassigned):.0%} of the pixels in none"
    return figure(stack([borders(small, small_ids), flat]), f"{token}, camera {view.name}: {count} superpixels{free}")
