"""``lidistill demo``: the main job on a small synthetic city, in a few minutes on two cores."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from lidistill.apps.pretrain import pretrain
from lidistill.apps.segment import segment
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.evaluation.table import text_table
from lidistill.simulator import simulate
from lidistill.training.loop import Interrupted

log = logging.getLogger("lidistill")

SENSOR, SCENES, FRAMES = "spinning-32", 12, 3
BACKBONE = "distilled"
ONE = ("devices=1",)
"""So small a batch gains nothing from several devices."""
EPOCHS = {"pretrain": 45, "probe": 12, "finetune": 30}
"""Shorter than the recipes: the whole demo is to end within minutes."""
NETWORKS = (
    ("random", "probe", "linear probe, random frozen backbone"),
    ("probe", "probe", "linear probe, distilled frozen backbone"),
    ("supervised", "finetune", "same network, fully supervised"),
)


def demo(out: str | Path = "demo", *, seed: int = 0, overwrite: bool = False) -> Path:
    """See ``lidistill.verbs.demo``. Returns the path of the distilled run's report."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder")
    try:
        return _demo(folder, seed=seed, overwrite=overwrite)
    except Interrupted as stopped:  # the loop's advice is for the verb that it knows
        stopped.args = (f"{str(stopped).partition(';')[0]}; call the demo again to go on",)
        raise


def _demo(folder: Path, *, seed: int, overwrite: bool) -> Path:
    started = time.monotonic()
    city, backbone = folder / "city", folder / BACKBONE
    if _announce(1, "a synthetic city, recorded with a 32-beam lidar and six cameras", city / "rig.yaml", overwrite):
        simulate(city, sensor=SENSOR, scenes=SCENES, frames=FRAMES, seed=seed, workers=2, overwrite=True)
    if _announce(2, "distil the image teacher into the lidar student, no labels", backbone / "report.html", overwrite):
        resume = _interrupted(backbone, overwrite)
        epochs = EPOCHS["pretrain"]
        pretrain(
            str(city), backbone, recipe="city", epochs=epochs, seed=seed, set=ONE, resume=resume, overwrite=overwrite
        )
    rows = []
    for step, (name, verb, what) in enumerate(NETWORKS, 3):
        path = folder / name
        if _announce(step, what, path / "report.html", overwrite):
            segment(
                "probe" if verb == "probe" else "finetune",
                backbone if name == "probe" else None,
                data=str(city),
                out=path,
                recipe="city-probe" if verb == "probe" else "city-supervised",
                epochs=EPOCHS[verb],
                seed=seed,
                set=ONE,
                resume=_interrupted(path, overwrite),
                overwrite=overwrite,
            )
        miou = read_card(path / "card.json").metrics["miou"].mean or 0.0
        rows.append({"network": what, "mIoU %": f"{100 * miou:.1f}", "report": str(path / "report.html")})
    print(f"\n{text_table(rows)}")
    print(f"mIoU over city scenes that no network has seen, one seed; {time.monotonic() - started:.0f} s")
    print(f"distillation: {backbone / 'report.html'}")
    return backbone / "report.html"


def _announce(step: int, what: str, result: Path, overwrite: bool) -> bool:
    """Say what comes; True when it is still to be done."""
    done = result.is_file() and not overwrite
    print(f"\n== {step}/5 {what}" + (" (done before)" if done else ""), flush=True)
    return not done


def _interrupted(path: Path, overwrite: bool) -> bool:
    """Whether an earlier call left a part of this run to go on with."""
    return (path / "recipe.yaml").is_file() and not overwrite
