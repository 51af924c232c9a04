"""Released checkpoints: read into our networks, and back into their layout. WaffleIron's own names are here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from lidistill.errors import InputError
from lidistill.students import minkunet_checkpoints
from lidistill.students.checkpoint_files import (
    ImportedCheckpoint,
    Name,
    State,
    as_published,
    norm,
    read_weights,
    renamed,
    shape_of,
)
from lidistill.students.config import Box, HeadConfig, StudentConfig
from lidistill.students.network import Network

SCALR_FOV: Box = ((-64.0, 64.0), (-64.0, 64.0), (-8.0, 8.0))
PUBLISHED_NORMS = {"waffleiron": ("batch", "layer"), "minkunet": ("batch",)}
LAYER = re.compile(r"waffleiron\.channel_mix\.\d+\.")


def import_checkpoint(
    path: str | Path,
    *,
    activation: str | None = None,
    fov: Box = SCALR_FOV,
    cell: float = 0.5,
    neighbors: int = 16,
) -> ImportedCheckpoint:
    """Read a checkpoint file of WaffleIron, ScaLR, ScaLR+ or SLidR without executing anything stored in it.

    Which of them it is follows from the names of the weights; for a MinkUNet see ``minkunet_checkpoints``, of the
    arguments below it takes ``fov`` alone.

    Depth, width, norm and head follow from the shapes. The file does not record the rest: ``fov``, ``cell`` (metres)
    and ``neighbors`` default to those of ScaLR. ``activation`` is ``gelu`` for a pretraining file with the two-layer
    head of ScaLR+, else ``relu``, unless given: a downstream file of ScaLR+ needs ``activation="gelu"``.

    Raises ``InputError`` when the file is missing, is no such checkpoint, or lacks or misshapes a weight.
    """
    path = Path(path)
    stage, found, published = read_weights(path)
    if minkunet_checkpoints.FIRST in found:
        return minkunet_checkpoints.imported(path, found, published, fov)
    head = _head(path, found)
    width, in_channels = shape_of(path, found, "embed.conv1.weight", 3)[:2]
    shape_of(path, found, "waffleiron.channel_mix.0.scale.weight", 3)
    layers = {match[0] for name in found if (match := LAYER.match(name))}
    kind = "batch" if "waffleiron.channel_mix.0.norm.running_mean" in found else "layer"
    try:
        student = StudentConfig.model_validate(
            {
                "depth": len(layers),
                "width": width,
                "norm": kind,
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
    return ImportedCheckpoint(student, head, renamed(path, found, student, head, _names(student, head)), stage)


def export_state(network: Network) -> State:
    """Return the state of a WaffleIron or MinkUNet network under the names and shapes of the published code.

    The inverse of ``import_checkpoint``; put it into ``{"model_point": ...}`` or ``{"net": ...}`` (WaffleIron) or
    ``{"model_points": ...}`` (MinkUNet) to make a file that the published code reads.
    """
    student, head = network.backbone.config, network.head_config
    if student.norm not in PUBLISHED_NORMS.get(student.kind, ()):
        raise InputError(f"a {student.kind} with {student.norm} norm has no published layout")
    if head.calibration is not None or head.reads is not None:
        raise InputError("a network with more between its backbone and its head has no published layout")
    own = _names if student.kind == "waffleiron" else minkunet_checkpoints.names
    state = network.state_dict()
    return {theirs: as_published(state[ours], form) for theirs, ours, form in own(student, head)}


def _head(path: Path, found: State) -> HeadConfig:
    if "classif.0.running_mean" in found:
        return HeadConfig(kind="probe", outputs=shape_of(path, found, "classif.1.weight", 3)[0])
    if "classif.0.weight" in found:
        hidden = shape_of(path, found, "classif.0.weight", 3)[0]
        return HeadConfig(kind="mlp", outputs=shape_of(path, found, "classif.2.weight", 3)[0], hidden=hidden)
    return HeadConfig(kind="linear", outputs=shape_of(path, found, "classif.weight", 3)[0])


def _names(student: StudentConfig, head: HeadConfig) -> Iterator[Name]:
    ours = "backbone.embedding"
    yield from norm("embed.norm", f"{ours}.norm")
    yield from _linear("embed.conv1", f"{ours}.point", 1)
    yield from norm("embed.conv2.0", f"{ours}.norm1")
    yield "embed.conv2.1.weight", f"{ours}.linear1.weight", 2
    yield from norm("embed.conv2.2", f"{ours}.norm2")
    yield "embed.conv2.4.weight", f"{ours}.linear2.weight", 2
    yield from _linear("embed.final", f"{ours}.merge", 1)
    batch = student.norm == "batch"
    for layer in range(student.depth):
        theirs, ours = f"waffleiron.spatial_mix.{layer}", f"backbone.layers.{layer}.spatial"
        yield from norm(f"{theirs}.norm", f"{ours}.norm", batch)
        yield from _linear(f"{theirs}.ffn.0", f"{ours}.conv1", 0)
        yield from _linear(f"{theirs}.ffn.2", f"{ours}.conv2", 0)
        yield f"{theirs}.scale.weight", f"{ours}.scale", 2
        theirs, ours = f"waffleiron.channel_mix.{layer}", f"backbone.layers.{layer}.channel"
        yield from norm(f"{theirs}.norm", f"{ours}.norm", batch)
        yield from _linear(f"{theirs}.mlp.0", f"{ours}.linear1", 1)
        yield from _linear(f"{theirs}.mlp.2", f"{ours}.linear2", 1)
        yield f"{theirs}.scale.weight", f"{ours}.scale", 2
    if head.kind == "linear":
        yield from _linear("classif", "head.output", 1)
    elif head.kind == "mlp":
        yield from _linear("classif.0", "head.hidden", 1)
        yield from _linear("classif.2", "head.output", 1)
    else:
        yield from norm("classif.0", "head.norm")
        yield from _linear("classif.1", "head.output", 1)


def _linear(theirs: str, ours: str, extra: int) -> Iterator[Name]:
    """Weight (with ``extra`` trailing dimensions) and bias of a linear layer or convolution."""
    yield f"{theirs}.weight", f"{ours}.weight", extra
    yield f"{theirs}.bias", f"{ours}.bias", 0
