"""Words as vectors in CLIP's text space, in which the features of a MaskCLIP teacher lie (Zhou et al., ECCV 2022)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.errors import InputError
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.pretrained import guarded, library, load_weights, part_of
from lidistill.teachers.registry import is_path

TEMPLATES = (
    "a photo of a {}.",
    "a picture in which one sees a {}.",
    "a {} on a street.",
    "a {} beside the road.",
    "a {} in a city.",
    "a {}, seen from a car.",
    "a {} far away.",
    "a {} from close by.",
    "a {} behind something else.",
    "a piece of a {}.",
    "an unsharp picture of a {}.",
    "a {} in the shade.",
)
"""Every phrase is said in all of these, and the mean is what it means (Radford et al., ICML 2021, section 3.1.4)."""

HINT = (
    "words need the text encoder of the model that taught: the hub (or its cache), or a folder with all of CLIPModel "
    "and its tokenizer as save_pretrained writes them; if the folder has moved, put a link in its place"
)


def in_text_space(config: TeacherConfig) -> bool:
    """Whether the features of this teacher lie in CLIP's text space: those of the layer ``value`` do."""
    entry = CATALOG.get(config.name)
    return config.layer == "value" or (config.layer == "auto" and entry is not None and entry.value)


def text_vectors(config: TeacherConfig, phrases: Sequence[str]) -> Tensor:
    """Unit vectors (P, D) float32 of ``phrases`` from the text encoder that belongs to the CLIP teacher ``config``.

    Of each: the unit vectors of its prompts, one per template, their mean, brought to length 1. Raises ``InputError``
    when transformers, the text encoder or its tokenizer is missing, and for a phrase that is too long.
    """
    name, entry = config.name, CATALOG.get(config.name)
    path = Path(name).expanduser()
    if entry is None and is_path(name) and not path.exists():
        raise InputError(f"teacher {name}: the path does not exist, from here or from a folder above the run; {HINT}")
    where = str(path if entry is None else entry.hub)
    transformers = library(name)
    settings = guarded(lambda: transformers.AutoConfig.from_pretrained(where), name, HINT)
    text = part_of(settings, "text_config")
    if text.model_type != "clip_text_model":
        raise InputError(f"teacher {name}: has no text encoder of CLIP ({settings.model_type} alone is there); {HINT}")
    tokenizer = guarded(lambda: transformers.CLIPTokenizer.from_pretrained(where), name, HINT)
    if len(tokenizer) != text.vocab_size:  # where its files are missing, the library makes one that knows no word
        raise InputError(
            f"teacher {name}: the tokenizer there knows {len(tokenizer)} tokens, the text encoder {text.vocab_size}, "
            f"so files of it are missing or another's; {HINT}"
        )
    encoder = load_weights(transformers.CLIPTextModelWithProjection, where, {"config": text}, name, HINT)
    return torch.stack([_vector(encoder, tokenizer, phrase) for phrase in phrases])


def spoken(name: str) -> str:
    """A name as words: ``driveable-surface`` is read "driveable surface"."""
    return " ".join(re.split(r"[-_\s]+", name)).strip()


@torch.no_grad()
def _vector(encoder: Any, tokenizer: Any, phrase: str) -> Tensor:
    """(D,)."""
    prompts = tokenizer([template.format(spoken(phrase)) for template in TEMPLATES], padding=True, return_tensors="pt")
    longest, room = prompts["input_ids"].shape[1], encoder.config.max_position_embeddings
    if longest > room:
        raise InputError(f"{phrase!r} is too long: {longest} tokens in a sentence, the text encoder reads {room}")
    vectors = functional.normalize(encoder(**prompts).text_embeds, dim=1)
    return functional.normalize(vectors.mean(0), dim=0)
