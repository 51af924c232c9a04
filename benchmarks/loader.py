"""How many training samples does a core make in a second? Ours against the published pipeline, in one run.

    python benchmarks/loader.py [--samples 16] [--real /work/shared/real] [--city FOLDER]

Both pipelines make the same kinds of sample from the same files (read, sampled, tokenised, collated), one after the
other on one thread; ``published_pipeline.py`` is written from the description of the public code. Inputs are
simulated scans of the size of nuScenes (37 000 points, six JPEG pictures of 1600 x 900) and of SemanticKITTI (123 000
points, one PNG picture of 1241 x 376), and real frames when the folder of real pieces is there. Times are processor
seconds of the process, ratios are the median over samples with the quartiles as spread.

Variants of ours: with nanoflann (the extra ``fast``) and with scipy alone; distillation with visibility (the
default) and without, as published. The published pipeline samples voxels before it projects and limits before it
crops, so that its samples hold a few points more or fewer than ours; ``projecting first`` is the same pipeline with
the first two exchanged. That every *step* gives the same on the same input is measured by ``loader_agreement.py``.
Writes ``results/loader.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import published_pipeline as published
from lidistill.evaluation.table import text_table
from lidistill.students.registry import build_student
from lidistill.students.tokenizer import PlaneTokenizer
from lidistill.training.distil_samples import distil_sample
from lidistill.training.recipe import DistilRecipe, SegmentRecipe, load_recipe
from lidistill.training.samples import Collate, full_sample, train_sample
from lidistill.transforms import nearest
from loader_agreement import disagreement
from loader_inputs import Input, inputs
from loader_stages import stages
from record import RESULTS, write_record

RESULT = RESULTS / "loader.json"
KINDS = ("distillation", "segmentation", "whole scan")

Make = Callable[[int, int], int]
"""(frame, seed) -> number of points of the sample made."""


@dataclass(frozen=True)
class Recipes:
    """What both pipelines are asked for."""

    distil: DistilRecipe
    segment: SegmentRecipe
    tokenizer: PlaneTokenizer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--real", type=Path, default=Path("/work/shared/real"))
    parser.add_argument("--city", type=Path, help="where the simulated scans are kept (default: nowhere)")
    parser.add_argument("--table", action="store_true", help="print the last result as the page shows it")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = inputs(args.city or Path(folder), args.real if args.real.is_dir() else None)
        results = {data.name: measure(data, recipes(), args.samples) for data in found}
    rows = [row for name, result in results.items() for row in table_rows(name, result)]
    print(text_table(rows))
    for name, result in results.items():
        print(name, json.dumps(result["disagreement"]), json.dumps(result["our stages, ms"]), sep="\n")
    write_record("loader", {"samples": args.samples, "inputs": results})


def recipes() -> Recipes:
    """The published sizes: 20 000 points, 0.1 m, 16 neighbours, 224 x 448 pixels without anti-aliasing."""
    distil, segment = load_recipe("scalr"), load_recipe("linear-probe")
    assert isinstance(distil, DistilRecipe)
    assert isinstance(segment, SegmentRecipe)
    small = distil.student.model_copy(update={"depth": 1, "width": 8, "norm": "batch"})
    tokenizer = build_student(small).tokenizer
    assert isinstance(tokenizer, PlaneTokenizer)
    assert (distil.points, distil.voxel, distil.teacher.image_size, tokenizer.neighbors) == (
        published.LIMIT,
        published.VOXEL,
        published.IMAGE_SIZE,
        16,
    )
    return Recipes(distil, segment, tokenizer)


def measure(data: Input, asked: Recipes, samples: int) -> dict[str, Any]:
    """All kinds of sample of one data set, and the agreement of the steps."""
    worst: dict[str, float] = defaultdict(float)
    for index in range(min(len(data.source), 4)):
        for step, value in disagreement(data.source[index], data.recordings[index], asked.tokenizer, index).items():
            worst[step] = max(worst[step], value)
    return {
        "beams": data.beams,
        "points per scan": int(np.mean([len(data.source[i]) for i in range(len(data.source))])),
        "disagreement": dict(worst),
        "our stages, ms": stages(data, asked.distil, asked.tokenizer, samples),
        "kinds": {kind: compare(makers(kind, data, asked), len(data.source), samples) for kind in KINDS},
    }


def makers(kind: str, data: Input, asked: Recipes) -> dict[str, Make]:
    """The pipelines to compare, the published one first."""
    collate, tokenizer = Collate(asked.tokenizer), asked.tokenizer

    def theirs(index: int, seed: int, project_first: bool = False) -> int:
        rng, recording = np.random.default_rng(seed), data.recordings[index]
        if kind == "distillation":
            camera = int(rng.integers(len(recording.pictures)))
            sample = published.distil_sample(recording, camera, tokenizer, rng, project_first)
        elif kind == "segmentation":
            sample = published.segment_sample(recording, tokenizer, rng)
        else:
            sample = published.full_sample(recording, tokenizer)
        return int(published.collate([sample])["features"].shape[2])

    def ours(index: int, seed: int, occlusion: bool = False) -> int:
        rng, frame = np.random.default_rng(seed), data.source[index]
        if kind == "distillation":
            recipe = asked.distil if occlusion else without_visibility
            sample: Any = distil_sample(frame, recipe, tokenizer, rng)
        elif kind == "segmentation":
            sample = train_sample(frame, asked.segment, tokenizer, rng)
        else:
            sample = full_sample(frame, asked.segment.voxel, tokenizer)
        collate([sample])
        return len(sample.cloud["coords"])

    without_visibility = asked.distil.model_copy(update={"occlusion": False})
    made = {"published": theirs, "ours": ours, "ours, scipy": in_scipy(ours)}
    if kind == "distillation":
        seen: Make = lambda index, seed: ours(index, seed, occlusion=True)  # noqa: E731
        ordered: Make = lambda index, seed: theirs(index, seed, project_first=True)  # noqa: E731
        made["published, projecting first"] = ordered
        made |= {"ours, visibility": seen, "ours, scipy, visibility": in_scipy(seen)}
    return made


def in_scipy(make: Make) -> Make:
    """``make`` as if the extra ``fast`` were not installed."""

    def made(index: int, seed: int) -> int:
        with without_nanoflann():
            return make(index, seed)

    return made


@contextmanager
def without_nanoflann() -> Iterator[None]:
    """Hide nanoflann from the package."""
    found = nearest._nanoflann
    nearest._nanoflann = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        nearest._nanoflann = found


def compare(made: dict[str, Make], frames: int, samples: int) -> dict[str, Any]:
    """Processor seconds of every pipeline on the same frames, taking turns; the first round warms caches."""
    seconds: dict[str, list[float]] = defaultdict(list)
    points: dict[str, list[int]] = defaultdict(list)
    for number in range(-1, samples):
        names = list(made) if number % 2 else list(made)[::-1]
        for name in names:
            start = time.process_time()
            count = made[name](number % frames, number + 1)
            if number >= 0:
                seconds[name].append(time.process_time() - start)
                points[name].append(count)
    base = np.array(seconds["published"])
    return {name: summary(base, np.array(seconds[name]), points[name]) for name in made}


def summary(base: np.ndarray, own: np.ndarray, points: list[int]) -> dict[str, Any]:
    """One pipeline's figures."""
    low, middle, high = np.percentile(base / own, [25, 50, 75])
    return {
        "milliseconds": round(1000 * float(np.median(own)), 2),
        "samples/s/core": round(1 / float(np.median(own)), 1),
        "times as fast": round(float(middle), 2),
        "quartiles": [round(float(low), 2), round(float(high), 2)],
        "points": round(float(np.mean(points))),
    }


def table_rows(name: str, result: dict[str, Any]) -> list[dict[str, object]]:
    """The lines of the printed table."""
    return [
        {"input": name, "sample": kind, "pipeline": pipeline, **{k: str(v) for k, v in figures.items()}}
        for kind, made in result["kinds"].items()
        for pipeline, figures in made.items()
    ]


def table() -> str:
    """The table of ``docs/explanation/speed.md``: samples/s/core, in brackets how many times the published ones."""
    columns = ("published", "published, projecting first", "ours", "ours, visibility", "ours, scipy")
    lines = ["| input | sample | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for name, result in json.loads(RESULT.read_text())["inputs"].items():
        for kind, made in result["kinds"].items():
            cells = [cell(made[column]) if column in made else "" for column in columns]
            lines.append(f"| {name} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(figures: dict[str, Any]) -> str:
    """One entry of the table."""
    ratio = figures["times as fast"]
    return f"{figures['samples/s/core']:.1f}" + (f" ({ratio:.1f} x)" if ratio != 1 else "")


if __name__ == "__main__":
    main()
