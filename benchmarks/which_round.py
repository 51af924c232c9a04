"""Which figure that needs no label of the target tells what adaptation was worth there?

    lidistill reproduce adaptation                            # the runs that are asked
    python benchmarks/which_round.py --work runs/reproduce

For every pair of lidars and seed: the two heads of the source, and what the columns of that table made of them (AdaBN,
entropy minimisation, CoSMix, self-training of the heads and of all weights), whether it was kept or not, as far as
their runs are there. Each of these networks gets every figure below, from scans of the target that training has seen
and without labels, and its true mIoU on those that evaluate. A figure is worth what the networks that it would keep
gain or cost. Writes ``results/which_round.json`` and prints two tables: what the figures are worth, and what each
network gained.

confidence  mean of the largest probability
information mutual information of point and class (what adapt asks where there are no pictures)
density     entropy of the neighbourhood of 100 points of every scan among them (soft neighbourhood density, ICCV 2021)
pictures    mean IoU with what the source's head in the space of the teachers finds in the pictures
both        the last and 0.4 of the information (what adapt asks)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from statistics import fmean

import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional
from torch.special import entr

from lidistill.apps.adapt import INFORMATION
from lidistill.apps.reproduce.plan import Place, last_job
from lidistill.apps.reproduce.table_file import Column, Line, Scale, load_table
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import as_learned, evaluate, look
from lidistill.evaluation.information import mutual_information
from lidistill.evaluation.opinion import Opinion, ask_pictures
from lidistill.evaluation.table import markdown_table
from lidistill.students.network import Network
from lidistill.training.data import open_split
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import load_network

RESULTS = Path(__file__).resolve().parent / "results" / "which_round.json"
GIVEN = "two heads"
ADAPTED = ("AdaBN", "entropy", "CoSMix", "self-training", "self-training, all weights", "source labels, all weights")
FIGURES = ("confidence", "information", "density", "pictures", "both")
POINTS, TEMPERATURE = 100, 0.05
"""Of the density; its temperature is the published one."""


def file_of(scale: Scale, row: Line, column: Column, seed: int, place: Place) -> Path:
    """The weights of a cell: of adaptation those of its last round, kept or not, or those that were given."""
    job = last_job(scale, row, column, seed, place)
    if job.verb == "evaluate":
        assert job.parent is not None
        job = job.parent
    rounds = sorted((job.folder / "rounds").glob("*/model.safetensors"))
    return rounds[-1] if rounds else job.folder / "model.safetensors"


def figures(network: Network, pictures: Opinion) -> dict[str, float]:
    """All figures of one network."""
    said, agreed = [], Confusion([str(number) for number in range(network.head_config.outputs)])
    for index, classes in pictures.said.items():
        seen = look(network, pictures.target[index], pictures.voxel)
        said.append(seen.outputs.softmax(1))
        agreed.add(classes, seen.prediction())
    tells, agrees = mutual_information(said), float(agreed.iou()[agreed.truth() > 0].mean())
    return {
        "confidence": fmean(float(one.max(1).values.mean()) for one in said),
        "information": tells,
        "density": density(said),
        "pictures": agrees,
        "both": agrees + INFORMATION * tells,
    }


def density(said: list[Tensor]) -> float:
    """Mean entropy in nats of the neighbours of some points, by the cosines of their probabilities."""
    draw = torch.Generator().manual_seed(0)
    some = functional.normalize(torch.cat([one[torch.randperm(len(one), generator=draw)[:POINTS]] for one in said]))
    alike = (some @ some.T / TEMPERATURE).fill_diagonal_(-torch.inf).softmax(1)
    return float(entr(alike).sum(1).mean())


def ask(scale: Scale, row: Line, seed: int, place: Place, known: Collection[str]) -> dict[str, dict[str, float]]:
    """Figures and truth by column of the networks of a row that are there and not ``known``."""
    columns = {column.name: column for column in scale.columns if column.name in (GIVEN, *ADAPTED)}
    files = {name: file_of(scale, row, column, seed, place) for name, column in columns.items()}
    asked = {name: file for name, file in files.items() if name not in known and file.is_file()}
    if not any(name in asked for name in ADAPTED) or not files[GIVEN].is_file():
        return {}
    recipe = load_recipe("city")
    assert isinstance(recipe, DistilRecipe)
    (target,) = last_job(scale, row, columns[GIVEN], seed, place).sources
    given, model = load_network(files[GIVEN])
    assert model.classes is not None
    unlabelled, abroad = (
        Unlabelled(open_split(target, "train", model.sensors)),
        open_split(target, "val", model.sensors),
    )
    pictures = ask_pictures(given, recipe, unlabelled, model.voxel)
    found = {}
    for name, file in asked.items():
        network, _ = load_network(file)
        truth = evaluate(network, abroad, model.classes, model.voxel, read=as_learned).confusion.miou()
        found[name] = figures(network, pictures) | {"truth": truth}
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
        scale = load_table("adaptation").at("city")
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
    """What every figure would have kept, in points of mIoU over the heads of the source, over pairs and seeds."""
    rows = []
    for figure in (*FIGURES, "truth"):
        order, chosen, kept = [], [], []
        for networks in read().values():
            given, others = networks[GIVEN], [one for name, one in networks.items() if name != GIVEN]
            truth = [one["truth"] for one in networks.values()]
            order.append(float(spearmanr([one[figure] for one in networks.values()], truth).statistic))
            chosen.append(max(networks.values(), key=lambda one: one[figure])["truth"] - given["truth"])
            kept += [one["truth"] - given["truth"] if one[figure] > given[figure] else 0.0 for one in others]
        rows.append(
            {
                "figure": figure,
                "rank correlation": f"{fmean(order):.2f}",
                "each, where it rises": f"{100 * fmean(kept):+.1f}",
                "at worst": f"{100 * min(kept):+.1f}",
                "the best by it": f"{100 * fmean(chosen):+.1f}",
                "at worst ": f"{100 * min(chosen):+.1f}",
            }
        )
    return markdown_table(rows)


def gains() -> str:
    """What every network is worth more than the heads of the source, in points of mIoU on the target."""
    rows = []
    for name in ADAPTED:
        both = [(one[name], one[GIVEN]) for one in read().values() if name in one]
        found = [100 * (one["truth"] - given["truth"]) for one, given in both]
        more = [one["both"] > given["both"] for one, given in both]
        kept = [gain for gain, keep in zip(found, more, strict=True) if keep]
        rows.append(
            {
                "network": name,
                "pairs and seeds": len(found),
                "mean": f"{fmean(found):+.1f}",
                "at worst": f"{min(found):+.1f}",
                "at best": f"{max(found):+.1f}",
                "kept": len(kept),
                "mean, if kept": f"{sum(kept) / len(found):+.1f}",
            }
        )
    return markdown_table(rows)


if __name__ == "__main__":
    main()
