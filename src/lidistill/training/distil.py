"""Image-to-lidar distillation: frozen image teachers, a student, and the objective that compares them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lidistill.datasets.concat import parts
from lidistill.datasets.source import Source, evenly
from lidistill.errors import InputError
from lidistill.objectives import UNIT
from lidistill.objectives import load as load_objective
from lidistill.objectives.fskd import feature_error, soft_labels
from lidistill.objectives.pooling import frozen_means, pixel_means
from lidistill.objectives.seal import point_to_segment, temporal
from lidistill.objectives.slidr import slidr
from lidistill.objectives.st_slidr import st_slidr_balanced
from lidistill.students.batch import PointBatch
from lidistill.students.network import Network, classified
from lidistill.teachers.colors import ColorMatch, measure
from lidistill.teachers.joint import join, labels
from lidistill.teachers.sampling import sample
from lidistill.teachers.teacher import Teacher
from lidistill.training.distil_samples import DistilBatch, DistilSample
from lidistill.training.loop import fit
from lidistill.training.optimizer import build_optimizer
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run
from lidistill.training.samples import Collate, Skip, TrainSamples

log = logging.getLogger("lidistill")

if TYPE_CHECKING:
    from lidistill.objectives import Objective
    from lidistill.segmenters.store import Superpixels


DistilLoss = Callable[[nn.Module, DistilBatch], dict[str, Tensor]]


class FeatureMaps:
    """Feature maps of the teachers, remembered up to ``gigabytes``: no image is augmented, so a map never changes.

    With a memory, pictures go through the teachers one by one: a map then does not depend on its batch, and a resumed
    run, which has forgotten them, gets the very same numbers. A picture is remembered for all teachers or for none.
    """

    def __init__(self, teachers: Sequence[Teacher], gigabytes: float) -> None:
        self.teachers, self.room = tuple(teachers), gigabytes * 2**30
        self.maps: dict[str, list[Tensor]] = {}

    def __call__(self, batch: DistilBatch) -> list[Tensor]:
        """(B, D, h, w) of the batch's images, for every teacher."""
        images = [batch.images[k] for k in batch.shown]
        if self.room == 0 and not self.maps:
            return self._ask(images)
        # data sets of a mixture may have pictures of the same name
        names = [f"{source}:{picture}" for source, picture in zip(batch.sources, batch.pictures, strict=True)]
        single = [self._one(name, [t[i : i + 1] for t in images]) for i, name in enumerate(names)]
        return [torch.cat(maps) for maps in zip(*single, strict=True)]

    def _one(self, name: str, images: Sequence[Tensor]) -> list[Tensor]:
        known = self.maps.get(name)
        if known is not None:
            return known
        found = self._ask(images)
        size = sum(maps.numel() * maps.element_size() for maps in found)
        if size <= self.room:
            self.room -= size
            self.maps[name] = found
        return found

    def _ask(self, images: Sequence[Tensor]) -> list[Tensor]:
        return [teacher(shown) for teacher, shown in zip(self.teachers, images, strict=True)]


def teacher_features(maps: FeatureMaps, batch: DistilBatch) -> list[Tensor]:
    """(P, D) float32: what every teacher says at the pixel of every pair. No full-resolution map is ever built."""
    found = []
    with torch.no_grad():
        for teacher, features, k in zip(maps.teachers, maps(batch), batch.shown, strict=True):
            size = (batch.images[k].shape[2], batch.images[k].shape[3])
            found.append(sample(features, batch.image_index, batch.pixels[k], size, teacher.grid).float())
    return found


def measure_colors(
    train: Source, teachers: Sequence[Teacher], frames: int = 32
) -> dict[str, tuple[ColorMatch | None, ...]]:
    """For every data set of ``train``, by its spec: how its cameras' colours are brought to those of each teacher.

    Empty when no teacher asks for it. Each source is measured on up to ``frames`` evenly spread frames;
    pictures that do not decode are left out here and reported when they are trained on.
    """
    targets = [teacher.color_statistics for teacher in teachers]
    matches: dict[str, tuple[ColorMatch | None, ...]] = {}
    for source in parts(train) if any(targets) else ():
        own = measure(_pictures(source, evenly(source, frames)))
        matches[source.spec] = tuple(None if target is None else ColorMatch(own, target) for target in targets)
    return matches


