"""Where the loader's time goes: milliseconds per stage and samples per second and core, in one run.

    python benchmarks/loader.py SOURCE [--recipe scalr] [--samples 40]

Runs every stage of a distillation sample on one thread over the frames of SOURCE and writes
``results/loader.json``. Shares compare stages of one run; the absolute rate depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from lidistill.evaluation.card import this_hardware, this_software
from lidistill.evaluation.table import text_table
from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.pairing import pair
from lidistill.students.registry import build_student
from lidistill.teachers.images import prepare
from lidistill.training.data import open_split
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.samples import distil_sample
from lidistill.transforms.augment import flip_xy, limit_points, rotate_z, scale
from lidistill.transforms.features import point_features
from lidistill.transforms.voxels import voxel_sample

RESULT = Path(__file__).resolve().parent / "results" / "loader.json"


class Stages:
    """Seconds spent per named stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("--recipe", default="scalr")
    parser.add_argument("--samples", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(args.recipe)
    assert isinstance(recipe, DistilRecipe)
    source = open_split(args.source, None)
    tokenizer = build_student(recipe.student.model_copy(update={"depth": 1, "width": 8, "norm": "batch"})).tokenizer
    stages = Stages()
    rng = np.random.default_rng(0)
    points = pairs_seen = 0
    for number in range(args.samples + 1):
        if number == 1:  # the first sample warms caches
            stages.seconds.clear()
            points = pairs_seen = 0
        index = int(rng.integers(len(source)))
        with stages("read scan and labels"):
            frame = source[index]
        view = frame.views[rng.integers(len(frame.views))]
        with stages("project"):
            pixels, depth = project(frame.points, view)
            in_image(pixels, depth, view.height, view.width)
        with stages("pair (projection and visibility)"):
            pairs = pair(frame, view, occlusion=recipe.occlusion)
        seen = frame.points[pairs.rows]
        with stages("sample voxels"):
            kept = voxel_sample(seen, recipe.voxel, rng.permutation(len(seen)))
            kept = kept[limit_points(seen[kept], recipe.points, rng)]
        with stages("augment, features"):
            coords = scale(flip_xy(rotate_z(seen[kept], rng), rng), rng)
            inside = tokenizer.inside(coords)
            features = point_features(coords[inside], frame.intensity[pairs.rows[kept[inside]]], frame.sensor)
        with stages("neighbours and cells"):
            tokenizer(coords[inside], features)
        with stages("decode image"):
            image = view.image()
        with stages("resize image"):
            prepare(image, recipe.teacher.image_size, antialias=recipe.teacher.antialias)
        with stages("whole sample"):
            distil_sample(source[index], recipe, tokenizer, rng)
        points += len(frame)
        pairs_seen += int(inside.sum())
    milliseconds = {name: 1000 * seconds / args.samples for name, seconds in stages.seconds.items()}
    whole = milliseconds["whole sample"]
    rows = [{"stage": n, "ms": round(ms, 2), "share %": round(100 * ms / whole)} for n, ms in milliseconds.items()]
    print(text_table(rows))
    print(f"{1000 / whole:.1f} samples/s/core")
    print(f"{points // args.samples} points and {pairs_seen // args.samples} pairs a sample")
    shown = args.source.replace(os.path.expanduser("~"), "~")
    result = {
        "source": shown,
        "recipe": args.recipe,
        "samples": args.samples,
        "points_per_scan": points // args.samples,
        "pairs_per_sample": pairs_seen // args.samples,
        "milliseconds": {name: round(ms, 3) for name, ms in milliseconds.items()},
        "samples_per_second_per_core": round(1000 / whole, 2),
        "hardware": this_hardware().model_dump(),
        "software": this_software(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known[f"{source.name}, {args.recipe}"] = result
    RESULT.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
