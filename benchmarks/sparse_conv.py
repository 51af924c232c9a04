"""Sparse convolutions of ours against im2col and against spconv: time and memory of whole MinkUNets.

    python benchmarks/sparse_conv.py [--real /data] [--spconv FOLDER] [--only cpu|cuda]

All ways share the network, the weights and the kernel maps, which the loader's workers prepare, and give the same
features (checked). ``im2col`` is the straightforward way: a table of the 27 neighbours of every voxel, all their rows
gathered, one product. ``spconv`` calls the compiled gather-multiply-scatter of spconv 2 with our maps, in the forward
pass; its backward pass asks for a GPU. FOLDER is where it was installed: ``pip install --no-deps --target FOLDER
spconv "cumm<0.8" pccm ccimport pybind11 fire lark portalocker ninja``, since it is no dependency of ours.

Scans: one of the synthetic city and, with ``--real``, one of SemanticKITTI; voxels of 0.1 m. Processor times of one
thread, medians of alternating repetitions in one process; peak memory is that of a process of its own beyond what it
held before. Writes ``results/sparse_conv.json``; the ratios are the result.

Where there is a GPU, ours is also set against spconv there, chosen by ``LIDISTILL_SPARSE_CONV`` as a user would
(``pip install spconv-cu126``, or the one for your CUDA; the conversion of the maps counts): milliseconds between CUDA
events, medians of alternating passes, and the most memory that torch held besides what it held before. Writes
``results/sparse_conv_cuda.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from lidistill.datasets.source import open_source
from lidistill.evaluation.table import text_table
from lidistill.sensing.frame import Frame
from lidistill.students import sparse, spconv_backend
from lidistill.students.batch import PointBatch
from lidistill.students.registry import build_student, student_config
from lidistill.students.sparse import KernelMap
from lidistill.students.spconv_backend import IndicePairs
from lidistill.students.student import Student
from lidistill.transforms.features import point_features
from memory import peak
from record import RESULTS, write_record

STUDENTS = ("minkunet-18-96", "minkunet-34-96")
PASSES = ("forward", "forward and backward")
RESULT = RESULTS / "sparse_conv.json"
WARM = 3
"""Passes on a GPU that do not count: in the first, spconv tries its kernels."""

Convolution = Callable[[Tensor, Tensor, KernelMap], Tensor]


# ---- the other ways; what they make of a map is made once, as our maps are in the loader


def once(make: Callable[[KernelMap], Any]) -> Callable[[KernelMap], Any]:
    """Keeps what was made of a map: maps of one batch are views of the same memory in every pass."""
    kept: dict[tuple[int, ...], Any] = {}

    def found(where: KernelMap) -> Any:
        _, there, here = where.steps[-1]
        key = (where.inputs, where.outputs, there.data_ptr(), here.data_ptr())
        if key not in kept:
            kept[key] = make(where)
        return kept[key]

    return found


def im2col(voxels: Tensor, weight: Tensor, where: KernelMap) -> Tensor:
    """As ``sparse.sparse_conv``: neighbours that are not there are a row of zeros."""
    rows = torch.cat([voxels, voxels.new_zeros(1, voxels.shape[1])])
    gathered = rows.index_select(0, neighbours(where).flatten()).view(where.outputs, -1)
    return gathered @ weight.flatten(0, 1)


@once
def neighbours(where: KernelMap) -> Tensor:
    """(outputs, positions): the input row that an output row meets at every kernel position."""
    found = torch.full((len(where.steps), where.outputs), where.inputs)
    for number, there, here in where.steps:
        found[number, slice(None) if here is None else here] = torch.arange(where.inputs) if there is None else there
    return found.T.contiguous()


def spconv(voxels: Tensor, weight: Tensor, where: KernelMap) -> Tensor:
    """As ``sparse.sparse_conv``, by spconv's native algorithm."""
    from spconv.core import ConvAlgo
    from spconv.pytorch import ops

    found, filters = spconv_pairs(where), spconv_filters(weight)
    result: Tensor = ops.indice_conv(
        voxels, filters, found.pairs, found.counts, where.outputs, False, found.submanifold, algo=ConvAlgo.Native
    )
    return result


spconv_pairs = once(IndicePairs.of)


def spconv_version() -> str:
    """The distribution is called spconv on a processor, spconv-cu126 and so on for a GPU."""
    from spconv import __version__

    return str(__version__)


@cache
def spconv_filters(weight: Tensor) -> Tensor:
    """(outputs, positions, inputs)."""
    return weight.detach().permute(2, 0, 1).contiguous()


