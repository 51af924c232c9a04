"""What the methods cost: time and memory of a training step of each, on the same student, scans and teacher.

    python benchmarks/methods_cost.py [--table]

The rows are those of table 1 of ScaLR as ``lidistill reproduce table1`` runs them (contrast with and without a 2D head,
similarity with all cameras and with one) and, after them, the other methods of table 2. A sample is what a loader
worker makes of a scan: pairs, pictures, points; of a step there are two figures, with the teacher asked and with its
maps remembered. Four scans of the synthetic city, 32 beams and six cameras, a WaffleIron-6-64. Processor times of one
thread, medians of alternating repetitions in one process; peak memory is that of a step with the teacher, in a process
of its own, beyond what it held before (median of three). Writes ``results/methods_cost.json``: ratios are the result.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.fabric import Fabric

import lidistill
from lidistill.apps.pretrain import head
from lidistill.apps.reproduce.table_file import load_table
from lidistill.datasets.source import open_source
from lidistill.evaluation.table import markdown_table, text_table
from lidistill.segmenters.store import open_superpixels
from lidistill.students.network import Network
from lidistill.teachers.registry import load_teachers
from lidistill.training.distil import Distillation, FeatureMaps, pixel_loss, superpixel_loss
from lidistill.training.distil_samples import DistilBatch
from lidistill.training.optimizer import build_optimizer
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.samples import Collate, TrainSamples
from memory import peak
from record import RESULTS, write_record

NAME, BASE = "methods_cost", "similarity, one camera"
SCANS, MEMORY = 4, 2.0
OF_TABLE_2 = ("SLidR", "ST-SLidR", "Seal")
WAYS = ("samples", "step with teacher", "step, maps remembered")


def methods() -> dict[str, list[str]]:
    """Row -> overrides of the recipe ``city``."""
    found = {row.name: row.steps[0].options.get("set", []) for row in load_table("table1").city.rows}
    for row in load_table("table2").city.rows:
        kind, _, name = row.name.partition(", ")
        if kind == "WaffleIron" and name in OF_TABLE_2:
            found[name] = row.steps[0].options["set"]
    return found


def prepare(method: str, rig: str) -> dict[str, Callable[[], Any]]:
    """Pieces of work by name: what a method does for one iteration, each repeatable."""
    torch.manual_seed(0)
    recipe = load_recipe("city", methods()[method])
    assert isinstance(recipe, DistilRecipe)
    source = open_source(rig)
    divided = None if recipe.superpixels is None else open_superpixels(source, recipe.superpixels)
    teachers = load_teachers(recipe.teachers)
    network = Network(recipe.student, head(recipe, [teacher.dim for teacher in teachers]))
    learning = Distillation(network, teachers[0].dim, recipe.image_head, unit=recipe.objective != "similarity")
    samples = TrainSamples(source, recipe, network.tokenizer, superpixels=divided)
    optimizer = build_optimizer([{"params": list(learning.parameters())}], recipe)
    fabric = Fabric(accelerator="cpu")

    def make() -> DistilBatch:
        made = Collate(samples.tokenizer)([samples[(0, i)] for i in range(SCANS)]).batch
        assert isinstance(made, DistilBatch)
        return made

    def stepping(maps: FeatureMaps) -> Callable[[], None]:
        loss = superpixel_loss(fabric, recipe, maps, divided.count) if divided else pixel_loss(fabric, recipe, maps, ())

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss(learning, batch)["loss"].backward()
            optimizer.step()

        return step

    batch = make()
    work = {"samples": make, "step with teacher": stepping(FeatureMaps(teachers, 0))}
    return work | {"step, maps remembered": stepping(FeatureMaps(teachers, MEMORY))}


def one_step(method: str, rig: str) -> Callable[[], Any]:
    """A step with the teacher, for its memory."""
    return prepare(method, rig)["step with teacher"]


def measure(rig: str, repetitions: int) -> list[dict[str, Any]]:
    """A row per method."""
    work = {method: prepare(method, rig) for method in methods()}
    spent: dict[tuple[str, str], list[float]] = {(method, way): [] for method in work for way in WAYS}
    for _ in range(repetitions + 1):
        for method, pieces in work.items():
            for way in WAYS:
                start = time.process_time()
                pieces[way]()
                spent[method, way].append(time.process_time() - start)
    ms = {key: 1000 * median(times[1:]) for key, times in spent.items()}  # the first warms up
    mib = {method: median(peak(one_step, method, rig) for _ in range(3)) for method in work}
    return [
        {
            "method": method,
            "ms": {way: round(ms[method, way]) for way in WAYS},
            "MiB": round(mib[method]),
            "time ratio": {way: round(ms[method, way] / ms[BASE, way], 2) for way in WAYS},
            "memory ratio": round(mib[method] / mib[BASE], 2),
        }
        for method in work
    ]


def table_rows() -> list[dict[str, object]]:
    """The ratios."""
    rows = []
    for row in json.loads((RESULTS / f"{NAME}.json").read_text())["rows"]:
        times = {way: f"{row['time ratio'][way]:.2f}" for way in WAYS}
        rows.append({"method": row["method"], **times, "memory": f"{row['memory ratio']:.2f}"})
    return rows


def table() -> str:
    """For docs/explanation/tables.md."""
    return markdown_table(table_rows())


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--table", action="store_true", help="only print the table of the committed results")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rig = Path(folder) / "rig"
        lidistill.simulate(rig, sensor="spinning-32", scenes=SCANS // 2, frames=2, seed=900)
        lidistill.superpixels(str(rig))
        rows = measure(str(rig), args.repetitions)
    what = f"one iteration of {SCANS} scans, one thread; ratios to {BASE}"
    write_record(NAME, {"what": what, "repetitions": args.repetitions, "rows": rows})
    print(text_table(table_rows()))


if __name__ == "__main__":
    main()
