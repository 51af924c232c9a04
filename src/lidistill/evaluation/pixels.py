"""An image network over whole pictures: a class for every recorded pixel, and one confusion over those of a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from lidistill.datasets.pictures.pictures import PictureSource
from lidistill.errors import InputError
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import Evaluation, best_device, gathered, share
from lidistill.sensing.frame import IGNORE
from lidistill.teachers.image_network import GRID, ImageNetwork, normalise
from lidistill.teachers.images import prepare
from lidistill.teachers.sampling import likeliest
from lidistill.training.loader import resolve_workers, start_worker
from lidistill.training.samples import Skip

Size = tuple[int, int]


@dataclass(frozen=True)
class _Shown:
    """A picture as the network is shown it, (3, h, w) in [0, 1], and its recorded classes (H, W)."""

    token: str
    image: Tensor
    classes: NDArray[np.uint8]


@dataclass(frozen=True)
class _Whole(Dataset[_Shown | Skip]):
    """The pictures of ``source`` resized to ``size``."""

    source: PictureSource
    size: Size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> _Shown | Skip:
        try:
            picture = self.source[index]
            if picture.classes is None:
                raise InputError(f"{picture.token}: has no mask to compare with")
            return _Shown(picture.token, prepare(picture.image(), self.size), picture.classes)
        except InputError as error:
            return Skip(f"{self.source.name}[{index}]", str(error))


def classify(network: ImageNetwork, image: Tensor, shape: Size, pixels: Tensor | None = None) -> NDArray[np.uint8]:
    """Classes (P,) that ``network`` gives to ``pixels`` (P, 2) = (u, v) of a recorded picture of ``shape`` (H, W).

    ``image`` (3, h, w) in [0, 1] is what it is shown of it; None = all pixels, row by row. Scores are read as lidar
    points read features: with four taps.
    """
    size = (image.shape[1], image.shape[2])
    device = next(network.parameters()).device
    with torch.inference_mode():
        _, scores = network(normalise(image[None].to(device), network.mean, network.std))
        return likeliest(scores, shape, size, GRID, pixels).to(torch.uint8).cpu().numpy()


def evaluate_pictures(
    network: ImageNetwork, source: PictureSource, size: Size, *, title: str | None = "evaluate"
) -> Evaluation:
    """One global confusion matrix over all recorded pixels that have a class.

    ``size``: what pictures are resized to for the network; ``title`` of the progress bar, None = no bar. Inside a
    distributed run the pictures are shared out, none counted twice, and every process gets the whole result.
    """
    rank, world = share()
    network = network.to(best_device()).eval()
    confusion = Confusion(network.model.classes)
    tokens: list[str] = []
    skipped: list[Skip] = []
    rows = range(rank, len(source), world)
    for item in tqdm(_read(source, size, rows), title, len(rows), unit="picture", disable=title is None or rank > 0):
        if isinstance(item, Skip):
            skipped.append(item)
            continue
        v, u = np.nonzero(item.classes != IGNORE)
        found = classify(network, item.image, item.classes.shape, torch.from_numpy(np.stack([u, v], 1)))
        confusion.add(item.classes[v, u], found)
        tokens.append(item.token)
    return gathered(confusion, tokens, skipped)


def _read(source: PictureSource, size: Size, rows: range) -> Iterator[_Shown | Skip]:
    """Pictures decoded in loader workers beside the network."""
    return iter(
        DataLoader(
            Subset(_Whole(source, size), rows),
            batch_size=None,
            num_workers=resolve_workers("auto") if len(rows) > 8 else 0,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # the common one is the training's
        )
    )
