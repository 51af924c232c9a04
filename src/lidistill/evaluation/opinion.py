"""What pictures say of the points of a domain: an opinion on networks in which neither label nor lidar has a part."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lidistill.datasets.source import any_frame, usable
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import best_device, look
from lidistill.evaluation.information import FRAMES
from lidistill.sensing.frame import IGNORE, Frame
from lidistill.sensing.pairing import pair
from lidistill.students.heads import TwoViews
from lidistill.students.network import Network
from lidistill.teachers.colors import ColorMatch
from lidistill.teachers.images import prepare
from lidistill.teachers.joint import join
from lidistill.teachers.registry import load_teachers
from lidistill.teachers.sampling import sample
from lidistill.training.crops import Crop
from lidistill.training.distil import measure_colors
from lidistill.training.recipe import DistilRecipe
from lidistill.training.samples import full_sample


@dataclass(frozen=True, eq=False)
class Opinion:
    """Classes that pictures give to points of ``target``: ``said`` has (N,) uint8 by frame number, 255 = none."""

    target: Unlabelled
    voxel: float
    said: Mapping[int, NDArray[np.uint8]]

    def __call__(self, network: Network) -> float:
        """How far ``network`` agrees: mean IoU, 0 to 1, over the classes that the pictures name."""
        confusion = Confusion([str(number) for number in range(network.head_config.outputs)])
        for index, said in self.said.items():
            confusion.add(said, look(network, self.target[index], self.voxel).prediction())
        return float(confusion.iou()[confusion.truth() > 0].mean())


def ask_pictures(
    network: Network, recipe: DistilRecipe, target: Unlabelled, voxel: float, weights: Sequence[str | None] = ()
) -> Opinion:
    """What the head of ``network`` that reads the space of its teachers finds in up to twenty frames' pictures.

    ``network`` was distilled by ``recipe``: what it says of a point in that space is what the teachers say of the pixel
    there, so its head reads their features as well as its own. ``weights``: their fingerprints then, in order, None
    where one was not written down. Raises ``InputError`` with the reason when it has no such head, a teacher cannot
    be had or is another one now, or no picture can be used.
    """
    head = network.head.said if isinstance(network.head, TwoViews) else network.head
    if network.space is None or recipe.image_head is not None:
        raise InputError("no head of it reads the space of its teachers")
    if not any_frame(target, lambda frame: bool(frame.views)):
        raise InputError(f"{target.spec}: its scans have no camera image")
    teachers = Teachers(recipe, target)
    for weight, known, teacher in zip(weights, recipe.teachers, teachers.teachers, strict=False):
        if weight not in (None, teacher.fingerprint()):
            raise InputError(f"teacher {known.name} is another one than that it was distilled from")
    head = copy.deepcopy(head).to(best_device())

    def say(frame: Frame) -> NDArray[np.uint8]:
        if not frame.views:
            raise InputError(f"{frame.token}: has no camera image")
        full_sample(frame, voxel, network.tokenizer)  # what it cannot see, no network is asked about
        return teachers.classes(frame, head)

    found = dict(usable(target, FRAMES, say))
    if not any((said != IGNORE).any() for said in found.values()):
        raise InputError(f"{target.spec}: no camera sees a point of its scans")
    return Opinion(target, voxel, found)


class Teachers:
    """The teachers of a distillation, as they are shown the pictures of ``target``."""

    def __init__(self, recipe: DistilRecipe, target: Unlabelled) -> None:
        self.recipe = recipe
        self.teachers = [teacher.to(best_device()) for teacher in load_teachers(recipe.teachers)]
        matched = measure_colors(target, self.teachers).get(target.spec)
        self.colors: tuple[ColorMatch | None, ...] = matched or (None,) * len(self.teachers)

    @torch.inference_mode()
    def classes(self, frame: Frame, head: nn.Module) -> NDArray[np.uint8]:
        """(N,) what ``head`` reads from the features at the pixels of the points; 255 where no camera sees."""
        said = np.full(len(frame), IGNORE, np.uint8)
        for view in frame.views:
            pairs = pair(frame, view, occlusion=self.recipe.occlusion)
            whole, found = Crop(0, 0, view.width, view.height), []
            first = torch.zeros(len(pairs), dtype=torch.long, device=best_device())
            for known, teacher, color in zip(self.recipe.teachers, self.teachers, self.colors, strict=True):
                image = prepare(view.image(), known.image_size, antialias=known.antialias)
                features = teacher((image if color is None else color(image))[None].to(best_device()))
                pixels = torch.from_numpy(whole.pixels(pairs.pixels, known.image_size)).float().to(best_device())
                found.append(sample(features, first, pixels, known.image_size, teacher.grid).float())
            features = functional.normalize(join(found, [known.weight for known in self.recipe.teachers]), dim=1)
            said[pairs.rows] = head(features).argmax(1).to(torch.uint8).cpu().numpy()
        return said
