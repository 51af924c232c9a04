"""Networks that transformers saved, by hub name or local folder: loaded whole, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lidistill.errors import InputError


def library(name: str) -> Any:
    """The package transformers, for teacher ``name``; raises ``InputError`` when it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"teacher {name}: the package transformers is not installed; install it with: "
            f"pip install 'lidistill[teachers]'"
        ) from error
    return transformers


def guarded(load: Callable[[], Any], name: str, hint: str) -> Any:
    """Run ``load``; whatever the library raises becomes one sentence that ends with ``hint``."""
    try:
        return load()
    except InputError:
        raise
    except Exception as error:  # OSError, ValueError, KeyError, and errors of safetensors, httpx and the hub client
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"teacher {name}: cannot be loaded ({said[0][:160]}); {hint}") from error


def part_of(settings: Any, part: str) -> Any:
    """Configuration of one part of a text-and-image model (``vision_config``), or of a part that was saved alone."""
    found = getattr(settings, part, settings)
    if found is not settings and hasattr(settings, "projection_dim"):
        found.projection_dim = settings.projection_dim  # the whole model's counts; the part's may be a default
    return found


def load_weights(
    cls: Any, where: str, options: dict[str, Any], name: str, hint: str, unused: Sequence[str] = ()
) -> Any:
    """A network of transformers' class ``cls`` with the weights at ``where``, float32, in evaluation mode.

    Raises ``InputError`` when they cannot be read or leave a parameter random, those ``unused`` left aside.
    """
    from transformers.utils import logging

    loud = logging.get_verbosity()
    logging.set_verbosity_error()  # its report lists every weight of the model's other part as unexpected
    try:
        model, info = guarded(
            lambda: cls.from_pretrained(where, output_loading_info=True, dtype=torch.float32, **options), name, hint
        )
    finally:
        logging.set_verbosity(loud)
    wrong = sorted(
        key for key in {*info["missing_keys"], *(k for k, *_ in info["mismatched_keys"])} if key not in unused
    )
    if wrong:
        raise InputError(
            f"teacher {name}: the weights at {where} lack or misfit {len(wrong)} parameters of {cls.__name__} (first: "
            f"{wrong[0]}), so it would be partly random; {hint}"
        )
    return model
