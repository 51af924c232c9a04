"""A trained network over whole scans: one result per recorded point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.poses import Viewpoint, poses
from lidistill.sensing.frame import Frame
from lidistill.students.batch import Tokenizer
from lidistill.students.network import Network
from lidistill.training.loader import resolve_workers, start_worker
from lidistill.training.samples import Collate, Collated, SegmentBatch, SegmentSample, Skip, full_sample

AS_RECORDED = poses(1)
Ids = NDArray[np.integer]


@dataclass(frozen=True)
class Scanned:
    """What the network says of one scan: per recorded point, the row of ``outputs`` it takes.

    ``features`` (M, F) float32 of the backbone and ``outputs`` (M, C) float32 of the head for the M points that the
    network saw; ``rows`` (N,) int64; ``labels`` (N,) int64 with 255 where there is none; ``index`` in the source.
    ``features``, hundreds of MB in a wide network, stay on its device; everything else is on the CPU.
    """

    index: int
    token: str
    features: Tensor
    outputs: Tensor
    rows: Tensor
    labels: Tensor

    def prediction(self, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
        """(N,) uint8: the class with the largest output, among those that are ``allowed`` (C,) if that is given."""
        outputs = self.outputs
        if allowed is not None:
            outputs = outputs.masked_fill(~torch.from_numpy(allowed), -torch.inf)
        return outputs.argmax(1)[self.rows].to(torch.uint8).numpy()


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Posed(Dataset[tuple[SegmentSample | Skip, ...]]):
    """Whole scans of ``source`` in order, each in every one of ``poses``; a frame with a pose that fails is skipped."""

    def __init__(self, source: Source, voxel: float, tokenizer: Tokenizer, poses: Sequence[Viewpoint]) -> None:
        self.source, self.voxel, self.tokenizer, self.poses = source, voxel, tokenizer, tuple(poses)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[SegmentSample | Skip, ...]:
        try:
            frame = self.source[index]
            return tuple(full_sample(pose.apply(frame), self.voxel, self.tokenizer) for pose in self.poses)
        except InputError as error:
            return (Skip(f"{self.source.name}[{index}]", str(error)),)


@dataclass(frozen=True)
class _Each:
    """Packs every pose of a scan by itself."""

    collate: Collate

    def __call__(self, samples: Sequence[SegmentSample | Skip]) -> list[Collated[SegmentBatch]]:
        return [self.collate([sample]) for sample in samples]  # type: ignore[misc]


def scan(
    network: Network,
    source: Source,
    voxel: float,
    *,
    part: tuple[int, int] = (0, 1),
    poses: Sequence[Viewpoint] = AS_RECORDED,
) -> Iterator[Scanned | Skip]:
    """Run ``network`` (in evaluation mode) over the frames of ``source``, in order.

    Preparation runs in loader workers beside the network. ``part`` = (rank, world) takes every world-th frame, so
    that several devices see each frame exactly once. With several ``poses`` the network sees each scan in all of them:
    ``outputs`` are then the mean of the softmax over the poses, a row per recorded point, ``features`` the first's.
    """
    rank, world = part
    network = network.to(best_device()).eval()
    tokenizer = network.tokenizer
    indices = range(rank, len(source), world)
    chosen = Subset(Posed(source, voxel, tokenizer, poses), indices)
    # one frame needs no extra process
    workers = resolve_workers("auto", world) if len(chosen) > 1 else 0
    loader: DataLoader[list[Collated[SegmentBatch]]] = DataLoader(
        chosen,  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_Each(Collate(tokenizer)),
        num_workers=workers,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # or workers would draw their seeds from the state that training goes on from
    )
    with torch.inference_mode():
        for index, views in zip(indices, loader, strict=True):
            for collated in views:
                yield from collated.skipped
            seen: list[Scanned] = []
            for view in views:
                if view.batch is not None:
                    item = _scanned(network, view.batch, index)
                    seen.append(replace(item, features=item.features[:0].clone()) if seen else item)
            if seen:
                yield _averaged(seen)


def _averaged(seen: Sequence[Scanned]) -> Scanned:
    """One result of a scan that was seen in several poses."""
    first = seen[0]
    if len(seen) == 1:
        return first
    outputs = torch.stack([item.outputs.softmax(1)[item.rows] for item in seen]).mean(0)
    return replace(first, features=first.features[first.rows], outputs=outputs, rows=torch.arange(len(first.rows)))


def look(network: Network, frame: Frame, voxel: float) -> Scanned:
    """What ``network`` says of one frame. Raises ``InputError`` when it sees no point of it."""
    network = network.to(best_device()).eval()
    tokenizer = network.tokenizer
    batch = Collate(tokenizer)([full_sample(frame, voxel, tokenizer)]).batch
    assert isinstance(batch, SegmentBatch)
    with torch.inference_mode():
        return _scanned(network, batch, 0)


def _scanned(network: Network, batch: SegmentBatch, index: int) -> Scanned:
    points = batch.points.to(best_device())
    features = network.backbone(points).float()
    outputs = network.read(features, points).float().cpu()
    return Scanned(index, batch.tokens[0], features, outputs, batch.rows, batch.labels)


@dataclass(frozen=True)
class Evaluation:
    """The confusion over all labelled points of a split, and the frames left out; ``seconds`` it took."""

    confusion: Confusion
    tokens: tuple[str, ...]
    skipped: tuple[Skip, ...]
    seconds: float = 0.0


def as_learned(item: Scanned) -> tuple[Ids, Ids]:
    """Truth and prediction (N,) of a scan in the network's own classes."""
    return item.labels.numpy(), item.prediction()


def evaluate(
    network: Network,
    source: Source,
    classes: tuple[str, ...],
    voxel: float,
    *,
    poses: Sequence[Viewpoint] = AS_RECORDED,
    read: Callable[[Scanned], tuple[Ids, Ids]] = as_learned,
    title: str = "evaluate",
) -> Evaluation:
    """One global confusion matrix over all recorded points that have a label (ScaLR's protocol, point level).

    ``read`` gives truth and prediction of a scan as ids of ``classes``; ``poses`` as in ``scan``. Inside a distributed
    run the frames are shared out, none counted twice, and every process gets the whole result.
    """
    rank, world = part = share()
    confusion = Confusion(classes)
    skipped: list[Skip] = []
    tokens: list[str] = []
    started = time.perf_counter()
    with tqdm(total=len(range(rank, len(source), world)), desc=title, unit="scan", disable=rank > 0) as bar:
        for item in scan(network, source, voxel, part=part, poses=poses):
            bar.update()
            if isinstance(item, Skip):
                skipped.append(item)
            else:
                tokens.append(item.token)
                confusion.add(*read(item))
    return replace(gathered(confusion, tokens, skipped), seconds=time.perf_counter() - started)


def share() -> tuple[int, int]:
    """(rank, world): the part of an evaluation that is this process's, one of how many."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def first() -> bool:
    """Whether this is the process that prints and writes."""
    return share()[0] == 0


def gathered(confusion: Confusion, tokens: list[str], skipped: list[Skip]) -> Evaluation:
    """The whole result from the parts of all processes, the same in each."""
    mine = (confusion, tokens, skipped)
    parts = [mine] * share()[1]
    if len(parts) > 1:
        distributed.all_gather_object(parts, mine)
    return Evaluation(
        sum((found for found, _, _ in parts), Confusion(confusion.classes)),
        tuple(sorted(token for _, found, _ in parts for token in found)),
        tuple(skip for _, _, left in parts for skip in left),
    )
