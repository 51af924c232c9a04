"""The training engine (Lightning Fabric): device, precision, processes, and one run folder for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from lightning.fabric import Fabric

from lidistill.errors import LidistillError
from lidistill.training.image_run import ImageRun, ImageRunConfig
from lidistill.training.recipe import AnyRecipe
from lidistill.training.run import Run, RunConfig


def make_fabric(recipe: AnyRecipe) -> Fabric:
    """Start the engine: device, precision and processes as the recipe says."""
    precision = recipe.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"
    # auto must not start several CPU processes: lightning's "auto" devices is one process on a CPU
    fabric = Fabric(devices=recipe.devices, num_nodes=recipe.nodes, precision=precision)
    fabric.launch()
    return fabric


def shared_run(fabric: Fabric, out: str | Path, config: RunConfig, *, resume: bool, overwrite: bool) -> Run:
    """``Run.create`` by one process, opened by all; what goes wrong there is raised everywhere."""
    _by_one(fabric, lambda: Run.create(out, config, resume=resume, overwrite=overwrite))
    return Run.open(out)


def shared_image_run(
    fabric: Fabric, out: str | Path, config: ImageRunConfig, *, resume: bool, overwrite: bool
) -> ImageRun:
    """``ImageRun.create`` by one process, opened by all; what goes wrong there is raised everywhere."""
    _by_one(fabric, lambda: ImageRun.create(out, config, resume=resume, overwrite=overwrite))
    return ImageRun.open(out)


def _by_one(fabric: Fabric, act: Callable[[], object]) -> None:
    failure: LidistillError | None = None
    if fabric.is_global_zero:
        try:
            act()
        except LidistillError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure
