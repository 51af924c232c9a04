"""Real data, few labels: 2, 6 and all 24 labelled scans of SemanticKITTI, from scratch and from a distilled backbone.

    python benchmarks/real_kitti.py --shared ../shared     # first: the backbones
    python benchmarks/few_scans.py --shared ../shared

The backbones were distilled on all 24 scans without labels. The labelled ones are drawn anew for every seed, each from
a drive of its own as far as there are enough. From a backbone, the head is learned first and then everything; from
scratch, everything at once; both with as many iterations as on all scans. Writes ``results/few_scans/`` and the curve.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import lidistill
from lidistill.apps.charts import Series, chart
from lidistill.evaluation.card import Card, merge_cards, read_card, write_card
from lidistill.evaluation.table import markdown_table
from real_kitti import RECIPES, RESULTS

HERE = Path(__file__).resolve().parent
CARDS = HERE / "results" / "few_scans"
CURVE = HERE.parent / "docs" / "images" / "few_scans.svg"
COUNTS = (2, 6, 24)
BATCH = 2
STARTS = {"from scratch": "supervised", "distilled, frozen": "distilled", "distilled, then finetuned": "head-first"}
"""What a row is called, and the runs that it is made of."""
STYLE = (
    "<style>.chart{background:#fff;font-family:sans-serif}.title{font-size:13px;font-weight:600}.tick{font-size:11px}"
    ".grid{stroke:#ddd}polyline{fill:none;stroke-width:2}.main{stroke:#1668b0}.raw{stroke:#8ab4d8}.second{stroke:#c2571a}"
    "</style>"
)


def few(real: Path, out: Path, count: int, seed: int) -> Path:
    """A folder of SemanticKITTI with ``count`` of the labelled training scans of ``real``, and its validation scans."""
    rng = np.random.default_rng(seed)
    drives: dict[str, list[Path]] = {}
    for scan in sorted((real / "dataset/sequences").glob("*/velodyne/*.bin")):
        drives.setdefault(scan.parts[-3], []).append(scan)
    kept = drives.pop("08")
    # one of each drive before a second one of any
    order = [
        scan
        for turn in zip(*(rng.permutation(s).tolist() + [None] * 9 for s in drives.values()), strict=False)
        for scan in rng.permutation([s for s in turn if s is not None]).tolist()
    ]
    for scan in map(Path, [*order[:count], *kept]):
        drive = out / "dataset/sequences" / scan.parts[-3]
        for folder, ending in (("velodyne", ".bin"), ("labels", ".label")):
            link(drive / folder / f"{scan.stem}{ending}", scan.parents[1] / folder / f"{scan.stem}{ending}")
        link(drive / "calib.txt", scan.parents[1] / "calib.txt")
    return out


def link(place: Path, to: Path) -> None:
    """A link at ``place``, made once."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(to.resolve())


def learn(real: Path, folder: Path, count: int, seed: int, options: list[str]) -> None:
    """The runs of one seed and number of scans that are not there yet; those of all scans are ``real_kitti``'s."""
    data = str(real) if count == max(COUNTS) else str(few(real, folder / f"scans-{count}", count, seed).resolve())
    common: dict[str, Any] = {"data": f"semantic-kitti:{data}", "seed": seed}
    place = folder if count == max(COUNTS) else folder / f"few-{count}"
    changes = {verb: tuple(options) for verb in ("probe", "finetune")}
    if count != max(COUNTS):
        for verb, iterations in (("probe", 180), ("finetune", 300)):
            changes[verb] += (f"batch_size={BATCH}", f"epochs={iterations * BATCH // count}")
    for name, verb, parent in (
        ("supervised", "finetune", None),
        ("distilled", "probe", folder / "backbone"),
        ("head-first", "finetune", place / "distilled"),
    ):
        if not (place / name / "card.json").is_file():
            act = lidistill.probe if verb == "probe" else lidistill.finetune
            again = (place / name / "recipe.yaml").is_file()
            recipe = str(RECIPES / f"kitti-{verb}.yaml")
            act(parent, out=place / name, recipe=recipe, set=changes[verb], resume=again, **common)


def card(name: str, count: int) -> Path:
    """Where the merged card lies; two of all scans are ``real_kitti``'s."""
    shared = count == max(COUNTS) and name != "head-first"
    return RESULTS / f"{name}.json" if shared else CARDS / f"{name}-{count}.json"


def table() -> str:
    """The committed cards as a markdown table."""
    rows = []
    for title, name in STARTS.items():
        row: dict[str, Any] = {"start": title}
        for count in COUNTS:
            of = present(card(name, count))
            seeds = ", ".join(f"{100 * (value or 0):.1f}" for value in of.values)
            row[f"{count} scans"] = f"{100 * (of.mean or 0):.1f} ± {100 * (of.std or 0):.1f} ({seeds})"
        rows.append(row)
    return markdown_table(rows)


def made(path: Path, count: int) -> Card:
    """The card of one run; the folder of drawn scans, another for every seed, is named by what is drawn.

    All are evaluated on the same scans: the checksum of the data in the cards is that of their tokens.
    """
    own = read_card(path)
    if count == max(COUNTS):
        return own
    spec = f"semantic-kitti, {count} scans drawn by the seed"
    data, recipe = own.data.model_copy(update={"spec": spec}), {**own.recipe, "sources": [spec]}
    return own.model_copy(update={"data": data, "recipe": recipe})


def present(path: Path) -> Any:
    """The mIoU over the classes that occur in the truth."""
    found: Card = read_card(path)
    return found.metrics["miou_present"]


def draw() -> str:
    """The curve of the committed cards, as SVG."""
    series = [
        Series(
            title.rpartition(" ")[2], COUNTS, [100 * (present(card(name, count)).mean or 0) for count in COUNTS], style
        )
        for (title, name), style in zip(STARTS.items(), ("second", "raw", "main"), strict=True)
    ]
    picture = chart("mIoU %", series, x_label="labelled scans")
    head, _, rest = picture.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}\n'


def main() -> None:
    """Run what is missing, write the merged cards and the curve, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/real_kitti"), help="that of real_kitti.py")
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if not args.table:
        for seed in args.seeds:
            for count in COUNTS:
                learn(args.shared / "real/semantickitti", args.work / f"seed-{seed}", count, seed, args.set)
        for count in COUNTS:
            for name in STARTS.values():
                if card(name, count).parent == CARDS:
                    where = "" if count == max(COUNTS) else f"few-{count}/"
                    places = [args.work / f"seed-{s}" / f"{where}{name}" / "card.json" for s in args.seeds]
                    cards = [made(place, count) for place in places]
                    write_card(merge_cards(cards, f"kitti/{name}-{count}"), card(name, count))
        CURVE.write_text(draw(), encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main()
