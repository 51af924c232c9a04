"""Packed clouds against padded ones: time and peak memory of one training step of a WaffleIron.

    python benchmarks/packing.py

The padded network is laid out as the published code is: (B, C, N) tensors padded to the longest cloud, 1 x 1
convolutions, all neighbours at once, sums scattered onto the whole grid. It holds the same weights and gives the same
outputs (checked). Batches: ``mixed``, what four sensors' camera views hold after voxel sampling; ``equal``, the same
number of points in clouds of one size, where nothing is padded: what is left there is the layout's gain.
Processor times of one thread, medians of alternating repetitions in one process; peak memory is that of a process of
its own beyond what it held before. Writes ``results/packing.json``; the ratios are the result.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from lidistill.evaluation.table import text_table
from lidistill.students.checkpoints import export_state
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config
from lidistill.students.tokenizer import PlaneTokenizer
from memory import peak
from record import write_record

BATCHES = {"mixed": (3_000, 4_000, 14_000, 20_000), "equal": (10_250,) * 4}
STUDENTS = ("waffleiron-8-64", "waffleiron-3-256")
OUTPUTS = 64

Clouds = list[dict[str, np.ndarray]]


# ---- the padded network, under the published names


class PaddedEmbedding(nn.Module):
    """(B, 5, N) -> (B, C, N)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.conv1 = nn.Conv1d(channels, width, 1)
        self.conv2 = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1, bias=False),
        )
        self.final = nn.Conv1d(2 * width, width, 1)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """``neighbors`` (B, K, N)."""
        x = self.norm(features)
        batch, count, points = neighbors.shape
        index = neighbors.reshape(batch, 1, count * points).expand(-1, x.shape[1], -1)
        around = x.gather(2, index).view(batch, -1, count, points) - x[:, :, None]
        return self.final(torch.cat([self.conv1(x), self.conv2(around).amax(dim=2)], dim=1))


class Mix(nn.Module):
    """Either mixer: norm, two layers with a ReLU between, scale."""

    def __init__(self, config: StudentConfig, name: str, layers: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.width) if config.norm == "batch" else nn.LayerNorm(config.width)
        self.add_module(name, nn.Sequential(layers(), nn.ReLU(inplace=True), layers()))
        self.scale = nn.Conv1d(config.width, config.width, 1, bias=False, groups=config.width)

    def normed(self, x: Tensor) -> Tensor:
        """Norm over the channels of (B, C, N)."""
        return self.norm(x) if isinstance(self.norm, nn.BatchNorm1d) else self.norm(x.transpose(1, 2)).transpose(1, 2)


class PaddedWaffleIron(nn.Module):
    """Both lists of mixers."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = config.width
        self.grids = PlaneTokenizer.of(config).grids
        self.channel_mix = nn.ModuleList(
            Mix(config, "mlp", lambda: nn.Conv1d(width, width, 1)) for _ in range(config.depth)
        )
        self.spatial_mix = nn.ModuleList(
            Mix(config, "ffn", lambda: nn.Conv2d(width, width, 3, padding=1, groups=width)) for _ in range(config.depth)
        )

    def forward(self, x: Tensor, cells: Tensor, share: Tensor) -> Tensor:
        """``cells`` (B, 3, N), ``share`` (B, 3, N): 1 / points in the cell, 0 for padding."""
        for depth, (spatial, channel) in enumerate(zip(self.spatial_mix, self.channel_mix, strict=True)):
            plane = depth % len(self.grids)
            height, width = self.grids[plane]
            index = cells[:, plane, None].expand(-1, x.shape[1], -1)
            image = x.new_zeros(len(x), x.shape[1], height * width)
            image = image.scatter_add(2, index, spatial.normed(x) * share[:, plane, None])
            image = spatial.ffn(image.view(len(x), -1, height, width)).flatten(2)
            x = x + spatial.scale(image).gather(2, index)
            x = x + channel.scale(channel.mlp(channel.normed(x)))
        return x


class Padded(nn.Module):
    """Embedding, backbone, head."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.embed = PaddedEmbedding(config.in_channels, config.width)
        self.waffleiron = PaddedWaffleIron(config)
        self.classif = nn.Conv1d(config.width, OUTPUTS, 1)

    def forward(self, features: Tensor, neighbors: Tensor, cells: Tensor, share: Tensor) -> Tensor:
        """(B, OUTPUTS, N)."""
        return self.classif(self.waffleiron(self.embed(features, neighbors), cells, share))


