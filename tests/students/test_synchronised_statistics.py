"""Batch norms converted to SyncBatchNorm: the embedding's statistics are those of all processes."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from lidistill.students.embedding import Embedding


def made() -> tuple[Embedding, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    embedding = Embedding(3, 4).train()
    neighbors = torch.cat([torch.randint(0, 12, (12, 5)), torch.randint(12, 20, (8, 5))])
    return embedding, torch.randn(20, 3), neighbors


def run(embedding: nn.Module, values: torch.Tensor, neighbors: torch.Tensor) -> dict[str, torch.Tensor]:
    output = embedding(values, neighbors)
    output.sin().sum().backward()
    gradients = {name: p.grad for name, p in embedding.named_parameters()}
    return {"output": output.detach(), **gradients, **dict(embedding.named_buffers())}


def work(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    embedding, values, neighbors = made()
    embedding = nn.SyncBatchNorm.convert_sync_batchnorm(embedding)
    rows = slice(0, 12) if rank == 0 else slice(12, 20)
    torch.save(run(embedding, values[rows], neighbors[rows] - rows.start), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    together = run(*made())
    assert torch.allclose(torch.cat([first["output"], second["output"]]), together["output"], atol=1e-5)
    for name, value in together.items():
        if "running" in name or "num_batches" in name:
            assert torch.allclose(first[name], value, atol=1e-6), name
            assert torch.allclose(second[name], value, atol=1e-6), name
        elif name != "output":  # each process has the gradient of its own points' loss
            assert torch.allclose(first[name] + second[name], value, atol=2e-4), name
