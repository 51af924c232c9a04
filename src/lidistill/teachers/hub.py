"""Teachers from transformers: any vision encoder of a known family, by hub name or local folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lidistill.errors import InputError, nearest
from lidistill.teachers.catalog import CATALOG, Entry
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.families import ALIASES, FAMILIES, Family, set_up
from lidistill.teachers.positions import Stretch
from lidistill.teachers.pretrained import guarded, library, load_weights, part_of
from lidistill.teachers.resnet import dilate, load_resnet50
from lidistill.teachers.teacher import Grid, Teacher

Statistics = tuple[Sequence[float], Sequence[float]]


class HubTeacher(Teacher):
    """A transformers encoder. Patch encoders state the grid ``corners``, as published; ResNets ``origin``."""

    def __init__(self, name: str, model: Any, family: Family, layer: str, stride: int, colors: Statistics) -> None:
        grid: Grid = "origin" if family is FAMILIES["resnet"] else "corners"
        super().__init__(name=name, dim=0, stride=stride, grid=grid, mean=colors[0], std=colors[1])
        self.model, self.family, self.layer = model, family, layer
        self.freeze()
        self.dim = self(torch.zeros(1, 3, 2 * stride, 2 * stride)).shape[1]

    def encode(self, images: Tensor) -> Tensor:
        """Normalised pictures -> the tokens of the chosen layer as a map."""
        return self.family.read(self.model, images, self.layer)


def load_hub(config: TeacherConfig, where: str, entry: Entry | None) -> HubTeacher:
    """Load the encoder at ``where``, a hub name or a folder; ``entry`` if it was asked for by a short name.

    Raises ``InputError`` when transformers is missing, when nothing can be loaded from there, when the family is not
    known, and for a layer or a treatment of positions that the family does not have.
    """
    transformers = library(config.name)
    hint = _hint(config.name)
    settings = guarded(lambda: transformers.AutoConfig.from_pretrained(where), config.name, hint)
    kind = ALIASES.get(settings.model_type, settings.model_type)
    if kind not in FAMILIES:
        raise InputError(
            f"teacher {config.name}: encoders of type {settings.model_type!r} are not known, only "
            f"{', '.join(FAMILIES)}; export the network with torch.export and give the .pt2 file instead"
        )
    family = FAMILIES[kind]
    layer = _layer(config, family, entry)
    vision = part_of(settings, "vision_config")
    vision.update(dict(family.settings))
    options = {"config": vision, **dict(family.options)}
    unused = () if layer == "value" else ("visual_projection.weight",)
    model = load_weights(getattr(transformers, family.model), where, options, config.name, hint, unused)
    set_up(model, family, layer, _stretch(config, family, kind))
    stride = dilate(model) if kind == "resnet" else int(vision.patch_size)
    return HubTeacher(config.name, model, family, layer, stride, _colors(where, family))


def load_resnet_file(config: TeacherConfig, path: Path) -> HubTeacher:
    """Load a ResNet-50 saved under torchvision's names (the published files of MoCo, DINO, SwAV)."""
    transformers = library(config.name)
    family = FAMILIES["resnet"]
    layer = _layer(config, family, None)
    with torch.device("meta"):
        model = transformers.ResNetModel(transformers.ResNetConfig())
    load_resnet50(model, path)
    return HubTeacher(config.name, model, family, layer, dilate(model), family.colors)


def _hint(name: str) -> str:
    if Path(name).is_dir():
        return "the folder must hold what save_pretrained writes (config.json, model.safetensors)"
    near = nearest(name, CATALOG)
    near = near if name not in CATALOG and "did you mean" in near else ""
    return f"the hub must be reachable (or the weights in its cache), or give a local folder{near}"


def _layer(config: TeacherConfig, family: Family, entry: Entry | None) -> str:
    if config.layer == "auto":
        return "value" if entry is not None and entry.value else family.layers[0]
    if config.layer not in family.layers:
        raise InputError(
            f"teacher {config.name}: layer {config.layer!r} does not exist here, choose from {', '.join(family.layers)}"
        )
    return config.layer


def _stretch(config: TeacherConfig, family: Family, kind: str) -> Stretch | None:
    if config.positions == "auto":
        return family.stretch
    if family.stretch is None:
        raise InputError(
            f"teacher {config.name}: positions = {config.positions!r} does not apply to encoders of type {kind}, "
            f"which have no learned table of positions to choose for; leave it at auto"
        )
    return config.positions


def _colors(where: str, family: Family) -> Statistics:
    """Mean and std of the training pictures: from preprocessor_config.json if there, else the family's."""
    from transformers.utils import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(where, "preprocessor_config.json", **quiet)
    if found is None:
        return family.colors
    try:
        values = json.loads(Path(found).read_text())
        mean, std = values.get("image_mean"), values.get("image_std")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{found}: expected JSON with image_mean and image_std ({error}); repair or delete it"
        ) from error
    if mean is None or std is None:
        return family.colors
    if not (_three_numbers(mean) and _three_numbers(std) and min(std) > 0):
        raise InputError(f"{found}: image_mean and image_std must be three numbers each, found {mean} and {std}")
    return mean, std


def _three_numbers(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 3 and all(isinstance(v, int | float) for v in values)
