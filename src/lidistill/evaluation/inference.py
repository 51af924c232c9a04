"""A trained network over whole scans: one result per recorded point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Subset

from lidistill.datasets.source import Source
from lidistill.evaluation.confusion import Confusion
from lidistill.sensing.frame import Frame
from lidistill.students.network import Network
from lidistill.training.loader import one_thread, resolve_workers
from lidistill.training.samples import Collate, FullSamples, SegmentBatch, Skip, full_sample


@dataclass(frozen=True)
class Scanned:
    """What the network says of one scan: per recorded point, the row of ``outputs`` it takes.

    ``features`` (M, F) float32 of the backbone and ``outputs`` (M, C) float32 of the head for the M points that the
    network saw; ``rows`` (N,) int64; ``labels`` (N,) int64 with 255 where there is none; ``index`` in the source.
    """

    index: int
    token: str
    features: Tensor
    outputs: Tensor
    rows: Tensor
    labels: Tensor

    def prediction(self) -> NDArray[np.uint8]:
        """(N,) uint8: the class with the largest output."""
        return self.outputs.argmax(1)[self.rows].to(torch.uint8).numpy()


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def scan(network: Network, source: Source, voxel: float, *, part: tuple[int, int] = (0, 1)) -> Iterator[Scanned | Skip]:
    """Run ``network`` (in evaluation mode) over the frames of ``source``, in order.

    Preparation runs in loader workers beside the network. ``part`` = (rank, world) takes every world-th frame, so
    that several devices see each frame exactly once.
    """
    rank, world = part
    network = network.to(best_device()).eval()
    tokenizer = network.backbone.tokenizer
    samples = FullSamples(source, voxel, tokenizer)
    indices = range(rank, len(source), world)
    chosen = Subset(samples, indices)
    # one frame needs no extra process
    workers = resolve_workers("auto", world) if len(chosen) > 1 else 0
    loader = DataLoader(
        chosen, batch_size=1, collate_fn=Collate(tokenizer), num_workers=workers, worker_init_fn=one_thread
    )
    with torch.inference_mode():
        for index, collated in zip(indices, loader, strict=True):
            yield from collated.skipped
            if isinstance(collated.batch, SegmentBatch):
                yield _scanned(network, collated.batch, index)


def look(network: Network, frame: Frame, voxel: float) -> Scanned:
    """What ``network`` says of one frame. Raises ``InputError`` when it sees no point of it."""
    network = network.to(best_device()).eval()
    tokenizer = network.backbone.tokenizer
    batch = Collate(tokenizer)([full_sample(frame, voxel, tokenizer)]).batch
    assert isinstance(batch, SegmentBatch)
    with torch.inference_mode():
        return _scanned(network, batch, 0)


def _scanned(network: Network, batch: SegmentBatch, index: int) -> Scanned:
    features = network.backbone(batch.points.to(best_device())).float()
    outputs = network.head(features).float().cpu()
    return Scanned(index, batch.tokens[0], features.cpu(), outputs, batch.rows, batch.labels)


@dataclass(frozen=True)
class Evaluation:
    """The confusion over all labelled points of a split, and the frames left out."""

    confusion: Confusion
    tokens: tuple[str, ...]
    skipped: tuple[Skip, ...]


def evaluate(network: Network, source: Source, classes: tuple[str, ...], voxel: float) -> Evaluation:
    """One global confusion matrix over all recorded points that have a label (ScaLR's protocol, point level).

    Inside a distributed run the frames are shared out, none counted twice, and every process gets the whole result.
    """
    part = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    confusion = Confusion(classes)
    skipped: list[Skip] = []
    tokens: list[str] = []
    for item in scan(network, source, voxel, part=part):
        if isinstance(item, Skip):
            skipped.append(item)
        else:
            tokens.append(item.token)
            confusion.add(item.labels.numpy(), item.prediction())
    if part[1] == 1:
        return Evaluation(confusion, tuple(sorted(tokens)), tuple(skipped))
    parts: list[tuple[Confusion, list[str], list[Skip]]] = [(confusion, tokens, skipped)] * part[1]
    distributed.all_gather_object(parts, (confusion, tokens, skipped))
    for other, _, _ in parts[: part[0]] + parts[part[0] + 1 :]:
        confusion = confusion + other
    everything = sorted(token for _, found, _ in parts for token in found)
    return Evaluation(confusion, tuple(everything), tuple(skip for _, _, left in parts for skip in left))
