"""Which figure that needs no label of the target tells what adaptation was worth there?

    lidistill reproduce self-training --seeds 1               # the runs that are asked
    python benchmarks/which_round.py --seeds 1 --work runs/reproduce

For every pair of lidars: the heads of the source, and what the columns of that table (AdaBN, entropy, CoSMix,
self-training and its variants) made of them, as far as their runs are there. Each of these networks gets every figure
below, from scans of the target that training has seen and without labels, and its true mIoU on those that evaluate. A
figure is worth what the network that it would choose gains or costs. Writes ``results/which_round.json`` and prints two
tables: what the figures are worth, and what each network gained, whether a judge would have kept it or not.

agreement   share of points whose class stays when the scan is turned
confidence  mean of the largest probability
information entropy of the mean prediction less the mean entropy (mutual information of point and class)
source      mIoU on the source's own split val, whose labels are known
pictures    mean IoU with what the source's head in the teacher's space finds in the pictures (what adapt asks)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from lidistill.apps.reproduce.plan import Place, last_job
from lidistill.apps.reproduce.table_file import Column, Line, Scale, load_table
from lidistill.datasets.source import Source, evenly
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.evaluation.agreement import FRAMES, agreement
from lidistill.evaluation.inference import as_learned, evaluate, look
from lidistill.evaluation.opinion import ask_pictures
from lidistill.evaluation.table import markdown_table
from lidistill.students.network import Network
from lidistill.training.data import open_split
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import load_network

RESULTS = Path(__file__).resolve().parent / "results" / "which_round.json"
GIVEN = "two heads"
PLAIN = "self-training"
FIGURES = ("agreement", "confidence", "information", "source", "pictures")


def file_of(scale: Scale, row: Line, column: Column, seed: int, place: Place) -> Path:
    """The weights of a cell: of adaptation those of its last round, kept or not, or those that were given."""
    job = last_job(scale, row, column, seed, place)
    if job.verb == "evaluate":
        assert job.parent is not None
        job = job.parent
    rounds = sorted((job.folder / "rounds").glob("*/model.safetensors"))
    return rounds[-1] if rounds else job.folder / "model.safetensors"


def miou(network: Network, source: Source, classes: tuple[str, ...], voxel: float) -> float:
    """Over all frames of ``source``."""
    return evaluate(network, source, classes, voxel, read=as_learned).confusion.miou()


def certainty(network: Network, target: Unlabelled, voxel: float) -> dict[str, float]:
    """What the probabilities of the points alone say."""
    sure, means, entropies = [], [], []
    for index in evenly(target, FRAMES):
        said = look(network, target[index], voxel).outputs.softmax(1)
        sure.append(float(said.max(1).values.mean()))
        means.append(said.mean(0))
        entropies.append(entropy(said))
    whole = entropy(torch.stack(means).mean(0, keepdim=True))
    return {"confidence": fmean(sure), "information": whole - fmean(entropies)}


def entropy(said: Tensor) -> float:
    """Mean over the rows of (M, C) probabilities."""
    return float(-(said * said.clamp_min(1e-12).log()).sum(1).mean())


def ask(scale: Scale, row: Line, seed: int, place: Place, known: Collection[str]) -> dict[str, dict[str, float]]:
    """Figures and truth by column of the networks of a row that are there and not ``known``."""
    columns = {column.name: column for column in scale.columns}
    files = {name: file_of(scale, row, column, seed, place) for name, column in columns.items()}
    asked = {name: file for name, file in files.items() if name not in known and file.is_file()}
    if not asked or not files[GIVEN].is_file():
        return {}
    recipe = load_recipe("city")
    assert isinstance(recipe, DistilRecipe)
    source, target = last_job(scale, row, columns[PLAIN], seed, place).sources
    given, model = load_network(files[GIVEN])
    assert model.classes is not None
    unlabelled = Unlabelled(open_split(target, "train"))
    at_home, abroad = (open_split(data, "val") for data in (source, target))
    pictures = ask_pictures(given, recipe, unlabelled, model.voxel)
    found = {}
    for name, file in asked.items():
        network, _ = load_network(file)
        found[name] = {
            "agreement": agreement(network, unlabelled, model.voxel),
            **certainty(network, unlabelled, model.voxel),
            "source": miou(network, at_home, model.classes, model.voxel),
            "pictures": pictures(network),
            "truth": miou(network, abroad, model.classes, model.voxel),
        }
    return found


def main() -> None:
    """Ask all that is not in the results yet, print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--table", action="store_true", help="only print the tables of the results that are there")
    args = parser.parse_args()
    known = read()
    if not args.table:
        scale = load_table("self-training").at("city")
        for seed in args.seeds:
            for row in scale.rows:
                key = f"{row.name}, seed {seed}"
                if found := ask(scale, row, seed, Place(args.work, Path("data")), known.get(key, ())):
                    known[key] = known.get(key, {}) | found
                    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
                    print(f"{key}: {', '.join(found)}", flush=True)
    print(table())
    print(gains())


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
            both = networks[GIVEN], networks[PLAIN]
            asked.append(max(both, key=lambda one: one[figure])["truth"] - networks[GIVEN]["truth"])
        rows.append(
            {
                "figure": figure,
                "rank correlation": f"{fmean(order):.2f}",
                "best of all by it": f"{100 * fmean(chosen):+.1f}",
                "at worst": f"{100 * min(chosen):+.1f}",
                "self-training or not by it": f"{100 * fmean(asked):+.1f}",
                "at worst ": f"{100 * min(asked):+.1f}",
            }
        )
    return markdown_table(rows)


def gains() -> str:
    """What every network is worth more than the heads of the source, in points of mIoU on the target."""
    known = read()
    names = dict.fromkeys(name for networks in known.values() for name in networks if name != GIVEN)
    rows = []
    for name in names:
        found = [100 * (one[name]["truth"] - one[GIVEN]["truth"]) for one in known.values() if name in one]
        rows.append(
            {
                "network": name,
                "pairs and seeds": len(found),
                "mean": f"{fmean(found):+.1f}",
                "at worst": f"{min(found):+.1f}",
                "at best": f"{max(found):+.1f}",
            }
        )
    return markdown_table(rows)


if __name__ == "__main__":
    main()
