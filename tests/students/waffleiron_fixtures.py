"""Reference fixtures of ``01_waffleiron`` as packed batches and as our networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lidistill.students.batch import PointBatch
from lidistill.students.checkpoints import export_state, import_checkpoint
from lidistill.students.network import Network
from lidistill.students.tokenizer import PlaneTokenizer

Arrays = Mapping[str, np.ndarray]


def tokenizer(grids: list[list[int]], neighbors: int = 16) -> PlaneTokenizer:
    """A tokenizer whose planes have the fixtures' grids; cells of 1 m."""
    (x, y), (_, z) = grids[0], grids[1]
    return PlaneTokenizer(((-x / 2, x / 2), (-y / 2, y / 2), (-z / 2, z / 2)), (x, y, z), neighbors)


def sizes(arrays: Arrays, prefix: str = "") -> list[int]:
    return [int(row.sum()) for row in arrays[f"{prefix}occupied"]]


def packed_batch(arrays: Arrays, grids: list[list[int]], prefix: str = "") -> PointBatch:
    """The real points only, packed by the library."""
    clouds = []
    for b, size in enumerate(sizes(arrays, prefix)):
        features = arrays[f"{prefix}feat"][b, :, :size].T
        clouds.append(
            {
                "coords": np.ascontiguousarray(features[:, 1:4]),
                "features": np.ascontiguousarray(features),
                "cells": arrays[f"{prefix}cell_ind"][b, :, :size].astype(np.int64),
                "neighbors": arrays[f"{prefix}neighbors"][b, 1:, :size].T.astype(np.int64),
            }
        )
    return tokenizer(grids).collate(clouds)


def padded_batch(arrays: Arrays, grids: list[list[int]], prefix: str = "", *, counted: bool = False) -> PointBatch:
    """Padded positions as ordinary rows, over the whole grids; ``counted``: cells average them too (as in ScaLR+)."""
    occupied = arrays[f"{prefix}occupied"]
    clouds, points = occupied.shape
    start = np.arange(clouds)[:, None] * points
    features = arrays[f"{prefix}feat"].transpose(0, 2, 1).reshape(clouds * points, -1)
    neighbors = arrays[f"{prefix}neighbors"][:, 1:].transpose(0, 2, 1) + start[..., None]
    prepared = {"neighbors": neighbors.reshape(clouds * points, -1).astype(np.int64)}
    real = np.ones(clouds * points) if counted else occupied.reshape(-1).astype(np.float64)
    for plane, (height, width) in enumerate(grids):
        cells = arrays[f"{prefix}cell_ind"][:, plane].astype(np.int64)
        cells = (cells + np.arange(clouds)[:, None] * height * width).reshape(-1)
        counts = np.bincount(cells, minlength=clouds * height * width)
        averaged = np.bincount(cells, weights=real, minlength=clouds * height * width)
        prepared[f"cells_{plane}"] = cells
        prepared[f"order_{plane}"] = cells.argsort(kind="stable")
        prepared[f"starts_{plane}"] = (counts.cumsum() - counts).reshape(clouds, height, width)
        # the older code divides by the count + 1e-6
        prepared[f"weights_{plane}"] = real / (averaged[cells] + (0 if counted else 1e-6))
    offsets = torch.arange(clouds + 1) * points
    rows = torch.from_numpy(features)
    return PointBatch(rows[:, 1:4], rows, offsets, {name: torch.from_numpy(a) for name, a in prepared.items()})


def rows(values: np.ndarray) -> Tensor:
    """(B, C, N) -> (B * N, C)."""
    return torch.from_numpy(values).transpose(1, 2).flatten(0, 1)


def real_rows(values: np.ndarray, points: list[int]) -> Tensor:
    """(B, C, N) -> (M, C), the real points of every cloud."""
    return torch.cat([torch.from_numpy(values[b, :, :size].T) for b, size in enumerate(points)])


def network_of(state: Mapping[str, Tensor], folder: Path, *, activation: str, drop_path: float = 0.0) -> Network:
    """Our network with a state dictionary of the published code."""
    file = folder / "state.pth"
    torch.save({"model_point": dict(state)}, file)
    imported = import_checkpoint(file, activation=activation)
    network = Network(imported.student.model_copy(update={"drop_path": drop_path}), imported.head)
    network.load_state_dict(imported.state)
    return network.eval()


def gradients(network: Network) -> dict[str, Tensor]:
    """Gradients under the published names and shapes (buffers come along as they are)."""
    holder = copy.deepcopy(network)
    for (_, theirs), (_, ours) in zip(holder.named_parameters(), network.named_parameters(), strict=True):
        assert ours.grad is not None
        theirs.data = ours.grad.clone()
    return export_state(holder)


def assert_close(ours: Tensor, reference: Tensor, tolerance: float, name: str = "") -> None:
    """The fixtures' "rel": largest difference <= tolerance * max(1, largest reference value)."""
    assert ours.shape == reference.shape, (name, ours.shape, reference.shape)
    difference = (ours.detach().double() - reference.double()).abs().max().item()
    limit = tolerance * max(1.0, reference.abs().max().item())
    assert difference <= limit, f"{name}: {difference:.2e} > {limit:.2e}"
