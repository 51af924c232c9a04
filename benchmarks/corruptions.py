"""How long each corruption takes on one core, and what it leaves of a scan -> ``results/corruptions.json``.

    OMP_NUM_THREADS=1 python benchmarks/corruptions.py [--table | --picture]

Scans: a 32-beam scan of 35,000 points (two scans of the synthetic city over each other, cut) and a 64-beam one of the
city as it is, with rings and labels; a second row for those that must find out beams or ground themselves. Processor
times, the fastest of alternating repetitions, tables computed beforehand; the unit of the ratio is copying the scan.
Kept = share of the points that is left, lost label = share that shows no surface any more; both at the highest
severity. ``--table`` prints the table of an earlier run; ``--picture`` draws ``docs/images/corruptions.png``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.datasets.source import Source, open_source
from lidistill.evaluation.palette import class_colors
from lidistill.evaluation.render import from_behind, render_cloud
from lidistill.evaluation.table import text_table
from lidistill.sensing.frame import IGNORE, Frame
from lidistill.simulator import simulate
from lidistill.transforms.corruptions import NAMES, SEVERITIES, corrupt
from record import RESULTS, write_record

OUT = RESULTS / "corruptions.json"
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "corruptions.png"
POINTS = 35_000
UNKNOWN = {"wet-ground": "labels", "beam-missing": "ring", "cross-sensor": "ring"}
"""What some corruptions find out themselves where the frame does not say."""
NOISE = (255, 60, 200)
"""Colour of points that show no surface."""


def city(sensor: str, folder: Path) -> Source:
    """Two scans of a street."""
    return open_source(str(simulate(folder / sensor, sensor=sensor, scenes=1, frames=2, seed=3, images=False)))


def stacked(frames: list[Frame], points: int) -> Frame:
    """The frames over each other, in the order of the first's rings, cut to ``points`` at random."""
    rings = np.concatenate([frame.ring for frame in frames])
    chosen = np.random.default_rng(0).choice(len(rings), points, replace=False)
    rows = np.sort(chosen)[np.argsort(rings[np.sort(chosen)], kind="stable")]
    return replace(
        frames[0],
        points=np.concatenate([frame.points for frame in frames])[rows],
        intensity=np.concatenate([frame.intensity for frame in frames])[rows],
        ring=rings[rows],
        time=None,
        labels=np.concatenate([frame.labels for frame in frames])[rows],
    )


def milliseconds(jobs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Fastest processor time of each job, taken in turns so that all see the same machine."""
    best = dict.fromkeys(jobs, np.inf)
    for _ in range(repetitions + 1):  # the first one fills caches and is slower
        for name, job in jobs.items():
            start = time.process_time()
            job()
            best[name] = min(best[name], 1000 * (time.process_time() - start))
    return best


def measure(frame: Frame, classes: tuple[str, ...], repetitions: int) -> list[dict[str, Any]]:
    """One row per corruption and per frame that lacks something it needs."""
    frames = {"": frame, "labels": replace(frame, labels=None), "ring": replace(frame, ring=None)}
    cases = [(name, lacks) for name in NAMES for lacks in dict.fromkeys(["", UNKNOWN.get(name, "")])]
    jobs: dict[str, Callable[[], object]] = {"copy": lambda: frame.select(np.arange(len(frame)))}
    for name, lacks in cases:
        jobs[name + lacks] = lambda name=name, lacks=lacks: corrupt(
            frames[lacks], name, SEVERITIES[-1], np.random.default_rng(0), classes
        )
    times = milliseconds(jobs, repetitions)
    rows = []
    for name, lacks in cases:
        after = corrupt(frames[lacks], name, SEVERITIES[-1], np.random.default_rng(0), classes)
        ignored = 0 if after.labels is None else int((after.labels == IGNORE).sum() - (frame.labels == IGNORE).sum())
        rows.append(
            {
                "corruption": name + f", no {lacks}" * bool(lacks),
                "points": len(frame),
                "ms": round(times[name + lacks], 1),
                "copies": round(times[name + lacks] / times["copy"], 1),
                "kept": round(len(after) / len(frame), 2),
                "lost label": "" if after.labels is None else round(max(ignored, 0) / len(frame), 2),
            }
        )
    return rows


def draw(source: Source, severity: int = 3) -> None:
    """The scan and its eight corruptions in one picture: classes in their colours, noise in pink."""
    from PIL import Image, ImageDraw

    frame, taxonomy = source[0], source.taxonomy
    view = from_behind(frame.sensor.forward, size=(270, 432))
    canvas = Image.new("RGB", (3 * view.width, 3 * view.height))
    for number, name in enumerate(("as recorded", *NAMES)):
        after = frame
        if name in NAMES:
            after = corrupt(frame, name, severity, np.random.default_rng(3), taxonomy.classes)
        colors = class_colors(after.labels, taxonomy)
        colors[after.labels == IGNORE] = NOISE
        tile = Image.fromarray(render_cloud(after.points, colors, view))
        ImageDraw.Draw(tile).text((8, 6), name, fill=(255, 255, 255))
        canvas.paste(tile, (number % 3 * view.width, number // 3 * view.height))
    canvas.quantize(128).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1024} KiB")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture", action="store_true")
    args = parser.parse_args()
    if args.table:
        print(text_table(json.loads(OUT.read_text())["rows"]))
        return
    with tempfile.TemporaryDirectory() as folder:
        sparse = city("spinning-32", Path(folder))
        if args.picture:
            draw(sparse)
            return
        dense = city("spinning-64", Path(folder))
        scans = [stacked([sparse[0], sparse[1]], POINTS), dense[0]]
    rows = [row for scan in scans for row in measure(scan, sparse.taxonomy.classes, args.repetitions)]
    print(text_table(rows))
    result = {
        "what": "each corruption at its highest severity on one core; copies = time by that of copying the scan",
        "repetitions": args.repetitions,
        "rows": rows,
    }
    write_record("corruptions", result)


if __name__ == "__main__":
    main()
