"""Learning the classes of pixels, so that an image network becomes a teacher that knows classes (FSKD, ICRA 2025)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from lidistill.datasets.pictures.pictures import PictureSource
from lidistill.datasets.source import evenly
from lidistill.errors import InputError
from lidistill.sensing.frame import IGNORE
from lidistill.teachers.city import load_city
from lidistill.teachers.image_network import ImageModel, ImageNetwork, ResNetEncoder, normalise
from lidistill.teachers.resnet import load_resnet50
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.image_run import ImageRun
from lidistill.training.image_samples import ImageBatch, ImageSamples
from lidistill.training.loop import fit
from lidistill.training.optimizer import build_optimizer

log = logging.getLogger("lidistill")
COUNTED = 200
"""Pictures from which the shares of the classes are measured."""
SPARSE = 0.05
"""With a smaller share of pixels that have a class, the class list hardly fits the masks."""
RAREST = 1e-4
"""Classes with a smaller share of the pixels weigh no more than with this one."""


def first_network(model: ImageModel, recipe: ImageRecipe) -> ImageNetwork:
    """Random weights, drawn from the recipe's seed, and over them those that it starts from (see ``start_from``)."""
    torch.manual_seed(recipe.seed)
    network = ImageNetwork(model)
    if recipe.start is not None:
        start_from(network, recipe.start)
    return network


def learn_images(
    fabric: Fabric,
    run: ImageRun,
    network: ImageNetwork,
    train: PictureSource,
    recipe: ImageRecipe,
    weight: Tensor,
    validate: Callable[[nn.Module], dict[str, float]] | None,
) -> ImageNetwork:
    """Train ``network`` on the classes of ``train``, or go on from the run's checkpoint, and write it into ``run``.

    ``weight`` (C,) of a pixel by its class (``class_weights``). About ten times what ``validate`` finds is logged.
    """
    fabric.seed_everything(recipe.seed, verbose=False)
    network = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weight = weight.to(fabric.device)

    def loss(model: nn.Module, batch: ImageBatch) -> dict[str, Tensor]:
        _, scores = model(normalise(batch.images, network.mean, network.std))
        return {"loss": pixel_loss(scores, batch.classes, weight)}

    optimizer = build_optimizer([{"params": list(network.parameters())}], recipe)
    fit(fabric, run, network, optimizer, ImageSamples(train, recipe), recipe, loss, validate)
    if fabric.is_global_zero:
        run.save_network(network)
    # every process goes on with what was saved: the statistics of batch norms differ between devices
    fabric.barrier()
    return run.load_network()


def pixel_loss(scores: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy of ``scores`` (B, C, h, w), the mean over the cells that have a class (B, h, w), 255 = ignore.

    ``weight`` (C,) of a cell, by its class. 0 where no cell has a class.
    """
    total = functional.cross_entropy(scores.float(), classes, weight, ignore_index=IGNORE, reduction="sum")
    return total / weight[classes[classes != IGNORE]].sum().clamp(min=1e-6)


def class_weights(train: PictureSource, count: int, balance: float) -> Tensor:
    """(C,) float32: the share of every class of the pixels, to the power -``balance``.

    Shares are those of up to 200 pictures, evenly spread; damaged ones are the training loop's business. Raises
    ``InputError`` when they have masks and no pixel in them has a class.
    """
    pixels = np.zeros(IGNORE + 1, np.int64)
    for index in evenly(train, COUNTED):
        try:
            classes = train[index].classes
        except InputError:
            continue
        if classes is not None:
            pixels += np.bincount(classes.ravel(), minlength=IGNORE + 1)
    known = int(pixels[:count].sum())
    if known < SPARSE * pixels.sum():
        share = f"{100 * known / pixels.sum():.1f} % of the pixels in the masks of {train.spec} have"
        remedy = f"one of the {count} classes; does the class list fit the ids in the masks?"
        if known == 0:
            raise InputError(f"{share} {remedy}")
        log.warning("%s %s", share, remedy)
    shares = pixels[:count] / max(known, 1)
    return torch.from_numpy(np.maximum(shares, RAREST) ** -balance).float()


def start_from(network: ImageNetwork, start: str) -> None:
    """Load the weights that a recipe names: ``city``, a ResNet-50 file, or a folder of teach-images.

    The classifier comes along where it is of the same classes. Raises ``InputError`` when they are of another network.
    """
    if start == "city":
        if (network.model.network, network.model.width) != ("small", 1.0):
            raise InputError("start = city: is of network = small with width = 1.0; set those, or leave start out")
        given = load_city().network.state_dict()
        state = {name: value for name, value in given.items() if not name.startswith("classifier.")}
        _fill(network.encoder, state, start)
    elif Path(start).suffix in {".pth", ".tar"}:
        if not isinstance(network.encoder, ResNetEncoder):
            raise InputError(f"start = {start}: is a file for network = resnet50, not {network.model.network}")
        load_resnet50(network.encoder.backbone, Path(start))
    elif not Path(start).exists():
        raise InputError(
            f"start = {start}: is not there; expected city, a ResNet-50 file (.pth) or a folder of teach-images"
        )
    else:
        other = ImageRun.open(start).load_network()
        _fill(network.encoder, other.encoder.state_dict(), start)
        if other.model.classes == network.model.classes:
            _fill(network.classifier, other.classifier.state_dict(), start)


def _fill(part: nn.Module, state: dict[str, Tensor], start: str) -> None:
    try:
        part.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"start = {start}: are weights of another network; set network and width to those they are of"
        ) from None
