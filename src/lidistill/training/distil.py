"""Image-to-lidar distillation (ScaLR): a frozen image teacher, one random camera per scan, one similarity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lidistill.datasets.source import Source
from lidistill.objectives import load as load_objective
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.teachers.sampling import sample
from lidistill.teachers.teacher import Teacher
from lidistill.training.loop import fit, make_fabric
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run
from lidistill.training.samples import Collate, DistilBatch, DistilSample, TrainSamples


def teacher_features(teacher: Teacher, batch: DistilBatch) -> Tensor:
    """(M, D) float32: what the teacher says at the pixel of every point. The full-resolution map is never built."""
    size = (batch.images.shape[2], batch.images.shape[3])
    with torch.no_grad():
        return sample(teacher(batch.images), batch.image_index, batch.pixels, size, teacher.grid).float()


def distil(run: Run, train: Source, validation: Source | None, recipe: DistilRecipe, teacher: Teacher) -> Network:
    """Train a student on ``train`` and write it into ``run``; continues from the run's checkpoint if there is one.

    ``validation``: held-out frames whose loss is logged about ten times.
    """
    fabric = make_fabric(recipe)
    fabric.seed_everything(recipe.seed, verbose=False)
    network = Network(run.config.model.student, run.config.model.head)
    teacher = teacher.to(fabric.device)
    objective = load_objective(recipe.objective)

    def loss(model: nn.Module, batch: DistilBatch) -> dict[str, Tensor]:
        with fabric.autocast():
            target = teacher_features(teacher, batch)
        return {"loss": objective(model(batch.points).float(), target)}

    # AdamW over all parameters, one-dimensional ones included, as published
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    samples = TrainSamples(train, recipe, network.backbone.tokenizer)
    network.train()
    validate = None if validation is None else _validation(validation, recipe, network, loss, fabric.device)
    fit(fabric, run, network, optimizer, samples, recipe, loss, validate)
    network = network.cpu().eval()
    if fabric.is_global_zero:
        run.save_network(network)
    return network


def _validation(
    source: Source,
    recipe: DistilRecipe,
    network: Network,
    loss: Callable[[nn.Module, DistilBatch], dict[str, Tensor]],
    device: torch.device,
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that measures the loss on up to 64 held-out frames, always the same cameras and augmentations."""
    every = max(len(source) // 64, 1)
    tokenizer = network.backbone.tokenizer
    samples = TrainSamples(source, recipe, tokenizer)
    collate = Collate(tokenizer)

    def validate(model: nn.Module) -> dict[str, float]:
        drawn = (samples[(0, index)] for index in range(0, len(source), every))
        usable: Sequence[DistilSample] = [s for s in drawn if isinstance(s, DistilSample)]
        total = pairs = 0.0
        model.eval()
        with torch.no_grad():
            for one in usable:
                batch = collate([one]).batch
                if isinstance(batch, DistilBatch):
                    size = len(batch.points)
                    total += float(loss(model, batch.to(device))["loss"]) * size
                    pairs += size
        model.train()
        return {"loss": total / pairs} if pairs else {}

    return validate
