"""Which figure that needs no label of the target tells what adaptation was worth there?

    lidistill reproduce adaptation --seeds 1                  # the runs that are asked
    python benchmarks/which_round.py --seeds 1 --work runs/reproduce

For every pair of lidars whose runs are there: the heads of the source, and what AdaBN, entropy, CoSMix and a round of
self-training made of them. Each of these networks gets every figure below, from scans of the target that training has
seen and without labels, and its true mIoU on those that evaluate. A figure is worth what the network that it would
choose gains or costs. Writes ``results/which_round.json`` and prints the table.

agreement   share of points whose class stays when the scan is turned (what ``lidistill adapt`` asks)
confidence  mean of the largest probability
information entropy of the mean prediction less the mean entropy (mutual information of point and class)
source      mIoU on the source's own split val, whose labels are known
pictures    mean IoU with what the source's head in the teacher's space says of the teacher's features in the pictures
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn import functional

from lidistill.apps.reproduce.plan import Place, last_job
from lidistill.apps.reproduce.table_file import Column, Line, Scale, load_table
from lidistill.datasets.source import Source
from lidistill.evaluation.agreement import turned
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import as_learned, evaluate, look
from lidistill.evaluation.table import markdown_table
from lidistill.sensing.frame import IGNORE, Frame
from lidistill.sensing.pairing import pair
from lidistill.students.heads import TwoViews
from lidistill.students.network import Network
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.images import prepare
from lidistill.teachers.registry import load_teacher
from lidistill.teachers.sampling import sample
from lidistill.teachers.teacher import Teacher
from lidistill.training.data import open_split
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import load_network

RESULTS = Path(__file__).resolve().parent / "results" / "which_round.json"
GIVEN = "two heads"
ADAPTED = ("AdaBN", "entropy", "CoSMix", "self-training")
FIGURES = ("agreement", "confidence", "information", "source", "pictures")
FRAMES = 10


def file_of(scale: Scale, row: Line, column: Column, seed: int, place: Place) -> Path:
    """The weights of a cell: of adaptation those of its last round, kept or not."""
    job = last_job(scale, row, column, seed, place)
    if job.verb == "evaluate":
        assert job.parent is not None
        job = job.parent
    rounds = sorted((job.folder / "rounds").glob("*/model.safetensors"))
    return rounds[-1] if rounds else job.folder / "model.safetensors"


def some(source: Source) -> list[Frame]:
    """Evenly spread frames."""
    return [source[int(n)] for n in np.unique(np.linspace(0, len(source) - 1, min(FRAMES, len(source))).astype(int))]


def miou(network: Network, source: Source, classes: tuple[str, ...], voxel: float) -> float:
    """Over all frames of ``source``."""
    return evaluate(network, source, classes, voxel, read=as_learned).confusion.miou()


def ask_pictures(network: Network, teacher: Teacher, size: tuple[int, int], frame: Frame) -> NDArray[np.integer]:
    """(N,) ids: what the network's head in the teacher's space says of the pictures; 255 where no camera sees."""
    said = np.full(len(frame), IGNORE, np.int64)
    assert isinstance(network.head, TwoViews)
    for view in frame.views:
        pairs = pair(frame, view)
        features = teacher(prepare(view.image(), size)[None])
        pixels = torch.from_numpy(pairs.pixels * (size[1] / view.width, size[0] / view.height)).float()
        at = sample(features, torch.zeros(len(pixels), dtype=torch.long), pixels, size, teacher.grid)
        said[pairs.rows] = network.head.said(functional.normalize(at.float(), dim=1)).argmax(1).numpy()
    return said


def figures(
    network: Network, voxel: float, frames: list[Frame], pictures: list[NDArray[np.integer]]
) -> dict[str, float]:
    """All that is known of a network without labels but its mIoU on the source."""
    stays, sure, means, entropies, classes = [], [], [], [], network.head_config.outputs
    confusion = Confusion(tuple(map(str, range(classes))))
    for frame, shown in zip(frames, pictures, strict=True):
        seen = look(network, frame, voxel)
        guess = seen.prediction()
        stays.append(float((guess == look(network, turned(frame), voxel).prediction()).mean()))
        said = seen.outputs.softmax(1)
        sure.append(float(said.max(1).values.mean()))
        means.append(said.mean(0))
        entropies.append(float(-(said * said.clamp_min(1e-12).log()).sum(1).mean()))
        confusion.add(shown, guess)
    mean = torch.stack(means).mean(0)
    whole = float(-(mean * mean.clamp_min(1e-12).log()).sum())
    return {
        "agreement": fmean(stays),
        "confidence": fmean(sure),
        "information": whole - fmean(entropies),
        "pictures": float(confusion.iou()[confusion.truth() > 0].mean()),
    }


@torch.inference_mode()
def ask(scale: Scale, row: Line, seed: int, place: Place) -> dict[str, dict[str, float]] | None:
    """Figures and truth of every network of a row by column; None where runs are missing."""
    columns = {column.name: column for column in scale.columns}
    files = {name: file_of(scale, row, columns[name], seed, place) for name in (GIVEN, *ADAPTED)}
    if not all(file.is_file() for file in files.values()):
        return None
    recipe = load_recipe("city")
    assert isinstance(recipe, DistilRecipe)
    said: TeacherConfig = recipe.teachers[0]
    job = last_job(scale, row, columns["self-training"], seed, place)
    source, target = job.sources
    given, model = load_network(files[GIVEN])
    assert model.classes is not None
    unlabelled = some(open_split(target, "train"))
    teacher = load_teacher(said)
    pictures = [ask_pictures(given, teacher, said.image_size, frame) for frame in unlabelled]
    found = {}
    for name, file in files.items():
        network, _ = load_network(file)
        at_home, abroad = (open_split(data, "val") for data in (source, target))
        found[name] = figures(network, model.voxel, unlabelled, pictures) | {
            "source": miou(network, at_home, model.classes, model.voxel),
            "truth": miou(network, abroad, model.classes, model.voxel),
        }
    return found


def main() -> None:
    """Ask all that is not in the results yet, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--table", action="store_true", help="only print the table of the results that are there")
    args = parser.parse_args()
    known = read()
    if not args.table:
        scale = load_table("adaptation").at("city")
        for seed in args.seeds:
            for row in scale.rows:
                key = f"{row.name}, seed {seed}"
                if key not in known and (found := ask(scale, row, seed, Place(args.work, Path("data")))) is not None:
                    known[key] = found
                    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
                    print(key, flush=True)
    print(table())


def read() -> dict[str, dict[str, dict[str, float]]]:
    """The results that are there."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    return found


def table() -> str:
    """What every figure would have chosen, in points of mIoU over the heads of the source, over pairs and seeds."""
    rows = []
    for figure in (*FIGURES, "truth"):
        order, chosen, asked = [], [], []
        for networks in read().values():
            names = list(networks)
            truth = np.array([networks[name]["truth"] for name in names])
            value = np.array([networks[name][figure] for name in names])
            order.append(float(spearmanr(value, truth).statistic))
            chosen.append(truth[value.argmax()] - networks[GIVEN]["truth"])
            both = networks[GIVEN], networks["self-training"]
            asked.append(max(both, key=lambda one: one[figure])["truth"] - networks[GIVEN]["truth"])
        rows.append(
            {
                "figure": figure,
                "rank correlation": f"{fmean(order):.2f}",
                "best of five by it": f"{100 * fmean(chosen):+.1f}",
                "at worst": f"{100 * min(chosen):+.1f}",
                "self-training or not by it": f"{100 * fmean(asked):+.1f}",
                "at worst ": f"{100 * min(asked):+.1f}",
            }
        )
    return markdown_table(rows)


if __name__ == "__main__":
    main()
