"""``lidistill teach-images``: an image network learns the classes of pixels, is evaluated, and becomes a teacher."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

from lidistill import __version__
from lidistill.apps.exam import iou_rows, main_figures
from lidistill.apps.logs import logged
from lidistill.apps.recipes import choose, overrides
from lidistill.apps.report import write_report
from lidistill.datasets.pictures.pictures import PictureSource, PictureSplit, open_pictures, with_masks
from lidistill.datasets.source import evenly
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import make_card, write_card
from lidistill.evaluation.inference import first
from lidistill.evaluation.palette import class_colors
from lidistill.evaluation.pictures import beside, write_picture
from lidistill.evaluation.pixels import classify, evaluate_pictures
from lidistill.evaluation.table import text_table
from lidistill.taxonomy import Taxonomy
from lidistill.teachers.export import save_teacher
from lidistill.teachers.image_network import ImageModel, ImageNetwork
from lidistill.teachers.images import prepare
from lidistill.training.engine import make_fabric, shared_run
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.image_run import ImageRun, ImageRunConfig
from lidistill.training.images import class_weights, first_network, learn_images

log = logging.getLogger("lidistill")
VALIDATED = 64
"""Pictures on which the mIoU is measured while it learns."""
SHOWN = 4
"""Pictures in the report."""


def teach_images(
    source: str,
    out: str | Path,
    *,
    recipe: str | None = None,
    start: str | None = None,
    classes: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """See ``lidistill.verbs.teach_images``. Returns the run folder."""
    changes = [] if start is None else [f"start={start}"]
    changes += overrides(student=None, epochs=epochs, seed=seed, set=set)
    chosen = choose(recipe, "teach-images", changes, out=out, resume=resume, kind=ImageRun)
    if not isinstance(chosen, ImageRecipe):
        raise InputError(f"recipe {chosen.name} is of kind {chosen.kind}; teach-images takes one of kind teach")
    pictures = open_pictures(source, classes)
    taxonomy = pictures.taxonomy
    if taxonomy is None:
        raise InputError(f"{source}: its pictures have no masks, so there is no class to learn")
    train = with_masks(pictures.split("train"))
    if not len(train):
        raise InputError(f"{source}: no picture of the split train has a mask, so there is no class to learn")
    held_out = with_masks(pictures.split("val")) if pictures.splits.get("val") else None
    held_out = held_out or None  # a split whose pictures have no mask is none
    config = ImageRunConfig(
        sources=(source,),
        model=ImageModel(network=chosen.network, width=chosen.width, classes=taxonomy.classes, taxonomy=taxonomy.name),
        recipe=chosen,
        version=__version__,
    )
    network = first_network(config.model, chosen)
    weight = class_weights(train, len(taxonomy.classes), chosen.balance)
    fabric = make_fabric(chosen)
    run = shared_run(fabric, ImageRun, out, config, resume=resume, overwrite=overwrite)
    with logged(run):
        log.info("%d pictures, %d classes, network %s", len(train), len(taxonomy.classes), chosen.network)
        for split, used in (("train", train), ("val", held_out or ())):
            there = len(pictures.splits.get(split, ()))
            if len(used) < there:
                log.warning("%d of %d pictures of %s have no mask and are left out", there - len(used), there, split)
        validate = None if held_out is None else partial(_miou, network=network, held_out=held_out, recipe=chosen)
        trained = learn_images(fabric, run, network, train, chosen, weight, validate)
        if fabric.is_global_zero:
            save_teacher(trained, run.path)
        if held_out is None:
            log.warning("%s has no split val with masks: nothing to evaluate on", source)
        else:
            score(run, trained, held_out)
        if fabric.is_global_zero:
            draw_pictures(run, trained, held_out or train, taxonomy)
            log.info("report: %s", write_report(run.path))
            log.info("teacher: lidistill pretrain ... --teacher %s", run.path)
        fabric.barrier()
    return run.path


def _miou(_: nn.Module, *, network: ImageNetwork, held_out: PictureSource, recipe: ImageRecipe) -> dict[str, float]:
    some = PictureSplit(held_out, "val", tuple(evenly(held_out, VALIDATED)))
    seen = evaluate_pictures(network, some, recipe.image_size, title=None)
    network.train()
    return {"miou": seen.confusion.miou()}


def score(run: ImageRun, network: ImageNetwork, held_out: PictureSource) -> None:
    """Evaluate on all pixels of ``held_out``, print the table, log the figures and write ``card.json``."""
    recipe = run.config.recipe
    found = evaluate_pictures(network, held_out, recipe.image_size)
    if not first():
        return
    for skip in found.skipped:
        log.warning("skipped: %s", skip.reason)
    if not found.tokens:
        raise RunError(f"{held_out.spec}: no picture of val could be used; the first: {found.skipped[0].reason}")
    figures = main_figures(found.confusion)
    print(text_table(iou_rows(found.confusion, "pixels")))
    print(f"mIoU {100 * figures['miou']:.1f} % over {len(found.tokens)} pictures of {held_out.spec} (val)")
    step = max((row.get("step", 0) for row in run.metrics()), default=0)
    iou = {name: figures.get(f"iou/{name}") for name in found.confusion.classes}
    line = {"step": step, "split": "val", "data": held_out.spec, "frames": len(found.tokens)}
    run.log(**line, miou=figures["miou"], iou=iou)
    card = make_card(
        name=run.path.name,
        verb=run.config.verb,
        recipe=run.config.model_dump(mode="json"),
        source=held_out,
        split="val",
        seeds=(recipe.seed,),
        metrics=figures,
        tokens=found.tokens,
    )
    write_card(card, run.path / "card.json")


def draw_pictures(run: ImageRun, network: ImageNetwork, source: PictureSource, taxonomy: Taxonomy) -> None:
    """Write ``pictures/`` and their captions: a few pictures beside truth and prediction."""
    captions: dict[str, str] = {}
    for index in range(0, len(source), max(len(source) // SHOWN, 1)):
        if len(captions) == SHOWN:
            break
        try:
            picture = source[index]
            image = picture.image()
        except InputError:  # counted before
            continue
        shape = (image.shape[0], image.shape[1])
        guess = classify(network, prepare(image, run.config.recipe.image_size), shape).reshape(shape)
        shown, titles = [image, class_colors(guess, taxonomy)], ["picture", "prediction"]
        if picture.classes is not None:
            shown.append(class_colors(picture.classes, taxonomy))
            titles.append("truth (grey: no class)")
        name = f"{len(captions)}.jpg"
        write_picture(beside(shown, titles), run.path / "pictures" / name)
        captions[name] = picture.token
    run.write_json("pictures/captions.json", captions)
