"""A tiny image network as a ``.pt2`` program: a teacher for tests that need one but not a good one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import nn


class Patches(nn.Module):
    """8 x 8 patches -> 12 features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(4 * self.conv(images))


@cache
def _program() -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=64)
    rows, columns = (torch.export.Dim(name, min=2, max=256) for name in ("rows", "columns"))
    shapes = ({0: batch, 2: 8 * rows, 3: 8 * columns},)
    return torch.export.export(Patches().eval(), (torch.rand(2, 3, 48, 96),), dynamic_shapes=shapes)


def tiny_program(folder: Path) -> Path:
    """Write the program and return its path."""
    path = folder / "patches.pt2"
    torch.export.save(_program(), path)
    return path
