"""Tiny networks with random weights, saved as their authors' files are."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers


def tiny_sam(folder: Path) -> Path:
    """Sees pictures of 64 x 64."""
    torch.manual_seed(3)
    part = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 32}
    place = {"image_size": 64, "patch_size": 16}
    vision = {"output_channels": 16, "window_size": 2, "global_attn_indexes": [0], "num_pos_feats": 8}
    decoder = {"iou_head_hidden_dim": 16, "iou_head_depth": 2}
    config = transformers.SamConfig(
        vision_config={**part, **place, **vision},
        prompt_encoder_config={"hidden_size": 16, **place, "mask_input_channels": 4},
        mask_decoder_config={**part, **decoder},
    )
    network = transformers.SamModel(config)
    for parameter in network.mask_decoder.parameters():  # as they come, all masks are nearly flat
        parameter.data.mul_(4)
    for head in network.mask_decoder.output_hypernetworks_mlps:
        head.proj_out.weight.data.mul_(400)
    network.save_pretrained(folder)
    sides = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    transformers.SamImageProcessorPil(**sides).save_pretrained(folder)
    return folder


def tiny_segformer(folder: Path, classes: int = 5) -> Path:
    """Sees pictures of 64 x 128."""
    torch.manual_seed(4)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=classes,
    )
    network = transformers.SegformerForSemanticSegmentation(config)
    for parameter in network.decode_head.parameters():
        parameter.data.mul_(4)
    network.save_pretrained(folder)
    transformers.SegformerImageProcessorPil(size={"height": 64, "width": 128}).save_pretrained(folder)
    return folder
