"""How much of the gap between a random and a supervised network does label-free distillation close, per sensor?

    python benchmarks/city_quality.py                  # all four sensors, three seeds; finished parts are kept
    python benchmarks/city_quality.py --sensors spinning-64 --seeds 0

For every sensor a synthetic city is made once; for every seed the same student is (a) left random and frozen,
(b) distilled and frozen, both linearly probed, (c) trained with full supervision on the same scenes. Writes one
card per (sensor, network) with mean and spread over the seeds into ``results/city_quality/`` and prints the table;
``closed`` = (distilled - random) / (supervised - random).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lidistill
from lidistill.evaluation.card import Card, merge_cards, read_card, write_card
from lidistill.evaluation.table import markdown_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "city_quality"
SENSORS = ("spinning-32", "spinning-64", "uneven-64", "solid-state")
SCENES, FRAMES, CITY_SEED = 25, 2, 1
NETWORKS = ("random", "distilled", "supervised")


def learn(city: Path, folder: Path, seed: int, options: list[str]) -> dict[str, Card]:
    """Make the runs of one seed (those that are not there yet) and read their cards."""
    backbone = folder / "backbone"
    common = {"seed": seed, "set": tuple(options)}

    def again(path: Path) -> dict[str, bool]:
        return {"resume": (path / "recipe.yaml").is_file()}

    if not (backbone / "model.safetensors").is_file():
        lidistill.pretrain((str(city),), out=backbone, recipe="city", **again(backbone), **common)
    for name, parent in (("random", None), ("distilled", backbone)):
        if not (folder / name / "card.json").is_file():
            path = folder / name
            lidistill.probe(parent, data=str(city), out=path, recipe="city-probe", **again(path), **common)
    path = folder / "supervised"
    if not (path / "card.json").is_file():
        lidistill.finetune(None, data=str(city), out=path, recipe="city-supervised", **again(path), **common)
    return {name: read_card(folder / name / "card.json") for name in NETWORKS}


def main() -> None:
    """Run what is missing, write the merged cards, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--sensors", nargs="+", default=SENSORS, choices=SENSORS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/city_quality"), help="data and runs")
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if not args.table:
        for sensor in args.sensors:
            city = args.work / sensor / "city"
            if not (city / "rig.yaml").is_file():
                lidistill.simulate(city, sensor=sensor, scenes=SCENES, frames=FRAMES, seed=CITY_SEED, overwrite=True)
            cards = [learn(city, args.work / sensor / f"seed-{seed}", seed, args.set) for seed in args.seeds]
            for name in NETWORKS:
                merged = merge_cards([card[name] for card in cards], f"{sensor}/{name}")
                write_card(merged, RESULTS / sensor / f"{name}.json")
    print(table())


def table() -> str:
    """The committed cards as a markdown table."""
    rows = []
    for sensor in SENSORS:
        if not (RESULTS / sensor / "supervised.json").is_file():
            continue
        metrics = {name: read_card(RESULTS / sensor / f"{name}.json").metrics["miou"] for name in NETWORKS}
        values = zip(*(metrics[name].values for name in NETWORKS), strict=True)
        closed = [(d - r) / (s - r) for r, d, s in values if r is not None and d is not None and s is not None]
        row = {"sensor": sensor}
        for name, metric in metrics.items():
            row[f"{name} mIoU %"] = f"{100 * (metric.mean or 0):.1f} ± {100 * (metric.std or 0):.1f}"
        row["gap closed %"] = f"{100 * sum(closed) / len(closed):.0f} ({', '.join(f'{100 * c:.0f}' for c in closed)})"
        rows.append(row)
    return markdown_table(rows)


if __name__ == "__main__":
    main()