def convolving(way: str) -> AbstractContextManager[Any]:
    """All sparse convolutions are done this way."""
    ways: dict[str, Convolution] = {"ours": sparse.sparse_conv, "im2col": im2col, "spconv": spconv}
    return patch.object(sparse, "sparse_conv", ways[way])


# ---- inputs


def city(folder: Path) -> Frame:
    """A scan of the synthetic city by 64 beams, as dense as a real one."""
    from lidistill.simulator import simulate
    from lidistill.simulator.sensors import RIGS

    rig = RIGS["spinning-64"]
    RIGS["spinning-64-full-size"] = replace(rig, lidar=replace(rig.lidar, azimuths=2100))
    simulate(folder, sensor="spinning-64-full-size", scenes=1, frames=1, seed=700)
    return open_source(str(folder))[0]


def save(frame: Frame, path: Path) -> None:
    """Points and features, as the loader's workers get them."""
    sensor = frame.sensor if frame.sensor.intensity else replace(frame.sensor, intensity=(0.3, 0.2))
    np.savez(path, coords=frame.points, features=point_features(frame.points, frame.intensity, sensor))


def prepared(student: str, scan: Path, points: int | None = None) -> tuple[Student, PointBatch]:
    """The network and its batch of one scan, or of some points of it."""
    torch.manual_seed(0)
    network = build_student(student_config(student))
    arrays = np.load(scan)
    seen = np.flatnonzero(network.tokenizer.inside(arrays["coords"]))
    kept = np.random.default_rng(0).permutation(seen)[:points]
    return network, network.tokenizer.collate([network.tokenizer(arrays["coords"][kept], arrays["features"][kept])])


# ---- measuring


def step(network: Student, batch: PointBatch, way: str, what: str) -> Tensor:
    """One pass."""
    with convolving(way):
        if what == "forward":
            with torch.no_grad():
                features: Tensor = network.eval()(batch)
                return features
        network.train().zero_grad()
        output: Tensor = network(batch)
        output.square().mean().backward()
        return output.detach()


def check(student: str, scan: Path, ways: list[str]) -> None:
    """Raises unless all ways give our features, and im2col our gradients too (in float64, on a part of the scan)."""
    network, batch = prepared(student, scan)
    ours = step(network, batch, "ours", "forward")
    for way in ways:
        differing = (step(network, batch, way, "forward") - ours).abs().max() / ours.abs().max()
        if not differing < 1e-4:
            raise RuntimeError(f"{student}: the features of {way} differ by a share of {differing:.1e}")
    network, batch = prepared(student, scan, points=500)
    network, batch = network.double(), replace(batch, features=batch.features.double())
    gradients = []
    for way in ("ours", "im2col"):
        step(network, batch, way, PASSES[1])
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def milliseconds(network: Student, batch: PointBatch, what: str, ways: list[str], repetitions: int) -> dict[str, float]:
    """Median processor time of a pass each way."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way in ways:
            start = time.process_time()
            step(network, batch, way, what)
            spent[way].append(1000 * (time.process_time() - start))
    return {way: median(times) for way, times in spent.items()}


def on_device(student: str, scan: Path, what: str, repetitions: int) -> dict[str, Any]:
    """One row of the GPU's result: our own code and spconv as the variable of the environment chooses them."""
    network, batch = prepared(student, scan)
    network, batch = network.cuda(), batch.to("cuda")
    ways = {"ours": "torch", "spconv": "spconv"}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    memory: dict[str, float] = {}
    features: dict[str, Tensor] = {}
    for repetition in range(-WARM, repetitions):
        for way, chosen in ways.items():
            with patch.dict(os.environ, {spconv_backend.VARIABLE: chosen}):
                spconv_backend.chosen.cache_clear()
                network.zero_grad()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                features[way] = step(network, batch, "ours", what)
                end.record()
                torch.cuda.synchronize()
            memory[way] = (torch.cuda.max_memory_allocated() - before) / 2**20
            if repetition >= 0:
                spent[way].append(start.elapsed_time(end))
    differing = (features["spconv"] - features["ours"]).norm() / features["ours"].norm()
    if not differing < 1e-3:
        raise RuntimeError(f"{student}: the features of spconv differ by a share of {differing:.1e}")
    times = {way: median(found) for way, found in spent.items()}
    return {
        "device": torch.cuda.get_device_name(),
        "student": student,
        "pass": what,
        "points": len(batch),
        "voxels": int(batch.prepared["voxels"][0, -1]),
        "ms": {way: round(value, 2) for way, value in times.items()},
        "MiB": {way: round(value) for way, value in memory.items()},
        "time ratio": round(times["spconv"] / times["ours"], 2),
    }