def _pictures(source: Source, frames: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    for index in frames:
        try:
            for view in source[index].views:
                yield view.image()
        except InputError:
            continue


def by_teacher(
    objective: Objective, teachers: Sequence[Teacher], features: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """The loss of every teacher's part of (M, D) by itself, ``loss/teacher NAME``; nothing for one teacher alone.

    Where one stays near its first value while another falls, the other drowns it: give it a weight.
    """
    if len(teachers) == 1:
        return {}
    learned, said = (torch.split(t, [teacher.dim for teacher in teachers], 1) for t in (features, target))
    names = [f"loss/teacher {label}" for label in labels(teachers)]
    return {name: objective(own, part) for name, own, part in zip(names, learned, said, strict=True)}


class Distillation(nn.Module):
    """What learns: the student's ``network``; for some objectives an ``image_head`` that is not kept, or a
    ``classifier`` of what the network says, which becomes its last layer.
    """

    def __init__(
        self, network: Network, said: int, width: int | None, *, unit: bool, classifier: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.network, self.unit, self.classifier = network, unit, classifier
        # as a linear layer commutes with interpolation, it serves sampled pixels and whole maps alike
        self.image_head = nn.Identity() if width is None else nn.Linear(said, width)

    def forward(self, points: PointBatch, said: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features (M, D) of the points, what the teacher ``said`` (..., T) in the same space (..., D), and scores
        (M, C) of the points where there is a classifier.
        """
        features, heard = self.network(points).float(), self.image_head(said).float()
        if self.unit:
            features = functional.normalize(features, dim=1)
        return features, heard, None if self.classifier is None else self.classifier(features).float()

    def result(self) -> Network:
        """The student as it is kept."""
        if self.classifier is None:
            return self.network
        return classified(self.network, self.classifier.weight.detach().cpu(), self.classifier.bias.detach().cpu())


def distil(
    fabric: Fabric,
    run: Run,
    train: Source,
    validation: Source | None,
    recipe: DistilRecipe,
    teachers: Sequence[Teacher],
    colors: Mapping[str, Sequence[ColorMatch | None]],
    superpixels: Superpixels | None = None,
) -> Network:
    """Train a student on ``train`` and write it into ``run``; continues from the run's checkpoint if there is one.

    ``teachers``: those of the recipe, in its order; several are heard at once, see ``joint.join``.
    ``validation``: held-out frames whose loss is logged about ten times. ``colors``: see ``measure_colors``.
    ``superpixels``: of all these frames, for objectives that compare them.
    """
    fabric.seed_everything(recipe.seed, verbose=False)
    said = sum(teacher.dim for teacher in teachers)
    model = run.config.model
    network = Network(model.student, model.head.model_copy(update={"outputs": recipe.image_head or said}))
    classes = read_classes(recipe, teachers)
    learning = Distillation(network, said, recipe.image_head, unit=recipe.objective in UNIT, classifier=classes)
    maps = FeatureMaps([teacher.to(fabric.device) for teacher in teachers], recipe.teacher_memory)

    def samples(source: Source) -> TrainSamples:
        return TrainSamples(source, recipe, network.tokenizer, colors, superpixels)

    train_samples = samples(train)
    if superpixels is None:
        names = train_samples.names if len(train_samples.names) > 1 else ()
        loss = (pixel_loss if classes is None else class_loss)(fabric, recipe, maps, names)
    else:
        loss = superpixel_loss(fabric, recipe, maps, superpixels.count)
    learning.train()
    validate = None if validation is None else _validation(samples(validation), loss, fabric.device)
    # all parameters decay, one-dimensional ones included, as published
    optimizer = build_optimizer([{"params": [p for p in learning.parameters() if p.requires_grad]}], recipe)
    fit(fabric, run, learning, optimizer, train_samples, recipe, loss, validate)
    if fabric.is_global_zero:
        run.save_network(learning.result())
    fabric.barrier()
    return run.load_network()[0]


def pixel_loss(fabric: Fabric, recipe: DistilRecipe, maps: FeatureMaps, names: Sequence[str]) -> DistilLoss:
    """Points against their pixels: of every pair by itself (ScaLR), or against other pairs (PPKT).

    ``names``: data sets of a mixture, whose losses are logged one by one.
    """
    objective = load_objective(recipe.objective)
    weights = [teacher.weight for teacher in recipe.teachers]

    def loss(model: nn.Module, batch: DistilBatch) -> dict[str, Tensor]:
        with fabric.autocast():
            found = teacher_features(maps, batch)
        features, target, _ = model(batch.points, join(found, weights))
        features = features[batch.rows]
        if recipe.objective in UNIT:
            target = functional.normalize(target, dim=1)
        result = {"loss": objective(features, target)}
        if recipe.image_head is None:
            result |= by_teacher(objective, maps.teachers, features.detach(), target)
        return result | by_source(objective, names, features.detach(), target.detach(), batch)

    return loss


def by_source(
    objective: Objective, names: Sequence[str], features: Tensor, target: Tensor, batch: DistilBatch
) -> dict[str, Tensor]:
    """The loss of every data set of a mixture by itself, NaN for those the batch has nothing of."""
    found = {}
    for name in names:
        pictures = torch.tensor([source == name for source in batch.sources], device=features.device)
        rows = pictures[batch.image_index]
        own = objective(features[rows], target[rows]) if rows.any() else features.new_tensor(torch.nan)
        found[f"loss/{name}"] = own
    return found


def class_loss(fabric: Fabric, recipe: DistilRecipe, maps: FeatureMaps, names: Sequence[str]) -> DistilLoss:
    """Points learn the features of their pixels, and the classes that a classifier reads from them (FSKD).

    ``names``: data sets of a mixture, whose feature losses are logged one by one.
    """
    soft, said = recipe.soft_labels, maps.teachers[0].classifier
    assert soft is not None
    assert said is not None

    def loss(model: nn.Module, batch: DistilBatch) -> dict[str, Tensor]:
        with fabric.autocast():
            (target,) = teacher_features(maps, batch)
        features, target, scores = model(batch.points, target)
        features = features[batch.rows]
        near = feature_error(features, target)
        labels = soft_labels(scores[batch.rows], said(target), soft.temperature)
        parts = {"loss/features": near.detach(), "loss/classes": labels.detach()}
        return (
            {"loss": near + soft.weight * labels}
            | parts
            | by_source(feature_error, names, features.detach(), target, batch)
        )

    return loss


def read_classes(recipe: DistilRecipe, teachers: Sequence[Teacher]) -> nn.Linear | None:
    """What reads classes from the student's features, if the objective compares them: the teacher's classifier, frozen,
    or one that learns.
    """
    if recipe.soft_labels is None:
        return None
    (teacher,) = teachers
    known = teacher.classifier
    assert known is not None
    layer = nn.Linear(teacher.dim, len(known.classes))
    if recipe.soft_labels.classifier == "shared":
        layer.load_state_dict({"weight": known.weight, "bias": known.bias})
        layer.requires_grad_(False)
    return layer


def superpixel_loss(fabric: Fabric, recipe: DistilRecipe, maps: FeatureMaps, count: int) -> DistilLoss:
    """Superpixels against the points in them (SLidR, ST-SLidR, Seal); ``count``: ids of a picture are below it."""
    # a class is the same in every picture: to Seal the cameras of a scan share it, and are no negatives of each other
    method = recipe.superpixels
    shared = recipe.objective == "seal" and method is not None and method.name == "argmax"

    def loss(model: nn.Module, batch: DistilBatch) -> dict[str, Tensor]:
        assert batch.superpixels is not None
        with torch.no_grad(), fabric.autocast():
            (said,) = maps(batch)
        features, heard, _ = model(batch.points, said.permute(0, 2, 3, 1))
        u, v = batch.pixels[0].long().unbind(1)
        segments = batch.superpixels[batch.image_index, v, u]
        owner = torch.tensor(batch.scans, device=segments.device)[batch.image_index] if shared else batch.image_index
        segments = torch.where(segments < 0, segments, segments + owner * count)
        some = batch.superpixels[:, :: recipe.pixel_step, :: recipe.pixel_step]
        means = pixel_means(heard.permute(0, 3, 1, 2), some, count, batch.scans if shared else None)
        compared = features[batch.rows], segments, means
        if recipe.objective == "st-slidr":
            return {"loss": st_slidr_balanced(*compared, frozen_means(said, batch.superpixels, count))}
        space = slidr(*compared)
        return {"loss": space} if recipe.objective == "slidr" else consistent(space, features, batch)

    return loss


def consistent(space: Tensor, features: Tensor, batch: DistilBatch) -> dict[str, Tensor]:
    """Seal's loss: that in ``space``, between two sweeps and within each, in equal parts; each is logged by itself.

    ``features`` (M, D) of all packed points. A batch without a second sweep, of drives of one scan, learns in space
    alone; its other parts are NaN.
    """
    if batch.segments is None:
        missing = space.new_tensor(torch.nan)
        return {"loss": space, "loss/space": space.detach(), "loss/time": missing, "loss/points": missing}
    own, count = batch.own, batch.segment_count
    here, there = batch.segments[:own], batch.segments[own:]
    time = temporal(features[:own], here, features[own:], there, count)
    within = [point_to_segment(features[:own], here, count), point_to_segment(features[own:], there, count)]
    points = (within[0] + within[1]) / 2
    parts = {"loss/space": space.detach(), "loss/time": time.detach(), "loss/points": points.detach()}
    return {"loss": space + time + points} | parts


def _validation(
    samples: TrainSamples, loss: DistilLoss, device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that measures the loss on up to 64 held-out frames, always the same cameras and augmentations."""
    chosen = evenly(samples, 64)
    collate = Collate(samples.tokenizer)

    def validate(model: nn.Module) -> dict[str, float]:
        drawn = [samples[(0, index)] for index in chosen]
        usable: Sequence[DistilSample] = [s for s in drawn if isinstance(s, DistilSample)]
        skipped = [s.reason for s in drawn if isinstance(s, Skip)]
        if not usable:
            log.warning("no held-out frame is usable, so no loss is validated; the first: %s", skipped[0])
        total = pairs = 0.0
        model.eval()
        with torch.no_grad():
            for one in usable:
                batch = collate([one]).batch
                if isinstance(batch, DistilBatch):
                    size = len(batch.rows)
                    total += float(loss(model, batch.to(device))["loss"]) * size
                    pairs += size
        model.train()
        return {"loss": total / pairs} if pairs else {}

    return validate
