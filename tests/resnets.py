"""ResNet files as they are published."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor


def torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names -> torchvision's."""
    names = (
        (r"^embedder\.embedder\.convolution", "conv1"),
        (r"^embedder\.embedder\.normalization", "bn1"),
        (r"^encoder\.stages\.(\d)\.layers\.(\d)", lambda m: f"layer{int(m[1]) + 1}.{m[2]}"),
        (r"layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}"),
        (r"layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}"),
        (r"shortcut\.convolution", "downsample.0"),
        (r"shortcut\.normalization", "downsample.1"),
    )
    renamed = {}
    for key, value in state.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed
