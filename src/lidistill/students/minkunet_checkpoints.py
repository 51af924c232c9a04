"""Checkpoints of SLidR and ST-SLidR: MinkowskiEngine's Res16UNet34C under our names.

Names and shapes are those of the public code, and so is the order of a kernel's positions, first axis fastest, which
is ours: kernels carry over as they are. No released file was at hand to try it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from lidistill.errors import InputError
from lidistill.sensing.sensors import sensor
from lidistill.students.checkpoint_files import ImportedCheckpoint, Name, State, norm, renamed, shape_of
from lidistill.students.config import Box, HeadConfig, StudentConfig
from lidistill.students.minkunet import BLOCKS
from lidistill.students.network import Network

FIRST = "conv0p1s1.kernel"
"""A weight that these checkpoints have and no others."""
LIDAR = "hdl-32e"
"""They were all distilled on nuScenes, whose intensities went in as recorded, 0 to 255."""


def imported(path: Path, found: State, published: Mapping[str, Any], fov: Box) -> ImportedCheckpoint:
    """The network whose weights are ``found``; ``published`` is the configuration stored beside them, or empty.

    The head is the last layer of the network, 64 features of a distilled one. Voxels are cylindrical, 0.1 m and 1
    degree with a seam, unless ``published`` says otherwise. Raises ``InputError`` for a missing, unknown or misshaped
    weight, and for a head that was trained on labels: its classes begin with one that stands for none.
    """
    if not published.get("normalize_features", True):
        raise InputError(f"{path}: was finetuned on labels; import the pretraining checkpoint that it started from")
    width, outputs = shape_of(path, found, "final.kernel", 2)
    depth = max(BLOCKS) if any(name.startswith("block4.2.") for name in found) else min(BLOCKS)
    voxels = {
        "shape": "cylindrical" if published.get("cylindrical_coordinates", True) else "cubic",
        "size": published.get("voxel_size", 0.1),
        "closed": False,
        "interpolate": False,
        "intensity": sensor(LIDAR).intensity,
    }
    known = {"kind": "minkunet", "depth": depth, "width": width, "norm": "batch", "fov": fov, "voxels": voxels}
    try:
        student = StudentConfig.model_validate({**known, "in_channels": shape_of(path, found, FIRST, 3)[1]})
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    head = HeadConfig(kind="linear", outputs=outputs)
    return ImportedCheckpoint(student, head, renamed(path, found, student, head, names(student, head)), "pretrain")


def names(student: StudentConfig, head: HeadConfig) -> Iterator[Name]:
    """The published name, our name and the form of every weight of a MinkUNet with a linear head."""
    if (student.kind, head.kind) != ("minkunet", "linear"):
        raise InputError(f"a {student.kind} with a head of kind {head.kind} has no published layout")
    with torch.device("meta"):
        stages = Network(student, head).get_submodule("backbone.layers")
    half = len(BLOCKS[student.depth]) // 2
    yield FIRST, "backbone.embedding.conv.weight", 0
    yield from norm("bn0.bn", "backbone.embedding.norm")
    for number, stage in enumerate(stages.children()):
        ours = f"backbone.layers.{number}"
        down = number < half
        theirs = f"conv{number + 1}p{2**number}s2" if down else f"convtr{number}p{2 ** (2 * half - number)}s2"
        yield f"{theirs}.kernel", f"{ours}.move.conv.weight", 0
        yield from norm(f"bn{number + 1}.bn" if down else f"bntr{number}.bn", f"{ours}.move.norm")
        for index, block in enumerate(stage.get_submodule("blocks").children()):
            resized = any(True for _ in block.get_submodule("shortcut").parameters())
            yield from _block(f"block{number + 1}.{index}", f"{ours}.blocks.{index}", resized)
    yield "final.kernel", "head.output.weight", "transposed"
    yield "final.bias", "head.output.bias", "row"


def _block(theirs: str, ours: str, resized: bool) -> Iterator[Name]:
    """A residual block; ``resized``: its shortcut is linear."""
    yield f"{theirs}.conv1.kernel", f"{ours}.first.conv.weight", 0
    yield from norm(f"{theirs}.norm1.bn", f"{ours}.first.norm")
    yield f"{theirs}.conv2.kernel", f"{ours}.conv.weight", 0
    yield from norm(f"{theirs}.norm2.bn", f"{ours}.norm")
    if resized:
        yield f"{theirs}.downsample.0.kernel", f"{ours}.shortcut.0.weight", "transposed"
        yield from norm(f"{theirs}.downsample.1.bn", f"{ours}.shortcut.1")
