"""A tiny CLIP for tests: random weights, and a tokenizer that spells every word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

DIM = 12


def tiny_clip(folder: Path) -> Any:
    """Write model and tokenizer as a user would (patches of 8 pixels, 12 features in text space); returns the model."""
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[])
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    end = len(vocabulary) - 1
    text = {**small, "vocab_size": len(vocabulary), "bos_token_id": end - 1, "eos_token_id": end}
    config = transformers.CLIPConfig(
        text_config={**text, "max_position_embeddings": 77},
        vision_config={**small, "patch_size": 8, "image_size": 32},
        projection_dim=DIM,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.CLIPModel(config).eval()
        for parameter in model.parameters():  # as initialised it hardly tells words apart
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
