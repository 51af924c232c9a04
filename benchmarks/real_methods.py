"""Real data, other objectives: PPKT, SLidR and ST-SLidR beside ScaLR on 24 SemanticKITTI scans, linear probing on 08.

    python benchmarks/real_kitti.py --shared ../shared     # first: ScaLR and the random backbone
    python benchmarks/real_methods.py --shared ../shared

Same student, teacher (a real Cityscapes network), scans, iterations and probing for all; SLIC superpixels of the real
pictures. Writes cards with mean and spread into ``results/real_methods/`` and prints the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lidistill
from lidistill.evaluation.card import merge_cards, read_card, write_card
from lidistill.evaluation.table import markdown_table
from real_kitti import RECIPES, figures, make_teacher
from real_kitti import RESULTS as SCALR

RESULTS = Path(__file__).resolve().parent / "results" / "real_methods"
SUPERPIXELS = ("superpixels=slic", "pixel_step=4")
METHODS = {
    "ppkt": ("objective=ppkt", "image_head=64"),
    "slidr": ("objective=slidr", "image_head=64", *SUPERPIXELS),
    "st-slidr": ("objective=st-slidr", "image_head=64", *SUPERPIXELS),
}
ROWS = {
    "random backbone": SCALR / "random.json",
    "PPKT": RESULTS / "ppkt.json",
    "SLidR": RESULTS / "slidr.json",
    "ST-SLidR": RESULTS / "st-slidr.json",
    "ScaLR+": SCALR / "distilled.json",
}


def learn(data: str, teacher: Path, folder: Path, method: str, seed: int, options: list[str]) -> Path:
    """Distil and probe, unless that is done; returns the card."""
    backbone, probe = folder / method, folder / f"{method}-probe"
    if not (backbone / "model.safetensors").is_file():
        again = (backbone / "recipe.yaml").is_file()
        said = (*METHODS[method], *options)
        recipe = str(RECIPES / "kitti-distil.yaml")
        lidistill.pretrain(
            (data,), out=backbone, recipe=recipe, teacher=str(teacher), seed=seed, set=said, resume=again
        )
    if not (probe / "card.json").is_file():
        again = (probe / "recipe.yaml").is_file()
        recipe = str(RECIPES / "kitti-probe.yaml")
        lidistill.probe(backbone, data=data, out=probe, recipe=recipe, seed=seed, set=tuple(options), resume=again)
    return probe / "card.json"


def main() -> None:
    """Run what is missing, write the merged cards, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("methods", nargs="*", default=[], help=f"some of {', '.join(METHODS)}; default all")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/real_kitti"), help="that of real_kitti.py")
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if not args.table:
        data = f"semantic-kitti:{args.shared / 'real' / 'semantickitti'}"
        teacher = make_teacher(args.shared, args.work)
        lidistill.superpixels(data, method="slic")
        for method in args.methods or METHODS:
            found = [
                read_card(learn(data, teacher, args.work / f"seed-{seed}", method, seed, args.set))
                for seed in args.seeds
            ]
            write_card(merge_cards(found, f"kitti/{method}"), RESULTS / f"{method}.json")
    print(table())


def table() -> str:
    """The committed cards as a markdown table."""
    return markdown_table([{"method": name, **figures(card)} for name, card in ROWS.items() if card.is_file()])


if __name__ == "__main__":
    main()
