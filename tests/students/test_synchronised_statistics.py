"""Batch norms converted to SyncBatchNorm: the embedding's statistics are those of all processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from lidistill.students.embedding import Embedding


def run(embedding: nn.Module, values: torch.Tensor, neighbors: torch.Tensor) -> dict[str, torch.Tensor]:
    output = embedding(values, neighbors)
    output.sin().sum().backward()
    gradients = {name: p.grad for name, p in embedding.named_parameters()}
    return {"output": output.detach(), **gradients, **dict(embedding.named_buffers())}


def made() -> Embedding:
    torch.manual_seed(0)
    return Embedding(3, 4).train()


@pytest.fixture
def group(tmp_path: Path):
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_with_equal_points_are_one_with_all_of_them(
    processes: int, group: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that hold the same 12 points sum to twice what one holds."""
    torch.manual_seed(1)
    values, neighbors = torch.randn(12, 3), torch.randint(0, 12, (12, 5))
    if processes == 2:
        monkeypatch.setattr("torch.distributed.nn.functional.all_reduce", lambda value: 2 * value)
    ours = run(nn.SyncBatchNorm.convert_sync_batchnorm(made()), values, neighbors)
    points = torch.cat([values] * processes)
    rows = torch.cat([neighbors + 12 * process for process in range(processes)])
    together = run(made(), points, rows)
    assert torch.allclose(ours["output"], together["output"][:12], atol=1e-5)
    for name, value in together.items():
        if "running" in name or "num_batches" in name:
            assert torch.allclose(ours[name], value, atol=1e-6), name
        elif name != "output":
            assert torch.allclose(processes * ours[name], value, atol=1e-4), name
