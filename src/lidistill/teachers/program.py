"""Teachers as programs: any network of the user's, exported once with ``torch.export`` into a ``.pt2`` file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.export.passes import move_to_device_pass

from lidistill import taxonomy
from lidistill.errors import InputError, nearest
from lidistill.teachers.colors import Channels, ColorStatistics
from lidistill.teachers.teacher import Classifier, Grid, Teacher


class Colors(BaseModel):
    """Statistics of the training pictures, RGB in [0, 255]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: Channels
    std: Channels


class Sidecar(BaseModel):
    """What ``NAME.yaml`` beside ``NAME.pt2`` may say; every key has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stride: int | None = Field(None, gt=0)
    """Pixels per cell; None = found by trying a picture."""
    grid: Grid = "centers"
    """Where the cells lie: see ``sampling.sample``."""
    mean: Channels = (0.0, 0.0, 0.0)
    """Subtracted from the channels R, G, B in [0, 1] before the program; the default leaves them alone."""
    std: Channels = (1.0, 1.0, 1.0)
    """They are then divided by this."""
    colors: Colors | None = None
    """Colours the network was trained on; when given, a source's colours are matched to them."""
    classes: tuple[str, ...] | None = None
    """Names of the channels of the second output, if the program gives one."""
    taxonomy: str | None = None
    """The class list that ``classes`` are of."""
    classifier: str | None = None
    """A safetensors file beside this one: ``weight`` (C, D) and ``bias`` (C,) of the linear layer that reads
    ``classes`` from the features; None = there is none, or it is not linear."""


class ProgramTeacher(Teacher):
    """A ``.pt2`` program: pictures (B, 3, H, W) in [0, 1] -> (B, D, h, w), or a tuple whose first is that.

    ``classes`` names the channels of the second output.
    """

    def __init__(self, path: Path, size: tuple[int, int], name: str | None = None) -> None:
        said = read_sidecar(path)
        super().__init__(name=name or path.stem, dim=0, stride=1, grid=said.grid, mean=said.mean, std=said.std)
        self.path, self.size, self.classes = path, size, said.classes
        self.program = _load(path, self.mean.device)
        self.requires_grad_(False)
        if said.colors is not None:
            self.color_statistics = ColorStatistics(said.colors.mean, said.colors.std)
        self.dim, self.stride = self._probe(said.stride)
        self.classifier = _read_classifier(path, said, self.dim)

    def encode(self, images: Tensor) -> Tensor:
        """Run the program; the first output is the feature map."""
        return self.outputs(images)[0]

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """All outputs of the program for normalised pictures (B, 3, H, W)."""
        found = self.program(images.to(self._precision()))
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    def train(self, mode: bool = True) -> ProgramTeacher:
        """Nothing to do: an exported program has no modes and refuses to be asked for one."""
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ProgramTeacher:
        """Torch's way to all weights, for devices and types. Programs also have a device written into their graph."""
        before = self.mean.device, self._precision()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.mean.device != before[0]:
            self.program = _load(self.path, self.mean.device).to(self._precision()).requires_grad_(False)
        if (self.mean.device, self._precision()) != before:
            self._probe(self.stride)  # not every program stands it
        return self

    def _precision(self) -> torch.dtype:
        return next((p.dtype for p in self.program.parameters() if p.is_floating_point()), torch.float32)

    def _probe(self, stride: int | None) -> tuple[int, int]:
        """Features and stride, by running one grey picture of the size that will be used."""
        size, device = self.size, self.mean.device
        try:
            with torch.no_grad():
                features = self.outputs(torch.full((1, 3, *size), 0.5, device=device))[0]
        except Exception as error:  # whatever the program raises
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            fails = f"{self.path}: the program fails on a picture (1, 3, {size[0]}, {size[1]})"
            if self.dim:  # known from the first try: there it went well
                how = f"in {str(self._precision()).removeprefix('torch.')} on {device}"
                raise InputError(f"{fails} {how} ({said}); set the teacher's precision to float32") from error
            raise InputError(
                f"{fails} ({said}); export it with dynamic batch, height and width, or set the teacher's image_size to "
                f"the size it was exported for"
            ) from error
        if not isinstance(features, Tensor) or features.ndim != 4 or len(features) != 1:
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(f"{self.path}: the (first) output must be a feature map (B, D, h, w), found {found}")
        rows, columns = features.shape[2:]
        steps = {round(size[0] / rows), round(size[1] / columns)}
        step = stride or max(steps)
        if (rows * step, columns * step) != size:
            raise InputError(
                f"{self.path}: a picture of {size[0]} x {size[1]} gives a map of {rows} x {columns}, which is no whole "
                f"stride{f' of {stride}' if stride else ''}; choose an image_size that the network's stride divides"
            )
        return features.shape[1], step


def _load(path: Path, device: torch.device) -> Any:
    """The program as a module on ``device``.

    Without its checks of types and devices: they are those it was exported with, and fail under mixed precision.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: the program does not exist; write one with torch.export.save(torch.export.export(...))"
        )
    try:
        exported = torch.export.load(path)
        for part in exported.graph_module.modules():  # a forward with no_grad or autocast in it has graphs of its own
            if isinstance(part, torch.fx.GraphModule):
                for node in list(part.graph.nodes):
                    if node.target is torch.ops.aten._assert_tensor_metadata.default:
                        part.graph.erase_node(node)
                part.recompile()
        # what a program makes itself, such as positions, it makes where it was exported
        return move_to_device_pass(exported, device).module()
    except Exception as error:  # zip, version and schema errors have no common type
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"{path}: not a program that torch {torch.__version__} can load ({said}); export it anew"
        ) from error


def _read_classifier(path: Path, said: Sidecar, dim: int) -> Classifier | None:
    """The classifier that the sidecar names, if it names one; ``InputError`` when it does not fit the program."""
    beside = path.with_suffix(".yaml")
    if said.classifier is None:
        return None
    if said.classes is None:
        raise InputError(
            f"{beside}: names the classifier {said.classifier}, but not the classes of its rows; add classes"
        )
    if said.taxonomy in taxonomy.names() and taxonomy.load(said.taxonomy).classes != said.classes:
        raise InputError(
            f"{beside}: its classes are not those of the list {said.taxonomy}; leave taxonomy out, or mend it"
        )
    file = path.parent / said.classifier
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: the classifier cannot be read ({error}); {beside.name} names it") from None
    expected = {"weight": (len(said.classes), dim), "bias": (len(said.classes),)}
    found = {name: tuple(tensor.shape) for name, tensor in sorted(tensors.items(), reverse=True)}
    if found != expected:
        raise InputError(
            f"{file}: expected {expected} for {len(said.classes)} classes and {dim} features of the program, "
            f"found {found}; export both from one network"
        )
    return Classifier(said.classes, said.taxonomy, tensors["weight"].float(), tensors["bias"].float())


def read_sidecar(path: Path) -> Sidecar:
    """What ``NAME.yaml`` beside the program says; the defaults when there is none. ``InputError`` for unknown keys."""
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return Sidecar.model_validate({})
    try:
        values = yaml.safe_load(beside.read_text()) or {}
        return Sidecar.model_validate(values)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{beside}: not readable as YAML: {' '.join(str(error).split())[:200]}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise InputError(f"{beside}: unknown key {key!r}{nearest(key, Sidecar.model_fields)}") from None
        raise InputError(f"{beside}: {key or 'file'}: {fault['msg'].lower()}, found {fault['input']!r}") from None
