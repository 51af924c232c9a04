"""Checkpoint files of published code: read without executing anything in them, every weight looked at."""

from __future__ import annotations

import _codecs
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lidistill.errors import InputError
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.network import Network

Stage = Literal["pretrain", "downstream"]
State = dict[str, Tensor]
Form = int | Literal["row", "transposed"]
"""How a published weight lies: with so many dimensions of size 1 more at its end, with one in front, or transposed."""
Name = tuple[str, str, Form]
"""Published name, our name, form."""

CONTAINERS: dict[str, Stage] = {"model_point": "pretrain", "model_points": "pretrain", "net": "downstream"}
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


def read_weights(path: Path) -> tuple[Stage, State, Mapping[str, Any]]:
    """The weights in the file, without the prefix of data-parallel training, and the ``config`` stored beside them.

    Raises ``InputError`` for a file that is missing, damaged, something else, or asks to run code.
    """
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
        raise InputError(
            f"{path}: expected weights under {', '.join(CONTAINERS)}, found {keys}; is it a ScaLR or SLidR file?"
        )
    weights = content[key]
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path}: expected names and tensors under {key!r}, found something else")
    config = content.get("config")
    named = {str(name).removeprefix("module."): value for name, value in weights.items()}
    return CONTAINERS[key], named, config if isinstance(config, Mapping) else {}


def shape_of(path: Path, found: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a weight that must be there and have so many dimensions."""
    if name not in found:
        raise InputError(f"{path}: has no {name}; is it a checkpoint of WaffleIron, ScaLR, ScaLR+ or SLidR?")
    shape = tuple(found[name].shape)
    if len(shape) != dimensions:
        raise InputError(f"{path}: {name} has shape {shape}, expected {dimensions} dimensions")
    return shape


def renamed(path: Path, found: State, student: StudentConfig, head: HeadConfig, names: Iterable[Name]) -> State:
    """The weights ``found`` as the state of ``Network(student, head)``: none missing, none left over, all that size."""
    with torch.device("meta"):
        expected = Network(student, head).state_dict()
    state, left = {}, dict(found)
    for theirs, ours, form in names:
        if theirs not in left:
            raise InputError(f"{path}: has no {theirs}; the file is incomplete, get it again")
        value, like = left.pop(theirs), expected[ours]
        shape = tuple(as_published(like, form).shape)
        if value.shape != shape:
            raise InputError(
                f"{path}: {theirs} has shape {tuple(value.shape)}, expected {shape}; the file is not one network"
            )
        state[ours] = (value.T.contiguous() if form == "transposed" else value.reshape(like.shape)).to(like.dtype)
    if left:
        raise InputError(f"{path}: holds weights that a {student.kind} does not have: {', '.join(sorted(left)[:3])}")
    return state


def as_published(value: Tensor, form: Form) -> Tensor:
    """A weight of ours in the form of the published code."""
    if form == "transposed":
        return value.T.contiguous()
    return value[None] if form == "row" else value.reshape((*value.shape, *(1,) * form))


def norm(theirs: str, ours: str, batch: bool = True) -> Iterator[Name]:
    """The names of a batch norm, or of a layer norm."""
    for name in BATCH_NORM if batch else BATCH_NORM[:2]:
        yield f"{theirs}.{name}", f"{ours}.{name}", 0
