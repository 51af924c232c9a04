"""Image-to-lidar distillation (ScaLR): a frozen image teacher, one random camera per scan, one similarity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from lidistill.datasets.concat import parts
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.objectives import load as load_objective
from lidistill.students.network import Network
from lidistill.teachers.colors import ColorMatch, measure
from lidistill.teachers.sampling import sample
from lidistill.teachers.teacher import Teacher
from lidistill.training.loop import fit
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run
from lidistill.training.samples import Collate, DistilBatch, DistilSample, TrainSamples


class FeatureMaps:
    """A teacher's feature maps, remembered up to ``gigabytes``: no image is augmented, so a map never changes.

    With a memory, pictures go through the teacher one by one: a map then does not depend on its batch, and a resumed
    run, which has forgotten them, gets the very same numbers.
    """

    def __init__(self, teacher: Teacher, gigabytes: float) -> None:
        self.teacher, self.room = teacher, gigabytes * 2**30
        self.maps: dict[str, Tensor] = {}

    def __call__(self, batch: DistilBatch) -> Tensor:
        """(B, D, h, w) of the batch's images."""
        if self.room == 0 and not self.maps:
            maps: Tensor = self.teacher(batch.images)
            return maps
        return torch.cat([self._one(name, batch.images[i : i + 1]) for i, name in enumerate(batch.pictures)])

    def _one(self, name: str, image: Tensor) -> Tensor:
        known = self.maps.get(name)
        if known is not None:
            return known
        found: Tensor = self.teacher(image)
        size = found.numel() * found.element_size()
        if size <= self.room:
            self.room -= size
            self.maps[name] = found
        return found


def teacher_features(maps: FeatureMaps, batch: DistilBatch) -> Tensor:
    """(M, D) float32: what the teacher says at the pixel of every point. The full-resolution map is never built."""
    size = (batch.images.shape[2], batch.images.shape[3])
    with torch.no_grad():
        return sample(maps(batch), batch.image_index, batch.pixels, size, maps.teacher.grid).float()


def measure_colors(train: Source, teacher: Teacher, frames: int = 32) -> dict[str, ColorMatch]:
    """For every data set of ``train``, by its spec: how its cameras' colours are brought to the teacher's.

    Empty when the teacher does not ask for it. Each source is measured on up to ``frames`` evenly spread frames;
    pictures that do not decode are left out here and reported when they are trained on.
    """
    target = teacher.color_statistics
    if target is None:
        return {}
    matches = {}
    for source in parts(train):
        chosen = np.unique(np.linspace(0, len(source) - 1, min(frames, len(source))).astype(int)).tolist()
        matches[source.spec] = ColorMatch(measure(_pictures(source, chosen)), target)
    return matches


def _pictures(source: Source, frames: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    for index in frames:
        try:
            for view in source[index].views:
                yield view.image()
        except InputError:
            continue


def distil(
    fabric: Fabric,
    run: Run,
    train: Source,
    validation: Source | None,
    recipe: DistilRecipe,
    teacher: Teacher,
    colors: Mapping[str, ColorMatch],
) -> Network:
    """Train a student on ``train`` and write it into ``run``; continues from the run's checkpoint if there is one.

    ``validation``: held-out frames whose loss is logged about ten times. ``colors``: see ``measure_colors``.
    """
    fabric.seed_everything(recipe.seed, verbose=False)
    network = Network(run.config.model.student, run.config.model.head)
    maps = FeatureMaps(teacher.to(fabric.device), recipe.teacher_memory)
    objective = load_objective(recipe.objective)

    def loss(model: nn.Module, batch: DistilBatch) -> dict[str, Tensor]:
        with fabric.autocast():
            target = teacher_features(maps, batch)
        features = model(batch.points).float()
        return {"loss": objective(features, target), **by_source(features.detach(), target, batch)}

    # AdamW over all parameters, one-dimensional ones included, as published
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    samples = TrainSamples(train, recipe, network.backbone.tokenizer, colors)
    names = samples.names if len(samples.names) > 1 else ()

    def by_source(features: Tensor, target: Tensor, batch: DistilBatch) -> dict[str, Tensor]:
        """The loss of every data set of a mixture by itself, NaN for those the batch has nothing of."""
        found = {}
        for name in names:
            clouds = torch.tensor([source == name for source in batch.sources], device=features.device)
            rows = clouds[batch.image_index]
            own = objective(features[rows], target[rows]) if rows.any() else features.new_tensor(torch.nan)
            found[f"loss/{name}"] = own
        return found

    network.train()
    validate = (
        None
        if validation is None
        else _validation(TrainSamples(validation, recipe, network.backbone.tokenizer, colors), loss, fabric.device)
    )
    fit(fabric, run, network, optimizer, samples, recipe, loss, validate)
    if fabric.is_global_zero:
        run.save_network(network)
    fabric.barrier()
    return run.load_network()[0]


def _validation(
    samples: TrainSamples, loss: Callable[[nn.Module, DistilBatch], dict[str, Tensor]], device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that measures the loss on up to 64 held-out frames, always the same cameras and augmentations."""
    chosen = range(0, len(samples), max(len(samples) // 64, 1))
    collate = Collate(samples.tokenizer)

    def validate(model: nn.Module) -> dict[str, float]:
        drawn = (samples[(0, index)] for index in chosen)
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
