"""A tiny image network as a ``.pt2`` program: a teacher for tests that need one but not a good one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from lidistill import taxonomy


class Patches(nn.Module):
    """Patches of ``edge`` x ``edge`` pixels -> features."""

    def __init__(self, edge: int, features: int) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, features, edge, stride=edge)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(4 * self.conv(images))


@cache
def _program(edge: int, features: int) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=64)
    rows, columns = (torch.export.Dim(name, min=2, max=256) for name in ("rows", "columns"))
    shapes = ({0: batch, 2: edge * rows, 3: edge * columns},)
    return torch.export.export(Patches(edge, features).eval(), (torch.rand(2, 3, 48, 96),), dynamic_shapes=shapes)


def tiny_program(folder: Path, name: str = "patches", edge: int = 8, features: int = 12) -> Path:
    """Write the program and return its path."""
    path = folder / f"{name}.pt2"
    torch.export.save(_program(edge, features), path)
    return path


def knowing(program: Path) -> None:
    """Let the ``program`` of 12 features know the 16 classes of the city: a classifier of random weights beside it."""
    classes = taxonomy.load("city-16").classes
    torch.manual_seed(2)
    save_file({"weight": torch.randn(16, 12), "bias": torch.randn(16)}, program.with_suffix(".safetensors"))
    said = {"classes": list(classes), "taxonomy": "city-16", "classifier": program.with_suffix(".safetensors").name}
    program.with_suffix(".yaml").write_text(yaml.safe_dump(said))
