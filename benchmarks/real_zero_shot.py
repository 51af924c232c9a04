"""Real data, no label of a scan: FSKD with a real Cityscapes network on 24 SemanticKITTI scans, evaluated on 08.

    python benchmarks/real_zero_shot.py --shared ../shared

Needs the data and weights in ``shared/real`` (their licences keep them out of this repository). The network sees scans
and pictures of the training sequences, never a label; real labels of the 3 scans of sequence 08 evaluate it, in the
classes that Cityscapes and SemanticKITTI have in common. Beside it the teacher itself, asked at the pixels of the
points that the camera sees: it says nothing of the rest of the scan. And the same student on the labels of the 24
scans, in the common classes. Writes cards with mean and spread into ``results/real_zero_shot/`` and prints the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

import lidistill
from lidistill.apps.evaluate import meet
from lidistill.apps.exam import main_figures
from lidistill.evaluation.card import Card, Metric, merge_cards, read_card, write_card
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import look
from lidistill.evaluation.palette import class_colors
from lidistill.evaluation.pictures import beside, write_picture
from lidistill.evaluation.render import from_behind, render_cloud
from lidistill.evaluation.table import markdown_table
from lidistill.sensing.frame import IGNORE
from lidistill.sensing.pairing import pair
from lidistill.taxonomy import load as load_taxonomy
from lidistill.teachers.images import prepare
from lidistill.teachers.registry import load_teacher
from lidistill.teachers.sampling import sample
from lidistill.training.crops import Crop
from lidistill.training.data import open_split
from lidistill.training.distil import measure_colors
from lidistill.training.recipe import DistilRecipe, load_recipe
from lidistill.training.run import Run
from real_kitti import RECIPES, make_teacher

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "real_zero_shot"
PICTURE = HERE.parent / "docs" / "images" / "kitti_zero_shot.png"
MAP = "cityscapes-kitti-15"
METHODS: dict[str, tuple[str, ...]] = {
    "fskd": (),
    "no-calibration": ("calibration=null",),
    "no-kl": ("soft_labels.weight=0",),
    "labels": (),
}
ROWS = {
    "FSKD": "fskd",
    "without self-calibrated convolutions": "no-calibration",
    "without the KL term": "no-kl",
    "the labels of the scans instead": "labels",
}
SEEN = "seen/"
"""Before the figures over the points that the camera sees, in the cards."""


def make_classifier(shared: Path, program: Path) -> None:
    """Beside the exported Cityscapes network the last layer of its published weights, for the 19 classes."""
    published = torch.load(shared / "real/weights/espnet/encoder_espnet_p_2_q_8.pth", "cpu", weights_only=True)
    weight = published["classifier.conv.weight"].flatten(1)[:19].contiguous()
    save_file({"weight": weight, "bias": torch.zeros(19)}, program.with_suffix(".safetensors"))
    sidecar = program.with_suffix(".yaml")
    known = yaml.safe_load(sidecar.read_text())
    classes = {
        "classes": list(load_taxonomy("cityscapes-19").classes),
        "taxonomy": "cityscapes-19",
        "classifier": program.with_suffix(".safetensors").name,
    }
    sidecar.write_text(yaml.safe_dump(known | classes))


def learn(data: str, teacher: Path, folder: Path, method: str, seed: int, options: list[str]) -> Card:
    """Distil, or learn from labels, and evaluate, unless that is done; returns the card."""
    run = folder / f"seed-{seed}" / method
    common = {"out": run, "seed": seed, "resume": (run / "recipe.yaml").is_file()}
    if not (run / "model.safetensors").is_file():
        if method == "labels":
            recipe = str(RECIPES / "kitti-finetune.yaml")
            lidistill.finetune(None, data=data, recipe=recipe, classes=MAP, epochs=100, set=tuple(options), **common)
        else:
            recipe = str(RECIPES / "kitti-fskd.yaml")
            changes = (*METHODS[method], *options)
            lidistill.pretrain((data,), recipe=recipe, teacher=str(teacher), set=changes, **common)
    found = sorted((run / "evaluations").glob("*.json"))
    card = read_card(found[0] if found else Path(lidistill.evaluate(run, data=data, map=MAP)))
    seen = {f"{SEEN}{name}": Metric.of([figure]) for name, figure in look_where_camera_does(data, run).items()}
    return card.model_copy(update={"metrics": card.metrics | seen})


def look_where_camera_does(data: str, run: Path) -> dict[str, float]:
    """What the student says at the points that the camera sees: figures in the common classes."""
    network, model = Run.open(run).load_network()
    source, common = meet(data, "val", run, model, MAP, "forbid")
    assert common is not None
    confusion = Confusion(common.classes)
    for frame in (source[number] for number in range(len(source))):
        truth, guess = common.read(look(network, frame, model.voxel))
        rows = pair(frame, *frame.views).rows
        confusion.add(truth[rows], guess[rows])
    return main_figures(confusion)


def ask_teacher(data: str, program: Path) -> dict[str, float]:
    """The teacher's own classes at the points that the camera sees: figures in the common classes."""
    recipe = load_recipe(str(RECIPES / "kitti-fskd.yaml"), [f"teacher.name={program}"])
    assert isinstance(recipe, DistilRecipe)
    (said,) = recipe.teachers
    teacher = load_teacher(said)
    ((color,),) = measure_colors(open_split(data, "train"), [teacher]).values()
    common, merged = load_taxonomy(MAP), load_taxonomy(MAP, "cityscapes-19")
    outside = torch.from_numpy(merged.apply(np.arange(19)) == IGNORE)
    truth, confusion = open_split(data, "val", (), MAP), Confusion(common.classes)
    for frame in (truth[number] for number in range(len(truth))):
        (view,) = frame.views
        pairs, image = pair(frame, view), prepare(view.image(), said.image_size)
        features = teacher((image if color is None else color(image))[None])
        pixels = torch.from_numpy(Crop(0, 0, view.width, view.height).pixels(pairs.pixels, said.image_size)).float()
        first = torch.zeros(len(pixels), dtype=torch.long)
        assert teacher.classifier is not None
        scores = teacher.classifier(sample(features, first, pixels, said.image_size, teacher.grid))
        guess = scores.masked_fill(outside, -torch.inf).argmax(1).numpy()
        confusion.add(frame.labels[pairs.rows], merged.apply(guess))
    return main_figures(confusion)


