"""Real data: a real Cityscapes network distilled, without labels, into a student on 24 SemanticKITTI scans.

    python benchmarks/real_kitti.py --shared ../shared

Needs the data and weights in ``shared/real`` (their licences keep them out of this repository). For every seed:
a random frozen backbone and a distilled frozen backbone are linearly probed with the labels of the training
scans, the same network is trained from scratch and finetuned from the distilled backbone; all are evaluated on
the 3 scans of sequence 08. Writes cards with mean and spread into ``results/real_kitti/`` and prints the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import lidistill
from lidistill.evaluation.card import merge_cards, read_card, write_card
from lidistill.evaluation.correlation import correlation, query_point
from lidistill.evaluation.inference import look
from lidistill.evaluation.palette import similarity_colors
from lidistill.evaluation.pca import pca_colors
from lidistill.evaluation.pictures import beside, mark_point, stack, write_picture
from lidistill.evaluation.render import from_behind, render_cloud
from lidistill.evaluation.table import markdown_table
from lidistill.taxonomy import load as load_taxonomy
from lidistill.training.data import open_split
from lidistill.training.run import Run

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "real_kitti"
RECIPES = HERE / "recipes"
PICTURE = HERE.parent / "docs" / "images" / "kitti_correlation.png"
NETWORKS = {
    "random": ("probe", None),
    "distilled": ("probe", "backbone"),
    "supervised": ("finetune", None),
    "finetuned": ("finetune", "backbone"),
}


def make_teacher(shared: Path, out: Path) -> Path:
    """Export the Cityscapes network as a program, once, with what is known of it in a sidecar file."""
    program = out / "espnet_c.pt2"
    if not program.is_file():
        tool = shared / "tools" / "make_real_teacher.py"
        subprocess.run([sys.executable, str(tool), "--out", str(program)], check=True)
    sidecar = program.with_suffix(".yaml")
    sidecar.write_text(
        "stride: 8\ngrid: origin\n"
        "colors: {mean: [73.158325, 82.90902, 72.3924], std: [44.91484, 46.15292, 45.319206]}\n"
    )
    return program


def learn(data: str, teacher: Path, folder: Path, seed: int, options: list[str]) -> None:
    """Make the runs of one seed that are not there yet."""
    common = {"seed": seed, "set": tuple(options)}

    def again(path: Path) -> dict[str, bool]:
        return {"resume": (path / "recipe.yaml").is_file()}

    backbone = folder / "backbone"
    if not (backbone / "model.safetensors").is_file():
        recipe = str(RECIPES / "kitti-distil.yaml")
        lidistill.pretrain((data,), out=backbone, recipe=recipe, teacher=str(teacher), **again(backbone), **common)
    for name, (verb, parent) in NETWORKS.items():
        path = folder / name
        if not (path / "card.json").is_file():
            act = lidistill.probe if verb == "probe" else lidistill.finetune
            recipe = str(RECIPES / f"kitti-{verb}.yaml")
            act(folder / parent if parent else None, data=data, out=path, recipe=recipe, **again(path), **common)


def main() -> None:
    """Run what is missing, write the merged cards, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/real_kitti"))
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if not args.table:
        data = f"semantic-kitti:{args.shared / 'real' / 'semantickitti'}"
        teacher = make_teacher(args.shared, args.work)
        for seed in args.seeds:
            learn(data, teacher, args.work / f"seed-{seed}", seed, args.set)
        for name in NETWORKS:
            cards = [read_card(args.work / f"seed-{seed}" / name / "card.json") for seed in args.seeds]
            write_card(merge_cards(cards, f"kitti/{name}"), RESULTS / f"{name}.json")
        draw(data, args.work / f"seed-{args.seeds[0]}" / "backbone", PICTURE)
    print(table())


def draw(data: str, backbone: Path, out: Path) -> None:
    """Correlation maps and false colours of the distilled network on a scan of sequence 08: lidar only.

    No camera image is drawn: the data set's licence keeps those out of this repository.
    """
    run = Run.open(backbone)
    network, model = run.load_network()
    frame = open_split(data, "val", model.sensors)[0]
    seen = look(network, frame, model.voxel)
    features, rows = seen.outputs.numpy(), seen.rows.numpy()
    camera = from_behind(frame.sensor.forward, size=(400, 720))
    shown = [render_cloud(frame.points, pca_colors(features)[rows], camera)]
    captions = ["features in false colours"]
    taxonomy = load_taxonomy("semantic-kitti-19")
    for name in ("car", "vegetation", "building"):
        query = query_point(frame.points, frame.labels == taxonomy.classes.index(name))
        if query is not None:
            similar = similarity_colors(correlation(features, features[rows[query]])[rows])
            shown.append(mark_point(render_cloud(frame.points, similar, camera), frame.points[query], camera))
            captions.append(f"similar to the marked {name} point")
    pairs = [beside(shown[i : i + 2], captions[i : i + 2]) for i in range(0, len(shown), 2)]
    write_picture(stack(pairs), out)


def figures(card: Path) -> dict[str, object]:
    """The columns of a committed card: mean and spread over the seeds, and every seed."""
    present = read_card(card).metrics["miou_present"]
    seeds = ", ".join(f"{100 * value:.1f}" for value in present.values if value is not None)
    mean, std = 100 * (present.mean or 0), 100 * (present.std or 0)
    return {"mIoU % (classes in the truth)": f"{mean:.1f} ± {std:.1f}", "seeds": seeds}


def table() -> str:
    """The committed cards as a markdown table."""
    cards = {name: RESULTS / f"{name}.json" for name in NETWORKS}
    return markdown_table([{"network": name, **figures(card)} for name, card in cards.items() if card.is_file()])


if __name__ == "__main__":
    main()
