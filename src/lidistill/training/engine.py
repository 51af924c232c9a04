"""The training engine (Lightning Fabric): device, precision, processes, and one run folder for all of them."""

from __future__ import annotations

import atexit
import logging
import sys
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision, Precision

from lidistill.errors import LidistillError
from lidistill.training.recipe import AnyRecipe
from lidistill.training.run_folder import FolderConfig, RunFolder

log = logging.getLogger("lidistill")
F = TypeVar("F", bound=RunFolder[Any])


class Autocast(MixedPrecision):  # type: ignore[misc]
    """Mixed precision that leaves what goes into a network as it is: each layer chooses the precision it computes in.

    Lightning's own turns all that goes in to 16 bits, and refuses frozen dataclasses. Coordinates would lose their
    centimetres and targets their digits.
    """

    def convert_input(self, data: Any) -> Any:
        """``data`` itself."""
        return data


def make_fabric(recipe: AnyRecipe) -> Fabric:
    """Start the engine: device, precision and processes as the recipe says."""
    precision, gpu = recipe.precision, torch.cuda.is_available()
    if precision == "auto":
        # GPUs that only emulate bfloat16 are slower with it
        native = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if native else "32-true"
    device = "cuda" if gpu else "cpu"
    plugin = Precision() if precision == "32-true" else Autocast(precision, device)
    devices = recipe.devices  # auto: all GPUs, or one process on a CPU
    if devices == "auto" and torch.cuda.device_count() > 1 and hasattr(sys, "ps1"):
        log.warning("one GPU is used: a notebook cannot start a process for each; run it as a command or a script")
        devices = 1
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=recipe.nodes, plugins=plugin)
    fabric.launch()
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Leave the other processes while Python still runs: threads that lose them later abort this one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def shared_run(
    fabric: Fabric, kind: type[F], out: str | Path, config: FolderConfig, *, resume: bool, overwrite: bool
) -> F:
    """``kind.create`` by one process, opened by all; what goes wrong there is raised everywhere."""
    failure: LidistillError | None = None
    if fabric.is_global_zero:
        try:
            kind.create(out, config, resume=resume, overwrite=overwrite)
        except LidistillError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure
    return kind.open(out)