def one_pass(student: str, scan: Path, what: str, way: str) -> Callable[[], Tensor]:
    """A pass, for its memory."""
    network, batch = prepared(student, scan)
    return partial(step, network, batch, way, what)


def measured(student: str, scan: Path, what: str, ways: list[str], repetitions: int) -> dict[str, Any]:
    """One row of the result."""
    network, batch = prepared(student, scan)
    times = milliseconds(network, batch, what, ways, repetitions)
    memory = {way: peak(one_pass, student, scan, what, way) for way in ways}
    return {
        "student": student,
        "pass": what,
        "points": len(batch),
        "voxels": int(batch.prepared["voxels"][0, -1]),
        "ms": {way: round(value) for way, value in times.items()},
        "MiB": {way: round(value) for way, value in memory.items()},
        "time ratio": {way: round(times[way] / times["ours"], 2) for way in ways},
        "memory ratio": {way: round(memory[way] / memory["ours"], 2) for way in ways},
    }


def table() -> str:
    """The table of ``docs/explanation/speed.md``: how many times ours the others need."""
    ways = ("im2col", "spconv")
    heads = [f"{way}, {what}" for way in ways for what in ("time", "memory")]
    lines = [
        "| scan | voxels | student | pass | ours | " + " | ".join(heads) + " |",
        "|---|---:|---|---|---:|" + "---:|" * len(heads),
    ]
    for row in json.loads(RESULT.read_text())["rows"]:
        ours = f"{row['ms']['ours'] / 1000:.1f} s, {row['MiB']['ours'] / 1024:.1f} GiB"
        ratios = [row[f"{what} ratio"].get(way) for way in ways for what in ("time", "memory")]
        cells = ["" if ratio is None else f"{ratio:.1f} x" for ratio in ratios]
        first = [row["scan"], str(row["voxels"]), f"`{row['student']}`", row["pass"], ours]
        lines.append("| " + " | ".join(first + cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--real", type=Path, help="folder with semantickitti/")
    parser.add_argument("--spconv", type=Path, help="folder where spconv was installed")
    parser.add_argument("--only", choices=("cpu", "cuda"), help="one part alone (default: both, where there is a GPU)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="print the table of the committed result and stop")
    args = parser.parse_args()
    if args.table:
        print(table(), end="")
        return
    torch.set_num_threads(1)
    if args.spconv:
        sys.path.append(str(args.spconv))
    with tempfile.TemporaryDirectory() as folder:
        scans = {"city, 64 beams": Path(folder) / "city.npz"}
        save(city(Path(folder) / "city"), scans["city, 64 beams"])
        if args.real:
            scans["SemanticKITTI"] = Path(folder) / "kitti.npz"
            save(open_source(f"semantic-kitti:{args.real / 'semantickitti'}")[0], scans["SemanticKITTI"])
        if args.only != "cuda":
            processor(scans, args.repetitions, bool(args.spconv))
        if args.only == "cuda" or (args.only is None and torch.cuda.is_available()):
            device(scans, max(args.repetitions, 20))


def processor(scans: dict[str, Path], repetitions: int, with_spconv: bool) -> None:
    """Ours, im2col and spconv on one thread."""
    rows = []
    for name, scan in scans.items():
        for student in STUDENTS:
            check(student, scan, ["im2col", *(["spconv"] if with_spconv else [])])
            # with a backward pass, im2col would take 10 GiB on the real scan
            for what in PASSES if name.startswith("city") else PASSES[:1]:
                ways = ["ours", "im2col", *(["spconv"] if with_spconv and what == "forward" else [])]
                rows.append({"scan": name, **measured(student, scan, what, ways, repetitions)})
                print(text_table([{k: str(v) for k, v in rows[-1].items()}]), flush=True)
    result = {
        "what": "one pass of a network on one scan, one thread; ratios to ours",
        "spconv": spconv_version() if with_spconv else None,
        "repetitions": repetitions,
        "rows": rows,
    }
    write_record("sparse_conv", result)


def device(scans: dict[str, Path], repetitions: int) -> None:
    """Ours and spconv on the GPU."""
    rows = []
    for name, scan in scans.items():
        for student in STUDENTS:
            for what in PASSES:
                rows.append({"scan": name, **on_device(student, scan, what, repetitions)})
                print(text_table([{k: str(v) for k, v in rows[-1].items()}]), flush=True)
    what = "one pass of a network on one scan, float32, on the device of the row; ratios to ours"
    result = {"what": what, "spconv": spconv_version(), "repetitions": repetitions, "rows": rows}
    write_record("sparse_conv_cuda", result)


if __name__ == "__main__":
    main()
