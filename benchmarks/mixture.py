"""One backbone distilled on four sensors against four specialists (the shape of ScaLR's table 4).

    python benchmarks/mixture.py                       # all cells, three seeds; finished parts are kept
    python benchmarks/mixture.py --seeds 0 --cells     # only make the runs of one seed, print nothing
    python benchmarks/mixture.py --real ../shared      # a short mixture of the four cities and real pieces: it trains

Rows are what a backbone was distilled on, columns where it is frozen and linearly probed. The cities and the
specialists are those of ``city_quality.py`` (same recipe, same folder ``--work``). Writes one card per cell into
``results/mixture/`` and prints the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import lidistill
from city_quality import CITY_SEED, FRAMES, SCENES, SENSORS
from lidistill.evaluation.card import Card, merge_cards, read_card, write_card
from lidistill.evaluation.table import markdown_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "mixture"
SOURCES = (*SENSORS, "all four")
EPOCHS = 40
"""Of the mixture, over four times the scans: half the passes of a specialist, which sees each scan 80 times."""
REAL = {
    "semantic-kitti": "real/semantickitti",
    "nuscenes": "real/nuscenes",
    "pandaset-64": "real/pandaset",
    "pandaset-gt": "real/pandaset",
}


def city(work: Path, sensor: str) -> Path:
    """The sensor's city, made if it is not there."""
    folder = work / sensor / "city"
    if not (folder / "rig.yaml").is_file():
        lidistill.simulate(folder, sensor=sensor, scenes=SCENES, frames=FRAMES, seed=CITY_SEED, overwrite=True)
    return folder


def backbone(work: Path, source: str, seed: int, options: list[str]) -> Path:
    """Run folder of the backbone distilled on ``source``, trained if it is not there."""
    mixed = source not in SENSORS
    path = work / ("mixture" if mixed else source) / f"seed-{seed}" / "backbone"
    if not (path / "model.safetensors").is_file():
        cities = [str(city(work, sensor)) for sensor in (SENSORS if mixed else (source,))]
        more = {"epochs": EPOCHS, "set": (*options, "mixture=equal")} if mixed else {"set": tuple(options)}
        lidistill.pretrain(cities, out=path, recipe="city", seed=seed, resume=(path / "recipe.yaml").is_file(), **more)
    return path


def cell(work: Path, source: str, target: str, seed: int, options: list[str]) -> Card:
    """The card of one linear probe, made if it is not there; a specialist's own is that of ``city_quality.py``."""
    if source == target:
        path = work / source / f"seed-{seed}" / "distilled"
    else:
        path = work / "cross" / f"seed-{seed}" / f"{source.replace(' ', '-')}-on-{target}"
    if not (path / "card.json").is_file():
        lidistill.probe(
            backbone(work, source, seed, options),
            data=str(city(work, target)),
            out=path,
            recipe="city-probe",
            seed=seed,
            set=tuple(options),
            resume=(path / "recipe.yaml").is_file(),
        )
    return read_card(path / "card.json")


def table() -> str:
    """The committed cards as a markdown table: mIoU %, mean and spread over the seeds."""
    rows = []
    for source in SOURCES:
        row = {"distilled on": source}
        for target in SENSORS:
            metric = read_card(card_path(source, target)).metrics["miou"]
            shown = f"{100 * (metric.mean or 0):.1f} ± {100 * (metric.std or 0):.1f}"
            row[target] = f"**{shown}**" if source == target else shown
        rows.append(row)
    return markdown_table(rows)


def card_path(source: str, target: str) -> Path:
    """Where the merged card of a cell lies."""
    return RESULTS / source.replace(" ", "-") / f"{target}.json"


def real_mixture(work: Path, shared: Path, options: list[str]) -> None:
    """Distil for a few epochs on the four cities and real pieces together; print the loss of every data set."""
    out = work / "mixture" / "real"
    cities = [str(city(work, sensor)) for sensor in SENSORS]
    specs = cities + [f"{name}:{shared / place}" for name, place in REAL.items()]
    lidistill.pretrain(specs, out=out, recipe="city", epochs=6, seed=0, set=(*options, "mixture=equal"), overwrite=True)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses: dict[str, list[float]] = {}
    for row in rows:
        if row["split"] == "train":
            for key, value in row.items():
                if key.startswith("loss/"):
                    losses.setdefault(key.removeprefix("loss/"), []).append(value)
    quarter = {name: max(len(values) // 4, 1) for name, values in losses.items()}
    found = {
        name: {
            "first": sum(values[: quarter[name]]) / quarter[name],
            "last": sum(values[-quarter[name] :]) / quarter[name],
        }
        for name, values in losses.items()
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "real.json").write_text(json.dumps({"loss": found}, indent=2) + "\n")
    print(markdown_table([{"data set": n, **{k: f"{v:.3f}" for k, v in f.items()}} for n, f in found.items()]))


def main() -> None:
    """Make what is missing, write the merged cards, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sources", nargs="+", default=SOURCES, choices=SOURCES)
    parser.add_argument("--work", type=Path, default=Path("runs/city_quality"), help="data and runs")
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--cells", action="store_true", help="only make the runs of these seeds and sources")
    parser.add_argument("--real", type=Path, metavar="SHARED", help="instead: the mixture with real pieces from there")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if args.real:
        real_mixture(args.work, args.real, args.set)
        return
    if not args.table:
        for source in args.sources:
            for target in SENSORS:
                cards = [cell(args.work, source, target, seed, args.set) for seed in args.seeds]
                if not args.cells:
                    write_card(merge_cards(cards, f"{source}/{target}"), card_path(source, target))
    if not args.cells:
        print(table())


if __name__ == "__main__":
    main()
