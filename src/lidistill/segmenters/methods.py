"""The methods by name, what can be asked of each, and the segmenters that do it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lidistill.errors import InputError, nearest

Ids = NDArray[np.uint16]
"""(H, W): the superpixel of every pixel of a picture."""


class Slic(BaseModel):
    """k-means in colour and place (scikit-image); the defaults are SLidR's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["slic"] = "slic"
    n_segments: int = Field(150, ge=1, le=30000)
    """Pieces to aim at."""
    compactness: float = Field(6.0, gt=0)
    """More = squarer, less = closer to the colours."""
    sigma: float = Field(3.0, ge=0)
    """Blur before, in pixels."""


def _absolute(model: str) -> str:
    """The path of a folder or a program in full: the method is then the same from everywhere."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model


Model = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]


class Sam(BaseModel):
    """Automatic masks of a Segment Anything network; the defaults are those of its authors, which Seal used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["sam"] = "sam"
    model: Model = "facebook/sam-vit-huge"
    """A hub name or a local folder."""
    points: int = Field(32, ge=1, le=128)
    """The network is asked at a grid of points, so many along each side."""
    min_iou: float = Field(0.88, ge=0, le=1)
    """Masks that the network itself trusts less are dropped."""
    min_stability: float = Field(0.95, ge=0, le=1)
    """Masks that change more than this with the threshold (IoU) are dropped."""
    max_overlap: float = Field(0.7, gt=0, le=1)
    """Of two masks whose boxes overlap more (IoU) the less trusted one is dropped."""
    max_masks: int = Field(255, ge=1, le=65535)
    """The largest are kept; 255 fit an 8-bit picture."""


class Argmax(BaseModel):
    """The likeliest class of every pixel, by a semantic segmentation network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["argmax"] = "argmax"
    model: Model
    """A hub name, a local folder (SegFormer, Mask2Former ...) or a ``.pt2`` program that gives logits."""
    image_size: tuple[int, int] = (224, 448)
    """Height and width that pictures get before a program; networks of the hub bring their own size."""


Method = Annotated[Slic | Sam | Argmax, Field(discriminator="name")]
"""Strict and frozen: it can stand in a recipe."""

SLIDR = Slic.model_validate({})
"""What is meant when nothing else is said."""

METHODS: dict[str, type[Slic] | type[Sam] | type[Argmax]] = {"slic": Slic, "sam": Sam, "argmax": Argmax}


class Segmenter(Protocol):
    """Cuts pictures (H, W, 3) uint8 RGB into pieces.

    ``count``: every id is below it, in every picture. ``unassigned``: the id that means "in no superpixel", or None
    where every pixel is in one.
    """

    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def unassigned(self) -> int | None: ...  # noqa: D102
    def __call__(self, image: NDArray[np.uint8], /) -> Ids: ...  # noqa: D102


def parse_method(values: Mapping[str, Any]) -> Slic | Sam | Argmax:
    """The method ``values["name"]`` with the other values as its parameters.

    Raises ``InputError`` for an unknown method, an unknown parameter and a value out of range.
    """
    name = str(values.get("name"))
    if name not in METHODS:
        raise InputError(f"there is no superpixel method {name!r}{nearest(name, METHODS)}")
    try:
        return METHODS[name].model_validate(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise InputError(
                f"superpixel method {name}: unknown parameter {key!r}{nearest(key, METHODS[name].model_fields)}"
            ) from None
        if fault["type"] == "missing":
            raise InputError(f"superpixel method {name}: {key} is missing; give it with --{key}") from None
        said = fault["msg"][0].lower() + fault["msg"][1:]
        raise InputError(f"superpixel method {name}: {key} = {fault['input']!r}: {said}") from None


def folder_name(data: str, method: Slic | Sam | Argmax) -> str:
    """``DATA-METHOD-...-DIGEST``: other parameters, another folder."""
    detail = str(method.n_segments) if isinstance(method, Slic) else Path(method.model).stem
    readable = re.sub(r"[^\w.-]+", "_", f"{data}-{method.name}-{detail}").lstrip(".")
    told = json.dumps([data, method.model_dump(mode="json")], sort_keys=True)
    return f"{readable}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def options_of(method: Slic | Sam | Argmax) -> list[str]:
    """The method as options of the command, those at their default left out."""
    words = ["--method", method.name]
    for key, field in type(method).model_fields.items():
        value = getattr(method, key)
        if key == "name" or value == field.default:
            continue
        text = json.dumps(value) if isinstance(value, tuple) else str(value)
        words += ["--model", text] if key == "model" else ["--set", f"{key}={text}"]
    return words


def open_segmenter(method: Slic | Sam | Argmax) -> Segmenter:
    """Load what the method needs. Raises ``InputError`` when a package or the network is missing."""
    if isinstance(method, Slic):
        from lidistill.segmenters.slic import SlicSegmenter

        return SlicSegmenter(method)
    if isinstance(method, Sam):
        from lidistill.segmenters.sam import SamSegmenter

        return SamSegmenter(method)
    from lidistill.segmenters.argmax import open_argmax

    return open_argmax(method)
