"""Networks of transformers with their picture processor: from a hub name or a local folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lidistill.errors import InputError


def load_network(where: str, method: str, choose: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """(network in evaluation mode on the GPU if there is one, its picture processor).

    ``choose(transformers, configuration)`` gives the class of the network. Raises ``InputError`` when transformers is
    missing, when nothing can be loaded from ``where``, and when its weights leave a part of the network random.
    """
    try:
        import transformers
        from transformers.utils import logging as library
    except ImportError as error:
        raise InputError(
            f"superpixels by {method} need the package transformers; install it with: pip install 'lidistill[teachers]'"
        ) from error
    loud = library.get_verbosity()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        cls = choose(transformers, transformers.AutoConfig.from_pretrained(where))
        network, info = cls.from_pretrained(where, output_loading_info=True, dtype=torch.float32)
        # the processors of the backend "torchvision" need a package that is not wanted here
        processor = transformers.AutoImageProcessor.from_pretrained(where, backend="pil")
    except InputError:
        raise
    except Exception as error:  # OSError, ValueError, KeyError, and errors of safetensors, httpx and the hub client
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"superpixels by {method}: the network {where} cannot be loaded ({said}); the hub must be reachable (or "
            f"the weights in its cache), or give a local folder with what save_pretrained writes, processor included"
        ) from error
    finally:
        library.set_verbosity(loud)
        library.enable_progress_bar()
    lost = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    if lost:
        raise InputError(
            f"superpixels by {method}: the weights at {where} lack or misfit {len(lost)} parameters of "
            f"{cls.__name__} (first: {lost[0]}); give a network that was trained for this"
        )
    return network.eval().requires_grad_(False).to(device()), processor


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
