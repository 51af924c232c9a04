"""Batches in a fixed order: a function of (seed, epoch) alone, resumable at any iteration, split over devices."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lidistill.training.recipe import AnyRecipe, Mixture
from lidistill.training.samples import Batch, Collated, Samples


def epoch_order(sizes: Sequence[int], mixture: Mixture, seed: int, epoch: int) -> list[tuple[int, int]]:
    """The frames of one epoch over data sets of ``sizes`` frames, one after the other, as (pass, index) pairs.

    ``proportional``: every frame once (ScaLR's plain concatenation). ``equal``: as many frames of each data set, about
    as many together; a small one is passed over several times, a large one goes on in the next epoch where it
    stopped. Within a pass over a data set every frame comes once, in an order drawn from (seed, pass).
    """
    rng = np.random.default_rng([seed, epoch])
    if mixture == "proportional" or len(sizes) == 1:
        return [(epoch, int(index)) for index in rng.permutation(sum(sizes))]
    share = max(sum(sizes) // len(sizes), 1)
    keys: list[tuple[int, int]] = []
    start = 0
    for part, size in enumerate(sizes):
        first, last = epoch * share, (epoch + 1) * share
        for number in range(first // size, (last - 1) // size + 1):
            order = start + np.random.default_rng([seed, number, part]).permutation(size)
            chosen = order[max(first - number * size, 0) : min(last - number * size, size)]
            keys += [(number, int(index)) for index in chosen]
        start += size
    return [keys[i] for i in rng.permutation(len(keys))]


class Order(Sampler[list[tuple[int, int]]]):
    """Yields, from iteration ``start`` on, this device's share of every batch as (pass, index) pairs.

    An epoch is a function of (seed, epoch), cut into whole batches; what does not fill a batch is left out (the
    published rule). A batch is never larger than an epoch.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        epochs: int,
        seed: int,
        *,
        mixture: Mixture = "proportional",
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.sizes, self.epochs, self.seed, self.mixture = tuple(sizes), epochs, seed, mixture
        self.frames = len(epoch_order(self.sizes, mixture, seed, 0))
        self.batch_size = max(min(batch_size, self.frames), 1)
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
            order = epoch_order(self.sizes, self.mixture, self.seed, epoch)
            for batch in range(offset, self.per_epoch):
                keys = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                # a batch smaller than the number of devices repeats frames, so that no device is idle
                while len(keys) < self.world:
                    keys = (keys + keys)[: self.world]
                yield keys[self.rank :: self.world]
            offset = 0


def resolve_workers(workers: int | str, devices: int = 1) -> int:
    """Loader processes per device: ``auto`` = the machine's cores shared by its devices, at most 8 each.

    ``devices``: of all machines of the run; no more of them are here than this one has GPUs.
    """
    devices = min(devices, torch.cuda.device_count() or devices)
    if workers != "auto":
        return int(workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(8, cores // max(devices, 1)))


GRACE = 60
"""Seconds: longer than an iteration and writing a checkpoint."""


def start_worker(_: int) -> None:
    """Workers run one thread each: they are many, and the training process needs the cores.

    SIGINT and SIGTERM, which a terminal and ``timeout`` send to all processes of a command, are for the training
    process alone: it saves its state and then ends its workers. One that SIGTERM meets otherwise, when Python ends,
    goes a minute later.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


def train_loader(
    samples: Samples, order: Order, recipe: AnyRecipe, *, workers: int, pin: bool
) -> DataLoader[Collated[Batch]]:
    """One loader for the whole rest of the run: its workers live through all epochs."""
    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=order,
        collate_fn=samples.collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=start_worker,
        # torch draws a seed for the workers when a loader starts; from the common generator, a resumed run would get
        # other random numbers than an uninterrupted one
        generator=torch.Generator(),
        prefetch_factor=4 if workers else None,
    )