def main() -> None:
    """Run what is missing, write the merged cards, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("methods", nargs="*", default=[], help=f"some of {', '.join(METHODS)}; default all")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/real_zero_shot"))
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all recipes, for example workers=1")
    parser.add_argument("--table", action="store_true", help="only print the table of the cards that are there")
    args = parser.parse_args()
    if not args.table:
        data = f"semantic-kitti:{args.shared / 'real' / 'semantickitti'}"
        teacher = make_teacher(args.shared, args.work)
        make_classifier(args.shared, teacher)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "teacher.json").write_text(json.dumps(ask_teacher(data, teacher), indent=1) + "\n")
        for method in args.methods or METHODS:
            found = [learn(data, teacher, args.work, method, seed, args.set) for seed in args.seeds]
            write_card(merge_cards(found, f"kitti/{method}"), RESULTS / f"{method}.json")
        draw(data, args.work / f"seed-{args.seeds[0]}" / "fskd", PICTURE)
    print(table())


def draw(data: str, run: Path, out: Path) -> None:
    """A scan of sequence 08 in the classes that the student says, and in the true ones: lidar only.

    No camera image is drawn: the data set's licence keeps those out of this repository.
    """
    network, model = Run.open(run).load_network()
    source, common = meet(data, "val", run, model, MAP, "forbid")
    assert common is not None
    frame, taxonomy = source[0], load_taxonomy(MAP)
    truth, guess = common.read(look(network, frame, model.voxel))
    camera = from_behind(frame.sensor.forward, size=(400, 720))
    shown = [render_cloud(frame.points, class_colors(ids, taxonomy), camera) for ids in (guess, truth)]
    write_picture(beside(shown, ["classes from pictures alone", "labels, never seen"]), out)


def table() -> str:
    """The committed cards as a markdown table: mean over the seeds, per class."""
    there = {name: RESULTS / f"{method}.json" for name, method in ROWS.items()}
    cards = {name: read_card(path).metrics for name, path in there.items() if path.is_file()}
    asked = {name: Metric.of([figure]) for name, figure in json.loads((RESULTS / "teacher.json").read_text()).items()}
    rows = [row(name, "all", metrics) for name, metrics in cards.items()]
    rows += [
        row(name, "the camera's", {key.removeprefix(SEEN): metrics[key] for key in metrics if key.startswith(SEEN)})
        for name, metrics in cards.items()
    ]
    rows.append(row("the teacher", "the camera's", asked))
    classes = [name for name in load_taxonomy(MAP).classes if name in rows[0]]
    shown = ("scans of 08", "points", "mIoU %", *classes)
    return markdown_table([{column: line.get(column, "") for column in shown} for line in rows])


def row(name: str, points: str, metrics: Mapping[str, Metric]) -> dict[str, str]:
    """A line of the table: mean and spread of the mIoU, the mean of every class."""
    miou = metrics["miou_present"]
    spread = "" if miou.std is None else f" ± {100 * miou.std:.1f}"
    classes = {
        key[4:]: f"{100 * metric.mean:.0f}"
        for key, metric in metrics.items()
        if key.startswith("iou/") and metric.mean is not None
    }
    return {"scans of 08": name, "points": points, "mIoU %": f"{100 * (miou.mean or 0):.1f}{spread}", **classes}


if __name__ == "__main__":
    main()
