"""Layer-wise learning rates: the further a layer lies below the head, the less it moves when finetuned."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

EMBEDDING = re.compile(r"backbone\.embed\w*\.")
LAYER = re.compile(r"backbone\.\w+\.(\d+)\.")


def layer_decay_groups(network: nn.Module, lr: float, decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer with learning rate ``lr * decay ** (depth + 1 - layer)``.

    As in ScaLR (which follows BEiT): layer 0 is ``network.backbone.embedding``, layer i + 1 is whatever stands at
    number i in a list of the backbone (both mixers of a WaffleIron layer), layer depth + 1 is the rest, the head,
    whose rate is ``lr``. Norms and biases get no weight decay. Only parameters that learn are grouped; the groups come
    from the embedding up, those without weight decay first.
    """
    learning = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    numbers = [int(found[1]) for name, _ in network.named_parameters() if (found := _in_list(name))]
    top = max(numbers, default=-1) + 2
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in learning:
        groups.setdefault((_layer(name, top), _decays(name, parameter)), []).append(parameter)
    return [
        {"params": groups[key], "lr": lr * decay ** (top - key[0]), "weight_decay": weight_decay if key[1] else 0.0}
        for key in sorted(groups)
    ]


def _in_list(name: str) -> re.Match[str] | None:
    return None if EMBEDDING.match(name) else LAYER.match(name)


def _layer(name: str, top: int) -> int:
    """Layer of a parameter; ``top`` is that of the head."""
    if EMBEDDING.match(name):
        return 0
    found = _in_list(name)
    return int(found[1]) + 1 if found else top


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and kernels decay, and so do layer scales, which the published networks store as (C, 1, 1) kernels."""
    return parameter.ndim > 1 or "scale" in name.split(".")[-2:]
