"""Real data, a lidar without labels: Pandar64 to PandarGT and back, SemanticKITTI to Pandar64, with a real teacher.

    python benchmarks/real_adaptation.py --shared ../shared        # from the root of the repository

Needs the data and weights in ``shared/real`` (their licences keep them out of this repository). PandaSet's two lidars
look at the same streets at once, so labels are learned on one sequence and the other one evaluates. Runs the table
``recipes/real-adaptation.yaml`` with ``lidistill reproduce``; cards with mean and spread go to
``results/real_adaptation/``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lidistill
from lidistill.apps.reproduce import committed
from real_kitti import RECIPES, make_teacher

RESULTS = Path(__file__).resolve().parent / "results" / "real_adaptation"
TABLE = RECIPES / "real-adaptation.yaml"
WORK = Path("runs/real_adaptation")
"""The table names the teacher there."""


def lay_out(real: Path, out: Path) -> None:
    """Links to the real pieces below ``out``, and to every sequence of PandaSet as a data set of its own."""
    out.mkdir(parents=True, exist_ok=True)
    places = {"semantickitti": real / "semantickitti", "pandaset": real / "pandaset"}
    for sequence in ("001", "002"):
        (out / f"pandaset-{sequence}").mkdir(exist_ok=True)
        places[f"pandaset-{sequence}/{sequence}"] = real / "pandaset" / sequence
    for name, place in places.items():
        if not (out / name).exists():
            (out / name).symlink_to(place.resolve())


def main() -> None:
    """Run what is missing, write the merged cards, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--seeds", nargs="*", type=int, default=[])
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    lay_out(args.shared / "real", WORK / "data")
    make_teacher(args.shared, WORK)
    options = {"seeds": tuple(args.seeds), "set": tuple(args.set)}
    lidistill.reproduce(str(TABLE), data=WORK / "data", work=WORK, cards=RESULTS, **options)
    print(table())


def table() -> str:
    """The committed cards as a markdown table."""
    return committed(str(TABLE), RESULTS)


if __name__ == "__main__":
    main()
