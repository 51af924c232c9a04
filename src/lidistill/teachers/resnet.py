"""ResNets as dense teachers: strides replaced by dilation (SLidR, CVPR 2022), and files with torchvision's names."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.errors import InputError

STRIDE = 4
_PREFIXES = ("module.", "encoder_q.", "backbone.", "model.", "encoder.")
_RENAMES = (  # torchvision's names -> transformers' names; conv2 of bottleneck block 0 of layer 3 and its like
    (r"^conv1\.", "embedder.embedder.convolution."),
    (r"^bn1\.", "embedder.embedder.normalization."),
    (r"^layer(\d)\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}."),
    (r"downsample\.0\.", "shortcut.convolution."),
    (r"downsample\.1\.", "shortcut.normalization."),
    (r"(layers\.\d+)\.conv(\d)\.", lambda m: f"{m[1]}.layer.{int(m[2]) - 1}.convolution."),
    (r"(layers\.\d+)\.bn(\d)\.", lambda m: f"{m[1]}.layer.{int(m[2]) - 1}.normalization."),
)


def dilate(model: Any, stride: int = STRIDE) -> int:
    """Turn the strides of a transformers ResNet beyond ``stride`` into dilation, in place; returns the new stride.

    Every output at a cell of the original network keeps its value; new cells appear between them.
    """
    reached, spread = 4, 1
    for stage in model.encoder.stages[1:]:
        if reached * 2 <= stride:
            reached *= 2
            continue
        before, spread = spread, spread * 2
        for number, block in enumerate(stage.layers):
            _spread(block, before if number == 0 else spread, spread)
    return reached


def _spread(block: Any, before: int, after: int) -> None:
    """Take the stride out of a residual block; 3 x 3 taps up to it keep the old spacing, later ones get the new one."""
    for conv in block.shortcut.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
    spacing = before
    for conv in block.layer.modules():
        if isinstance(conv, nn.Conv2d):
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (spacing, spacing)
            if conv.stride != (1, 1):
                conv.stride, spacing = (1, 1), after


def read_resnet50(path: Path) -> dict[str, Tensor]:
    """Weights of a ResNet-50 with torchvision's names (MoCo, DINO, SwAV, supervised), under transformers' names.

    Containers (``state_dict``, ``model``) and prefixes are taken off, the classifier is left out. Raises ``InputError``
    when the file is not readable without running code from it, or is not a ResNet-50.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"{path}: expected a file of weights that torch.load can read safely ({said})") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a dictionary of weights, found {type(content).__name__}")
    state = {_rename(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return {key: value for key, value in state.items() if key.startswith(("embedder.", "encoder.stages."))}


def load_resnet50(model: Any, path: Path) -> None:
    """Give a transformers ResNet-50 (of the device meta, too) the weights of a file, see ``read_resnet50``."""
    try:
        model.load_state_dict(read_resnet50(path), strict=True, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:160]
        raise InputError(
            f"{path}: the weights are not those of a ResNet-50 with torchvision's names ({first})"
        ) from error
    model.float()


def _rename(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    for pattern, name in _RENAMES:
        key = re.sub(pattern, name, key)
    return key
