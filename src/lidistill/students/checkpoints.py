"""Released WaffleIron, ScaLR and ScaLR+ checkpoints: read into our networks, and back into their layout."""

from __future__ import annotations

import _codecs
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from lidistill.errors import InputError
from lidistill.students.config import Box, HeadConfig, StudentConfig
from lidistill.students.network import Network

Stage = Literal["pretrain", "downstream"]
State = dict[str, Tensor]

CONTAINERS: dict[str, Stage] = {"model_point": "pretrain", "model_points": "pretrain", "net": "downstream"}
SCALR_FOV: Box = ((-64.0, 64.0), (-64.0, 64.0), (-8.0, 8.0))
LAYER = re.compile(r"waffleiron\.channel_mix\.\d+\.")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

# The learning-rate scheduler stored beside the weights holds numpy scalars; old files name numpy's former module.
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
SAFE: list[Any] = [
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
    _codecs.encode,
]


@dataclass(frozen=True, eq=False)
class ImportedCheckpoint:
    """What a released file holds: ``state`` fits ``Network(student, head)``."""

    student: StudentConfig
    head: HeadConfig
    state: State
    stage: Stage


def import_checkpoint(
    path: str | Path,
    *,
    activation: str | None = None,
    fov: Box = SCALR_FOV,
    cell: float = 0.5,
    neighbors: int = 16,
) -> ImportedCheckpoint:
    """Read a checkpoint file of WaffleIron, ScaLR or ScaLR+ without executing anything stored in it.

    Depth, width, norm and head follow from the shapes. The file does not record the rest: ``fov``, ``cell`` (metres)
    and ``neighbors`` default to those of ScaLR. ``activation`` is ``gelu`` for a pretraining file with the two-layer
    head of ScaLR+, else ``relu``, unless given: a downstream file of ScaLR+ needs ``activation="gelu"``.

    Raises ``InputError`` when the file is missing, is no such checkpoint, or lacks or misshapes a weight.
    """
    path = Path(path)
    stage, found = _weights(path)
    head = _head(path, found)
    width, in_channels = _shape(path, found, "embed.conv1.weight", 3)[:2]
    _shape(path, found, "waffleiron.channel_mix.0.scale.weight", 3)
    layers = {match[0] for name in found if (match := LAYER.match(name))}
    norm = "batch" if "waffleiron.channel_mix.0.norm.running_mean" in found else "layer"
    try:
        student = StudentConfig.model_validate(
            {
                "depth": len(layers),
                "width": width,
                "norm": norm,
                "activation": activation or ("gelu" if head.kind == "mlp" else "relu"),
                "neighbors": neighbors,
                "in_channels": in_channels,
                "fov": fov,
                "cell": cell,
            }
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return ImportedCheckpoint(student, head, _renamed(path, found, student, head), stage)


def export_state(network: Network) -> State:
    """Return the state of a WaffleIron network under the names and shapes of the published code.

    The inverse of ``import_checkpoint``; put it into ``{"model_point": ...}`` or ``{"net": ...}`` to make a file that
    the published code reads.
    """
    state = network.state_dict()
    names = _names(network.backbone.config, network.head_config)
    return {theirs: state[ours].reshape((*state[ours].shape, *(1,) * extra)) for theirs, ours, extra in names}


def _weights(path: Path) -> tuple[Stage, State]:
    """The weights in the file, without the prefix of data-parallel training."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    try:
        with torch.serialization.safe_globals(SAFE), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: refused, because it asks to run code while being read; get the file from its publisher"
        ) from None
    except Exception:  # torch raises OSError, RuntimeError, EOFError, KeyError, ... for files that are something else
        raise InputError(f"{path}: not a torch checkpoint, or a damaged one; unpack archives first") from None
    key = next((key for key in CONTAINERS if isinstance(content, Mapping) and key in content), None)
    if key is None:
        keys = sorted(map(str, content))[:6] if isinstance(content, Mapping) else type(content).__name__
        raise InputError(f"{path}: expected weights under {', '.join(CONTAINERS)}, found {keys}; is it a ScaLR file?")
    weights = content[key]
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path}: expected names and tensors under {key!r}, found something else")
    return CONTAINERS[key], {str(name).removeprefix("module."): value for name, value in weights.items()}


def _shape(path: Path, found: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in found:
        raise InputError(f"{path}: has no {name}; is it a WaffleIron, ScaLR or ScaLR+ checkpoint?")
    shape = tuple(found[name].shape)
    if len(shape) != dimensions:
        raise InputError(f"{path}: {name} has shape {shape}, expected {dimensions} dimensions")
    return shape


def _head(path: Path, found: Mapping[str, Tensor]) -> HeadConfig:
    if "classif.0.running_mean" in found:
        return HeadConfig(kind="probe", outputs=_shape(path, found, "classif.1.weight", 3)[0])
    if "classif.0.weight" in found:
        hidden = _shape(path, found, "classif.0.weight", 3)[0]
        return HeadConfig(kind="mlp", outputs=_shape(path, found, "classif.2.weight", 3)[0], hidden=hidden)
    return HeadConfig(kind="linear", outputs=_shape(path, found, "classif.weight", 3)[0])


def _renamed(path: Path, found: State, student: StudentConfig, head: HeadConfig) -> State:
    with torch.device("meta"):
        expected = Network(student, head).state_dict()
    state = {}
    for theirs, ours, extra in _names(student, head):
        if theirs not in found:
            raise InputError(f"{path}: has no {theirs}; the file is incomplete, get it again")
        value, shape = found.pop(theirs), expected[ours].shape
        if value.shape != (*shape, *(1,) * extra):
            raise InputError(
                f"{path}: {theirs} has shape {tuple(value.shape)}, expected {(*shape, *(1,) * extra)}; "
                "the file is not one network"
            )
        state[ours] = value.reshape(shape).to(expected[ours].dtype)
    if found:
        raise InputError(f"{path}: holds weights that WaffleIron does not have: {', '.join(sorted(found)[:3])}")
    return state


def _names(student: StudentConfig, head: HeadConfig) -> Iterator[tuple[str, str, int]]:
    """(published name, our name, trailing dimensions of size 1 that the published shape has more)."""
    ours = "backbone.embedding"
    yield from _norm("embed.norm", f"{ours}.norm", True)
    yield from _linear("embed.conv1", f"{ours}.point", 1)
    yield from _norm("embed.conv2.0", f"{ours}.norm1", True)
    yield "embed.conv2.1.weight", f"{ours}.linear1.weight", 2
    yield from _norm("embed.conv2.2", f"{ours}.norm2", True)
    yield "embed.conv2.4.weight", f"{ours}.linear2.weight", 2
    yield from _linear("embed.final", f"{ours}.merge", 1)
    batch = student.norm == "batch"
    for layer in range(student.depth):
        theirs, ours = f"waffleiron.spatial_mix.{layer}", f"backbone.layers.{layer}.spatial"
        yield from _norm(f"{theirs}.norm", f"{ours}.norm", batch)
        yield from _linear(f"{theirs}.ffn.0", f"{ours}.conv1", 0)
        yield from _linear(f"{theirs}.ffn.2", f"{ours}.conv2", 0)
        yield f"{theirs}.scale.weight", f"{ours}.scale", 2
        theirs, ours = f"waffleiron.channel_mix.{layer}", f"backbone.layers.{layer}.channel"
        yield from _norm(f"{theirs}.norm", f"{ours}.norm", batch)
        yield from _linear(f"{theirs}.mlp.0", f"{ours}.linear1", 1)
        yield from _linear(f"{theirs}.mlp.2", f"{ours}.linear2", 1)
        yield f"{theirs}.scale.weight", f"{ours}.scale", 2
    if head.kind == "linear":
        yield from _linear("classif", "head.output", 1)
    elif head.kind == "mlp":
        yield from _linear("classif.0", "head.hidden", 1)
        yield from _linear("classif.2", "head.output", 1)
    else:
        yield from _norm("classif.0", "head.norm", True)
        yield from _linear("classif.1", "head.output", 1)


def _norm(theirs: str, ours: str, batch: bool) -> Iterator[tuple[str, str, int]]:
    for name in BATCH_NORM if batch else BATCH_NORM[:2]:
        yield f"{theirs}.{name}", f"{ours}.{name}", 0


def _linear(theirs: str, ours: str, extra: int) -> Iterator[tuple[str, str, int]]:
    """Weight (with ``extra`` trailing dimensions) and bias of a linear layer or convolution."""
    yield f"{theirs}.weight", f"{ours}.weight", extra
    yield f"{theirs}.bias", f"{ours}.bias", 0
