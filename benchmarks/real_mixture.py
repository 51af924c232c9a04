"""Does one training run take four cities and four real data sets together? The loss of each, first and last.

    python benchmarks/real_mixture.py --shared ../shared      # real pieces; the cities are those of ``reproduce``

A short run of the recipe ``city`` on an equal mixture of the four simulated lidars and the pieces of SemanticKITTI,
nuScenes and PandaSet (both lidars) that lie in ``--shared``. Writes ``results/real_mixture.json`` and prints it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import lidistill
from lidistill.apps.reproduce.execute import prepare
from lidistill.apps.reproduce.plan import Place
from lidistill.apps.reproduce.table_file import load_table
from lidistill.evaluation.table import markdown_table
from record import RESULTS, write_record

RESULT = RESULTS / "real_mixture.json"
EPOCHS = 12
REAL = {
    "semantic-kitti": "real/semantickitti/dataset",
    "nuscenes": "real/nuscenes",
    "pandaset-64": "real/pandaset",
    "pandaset-gt": "real/pandaset",
}


def losses(run: Path) -> dict[str, list[float]]:
    """The loss of every data set, iteration by iteration, where a batch had anything of it."""
    found: dict[str, list[float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for key, value in row.items():
            if row["split"] == "train" and key.startswith("loss/") and value is not None:
                found.setdefault(key.removeprefix("loss/"), []).append(value)
    return found


def table() -> str:
    """The committed result as markdown: mean loss over the first and the last quarter of the run."""
    rows = json.loads(RESULT.read_text())["loss"]
    return markdown_table([{"data set": name, **{k: f"{v:.3f}" for k, v in row.items()}} for name, row in rows.items()])


def main() -> None:
    """Distil, write, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with the real pieces")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="cities and runs")
    parser.add_argument("--set", nargs="*", default=[], help="overrides, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the committed result")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    scale = load_table("table4").city
    place = Place(args.work, args.shared)
    prepare(scale, place)
    specs = [place.source(name, known) for name, known in scale.data.items()]
    specs += [f"{name}:{args.shared / folder}" for name, folder in REAL.items()]
    out = args.work / "real-mixture"
    options = ("mixture=equal", *args.set)
    lidistill.pretrain(specs, out=out, recipe="city", epochs=EPOCHS, seed=0, set=options, overwrite=True)
    found = {}
    for name, values in losses(out).items():
        quarter = max(len(values) // 4, 1)
        last = values[-quarter:]
        found[Path(name).name] = {"first quarter": sum(values[:quarter]) / quarter, "last quarter": sum(last) / quarter}
    write_record("real_mixture", {"epochs": EPOCHS, "loss": found})
    print(table())


if __name__ == "__main__":
    main()
