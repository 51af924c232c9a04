"""Batches in a fixed order: a function of (seed, epoch) alone, resumable at any iteration, split over devices."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lidistill.training.recipe import DistilRecipe, SegmentRecipe
from lidistill.training.samples import Collate, Collated, DistilBatch, SegmentBatch, TrainSamples


class Order(Sampler[list[tuple[int, int]]]):
    """Yields, from iteration ``start`` on, this device's share of every batch as (epoch, index) pairs.

    An epoch is a permutation drawn from (seed, epoch), cut into whole batches; what does not fill a batch is
    left out (the published rule). A batch is never larger than the data set.
    """

    def __init__(
        self, frames: int, batch_size: int, epochs: int, seed: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.frames, self.epochs, self.seed = frames, epochs, seed
        self.batch_size = max(min(batch_size, frames), 1)
        self.start, self.rank, self.world = start, rank, world

    @property
    def per_epoch(self) -> int:
        """Iterations of one epoch."""
        return self.frames // self.batch_size

    @property
    def iterations(self) -> int:
        """Iterations of the whole run."""
        return self.per_epoch * self.epochs

    def __len__(self) -> int:
        return self.iterations - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first, offset = divmod(self.start, max(self.per_epoch, 1))
        for epoch in range(first, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.frames)
            for batch in range(offset, self.per_epoch):
                rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                # a batch smaller than the number of devices repeats frames, so that no device is idle
                rows = rows if len(rows) >= self.world else np.resize(rows, self.world)
                yield [(epoch, int(index)) for index in rows[self.rank :: self.world]]
            offset = 0


def resolve_workers(workers: int | str, devices: int = 1) -> int:
    """Loader processes per device: ``auto`` = the machine's cores shared by its devices, at most 8 each."""
    if workers != "auto":
        return int(workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(8, cores // max(devices, 1)))


def one_thread(_: int) -> None:
    """Workers run one thread each: they are many, and the training process needs the cores."""
    torch.set_num_threads(1)


def train_loader(
    samples: TrainSamples, order: Order, recipe: DistilRecipe | SegmentRecipe, *, workers: int, pin: bool
) -> DataLoader[Collated[DistilBatch | SegmentBatch]]:
    """One loader for the whole rest of the run: its workers live through all epochs."""
    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=order,
        collate_fn=Collate(samples.tokenizer),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=one_thread,
        # torch draws a seed for the workers when a loader starts; from the common generator, a resumed run would get
        # other random numbers than an uninterrupted one
        generator=torch.Generator(),
        prefetch_factor=4 if workers else None,
    )