def padded_batch(clouds: Clouds, grids: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    """The arguments of ``Padded``."""
    longest = max(len(cloud["coords"]) for cloud in clouds)

    def fill(rows: np.ndarray, value: int) -> np.ndarray:
        """(D, N) -> (D, longest)."""
        return np.pad(rows, ((0, 0), (0, longest - rows.shape[1])), constant_values=value)

    def share(cells: np.ndarray) -> np.ndarray:
        counts = [np.bincount(cells[p], minlength=h * w)[cells[p]] for p, (h, w) in enumerate(grids)]
        return (1 / (np.stack(counts) + 1e-6)).astype(np.float32)

    columns = (
        [fill(cloud["features"].T, 0) for cloud in clouds],
        [fill(cloud["neighbors"].T, longest - 1) for cloud in clouds],
        [fill(cloud["cells"], 0) for cloud in clouds],
        [fill(share(cloud["cells"]), 0) for cloud in clouds],
    )
    return tuple(torch.from_numpy(np.stack(column)) for column in columns)


# ---- inputs


def view(points: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 3): a camera's wedge of a scan, ground and walls, one point per 0.1 m voxel."""
    kept = np.zeros((0, 3), np.float32)
    heading = rng.uniform(-np.pi, np.pi)
    while len(kept) < points:
        azimuth = heading + rng.uniform(-0.6, 0.6, 2 * points)
        reach = np.clip(rng.gamma(2.0, 8.0, 2 * points), 2, 63)
        height = np.where(rng.random(2 * points) < 0.5, -1.7, rng.uniform(-1.7, 4, 2 * points))
        more = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), height], axis=1).astype(np.float32)
        kept = np.concatenate([kept, more])
        kept = kept[np.unique(np.floor(kept / 0.1).astype(np.int64), axis=0, return_index=True)[1]]
    return kept[rng.permutation(len(kept))[:points]]


def tokenise(config: StudentConfig, sizes: Sequence[int]) -> Clouds:
    """Clouds of the given sizes, as the tokenizer prepares them."""
    rng, tokenizer = np.random.default_rng(0), PlaneTokenizer.of(config)
    clouds = []
    for size in sizes:
        points = view(size, rng)
        distance = np.linalg.norm(points, axis=1, keepdims=True)
        clouds.append(dict(tokenizer(points, np.hstack([rng.normal(size=(size, 1)), points, distance]))))
    return clouds


def steps(student: str, batch: str) -> dict[str, Callable[[], None]]:
    """Forward and backward of both networks on one batch; raises if their outputs differ."""
    torch.manual_seed(0)
    config = student_config(student)
    clouds = tokenise(config, BATCHES[batch])
    network = Network(config, HeadConfig(kind="linear", outputs=OUTPUTS))
    padded = Padded(config)
    padded.load_state_dict(export_state(network))
    points = network.tokenizer.collate(clouds)
    arguments = padded_batch(clouds, PlaneTokenizer.of(config).grids)
    with torch.no_grad():
        ours, theirs = network.eval()(points), padded.eval()(*arguments)
        theirs = torch.cat([theirs[b, :, : len(cloud["coords"])].T for b, cloud in enumerate(clouds)])
    if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
        raise RuntimeError(f"the networks differ by {(ours - theirs).abs().max():.1e}")
    network.train()
    padded.train()

    def packed_step() -> None:
        network.zero_grad()
        network(points).square().mean().backward()

    def padded_step() -> None:
        padded.zero_grad()
        padded(*arguments).square().mean().backward()

    return {"packed": packed_step, "padded": padded_step}


# ---- measuring


def milliseconds(student: str, batch: str, repetitions: int) -> dict[str, float]:
    """Median processor time of a step of each."""
    ways = steps(student, batch)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions + 1):
        for name, step in ways.items():
            start = time.process_time()
            step()
            spent[name].append(1000 * (time.process_time() - start))
    return {name: median(times[1:]) for name, times in spent.items()}


def one_step(student: str, batch: str, way: str) -> Callable[[], None]:
    """A step, for its memory."""
    return steps(student, batch)[way]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for student in STUDENTS:
        for batch, sizes in BATCHES.items():
            times = milliseconds(student, batch, args.repetitions)
            memory = {way: peak(one_step, student, batch, way) for way in times}
            rows.append(
                {
                    "student": student,
                    "batch": batch,
                    "padding": round(1 - sum(sizes) / (max(sizes) * len(sizes)), 2),
                    "packed ms": round(times["packed"]),
                    "padded ms": round(times["padded"]),
                    "time ratio": round(times["padded"] / times["packed"], 2),
                    "packed MiB": round(memory["packed"]),
                    "padded MiB": round(memory["padded"]),
                    "memory ratio": round(memory["padded"] / memory["packed"], 2),
                }
            )
            print(text_table(rows[-1:]), flush=True)
    result = {
        "what": "one training step, forward and backward, padded / packed",
        "points": {name: list(sizes) for name, sizes in BATCHES.items()},
        "repetitions": args.repetitions,
        "rows": rows,
    }
    write_record("packing", result)


if __name__ == "__main__":
    main()
