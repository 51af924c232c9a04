"""How each family of transformers encoders is read: which class, which tokens, which normalisation of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.teachers.positions import Stretch, set_stretch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Reader = Callable[[Any, Tensor, str], Tensor]
"""(model, normalised pictures (B, 3, H, W), layer) -> (B, D, h, w)."""


@dataclass(frozen=True)
class Family:
    """``model``: transformers class; ``read`` runs it; ``colors``: mean and std of its training pictures, used when the
    folder has no preprocessor_config.json; ``norm``: attribute of the final norm, if the model applies it by itself;
    ``stretch``: published treatment of learned positions, None = they cannot be chosen here; ``settings`` of its
    configuration and ``options`` of its class that are needed; ``layers``: what can be asked for, the default first.
    """

    model: str
    read: Reader
    colors: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    norm: str | None = None
    stretch: Stretch | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    layers: tuple[str, ...] = ("pre-norm", "post-norm")


def to_map(tokens: Tensor, images: Tensor, patch: int) -> Tensor:
    """(B, T, D) -> (B, D, h, w): the last h w tokens are patches row by row; class and register tokens come first."""
    rows, columns = images.shape[-2] // patch, images.shape[-1] // patch
    patches = tokens[:, tokens.shape[1] - rows * columns :]
    return patches.transpose(1, 2).reshape(len(tokens), -1, rows, columns)


def _read_vit(model: Any, images: Tensor, layer: str) -> Tensor:
    fixed = {} if model.config.model_type != "vit" else {"interpolate_pos_encoding": True}
    tokens = model(pixel_values=images, **fixed).last_hidden_state
    return to_map(tokens, images, model.config.patch_size)


def _read_mae(model: Any, images: Tensor, layer: str) -> Tensor:
    patch = model.config.patch_size
    count = (images.shape[-2] // patch) * (images.shape[-1] // patch)
    # it shuffles patches by the order of this noise, also when (mask_ratio 0) it drops none
    order = torch.arange(count, device=images.device, dtype=torch.float32).expand(len(images), -1)
    tokens = model(pixel_values=images, noise=order, interpolate_pos_encoding=True).last_hidden_state
    return to_map(tokens, images, patch)


class ValueAttention(nn.Module):
    """An attention layer in which every token keeps its own value: MaskCLIP (Zhou et al., ECCV 2022, section 3.2)."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        """(B, T, D) -> ((B, T, D), None)."""
        return self.out_proj(self.v_proj(hidden_states)), None


def _read_clip(model: Any, images: Tensor, layer: str) -> Tensor:
    vision = model.vision_model
    tokens = vision(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
    if layer != "pre-norm":
        tokens = vision.post_layernorm(tokens)
    if layer == "value":
        tokens = model.visual_projection(tokens)
    return to_map(tokens, images, model.config.patch_size)


def _read_siglip(model: Any, images: Tensor, layer: str) -> Tensor:
    tokens = model(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
    return to_map(tokens, images, model.config.patch_size)


def _read_sam(model: Any, images: Tensor, layer: str) -> Tensor:
    """Any picture size: absolute positions are stretched here, relative ones by the library; ``neck``: 256 features."""
    encoder = model.vision_encoder
    patches = encoder.patch_embed.projection(images).permute(0, 2, 3, 1)
    if encoder.pos_embed is not None:
        patches = patches + _sam_positions(encoder.pos_embed, patches)
    for block in encoder.layers:
        patches = block(patches)
    return encoder.neck(patches) if layer == "neck" else patches.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _sam_positions(table: Tensor, patches: Tensor) -> Tensor:
    rows, columns = patches.shape[1:3]
    if tuple(table.shape[1:3]) == (rows, columns):
        return table
    grid = table.float().permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, (rows, columns), mode="bicubic")
    return grid.permute(0, 2, 3, 1).to(table.dtype)


def _read_resnet(model: Any, images: Tensor, layer: str) -> Tensor:
    return model(pixel_values=images).last_hidden_state  # type: ignore[no-any-return]


_VIT = Family("Dinov2Model", _read_vit, norm="layernorm", stretch="offset")
FAMILIES: dict[str, Family] = {
    "dinov2": _VIT,
    "dinov2_with_registers": replace(_VIT, model="Dinov2WithRegistersModel", stretch="antialias"),
    "dinov3_vit": replace(_VIT, model="DINOv3ViTModel", norm="norm", stretch=None),
    "vit": replace(_VIT, model="ViTModel", options=(("add_pooling_layer", False),)),
    "vit_mae": replace(_VIT, model="ViTMAEModel", read=_read_mae, stretch="exact", settings=(("mask_ratio", 0.0),)),
    "clip": Family(
        "CLIPVisionModelWithProjection", _read_clip, CLIP, stretch="exact", layers=("pre-norm", "post-norm", "value")
    ),
    "siglip": Family("SiglipVisionModel", _read_siglip, HALF, norm="post_layernorm"),
    "sam": Family("SamVisionModel", _read_sam, layers=("pre-norm", "neck")),
    "resnet": Family("ResNetModel", _read_resnet, layers=("pre-norm",)),
}
"""By transformers' ``model_type``."""

ALIASES = {"clip_vision_model": "clip", "siglip_vision_model": "siglip", "sam_vision_model": "sam"}
"""``model_type`` of a vision part saved alone -> its family."""


def set_up(model: Any, family: Family, layer: str, how: Stretch | None) -> None:
    """Change a loaded model once: take out the final norm or the last attention, choose how positions are stretched."""
    if layer == "pre-norm" and family.norm:
        setattr(model, family.norm, nn.Identity())
    vision = getattr(model, "vision_model", model)
    if layer == "value":
        last = vision.encoder.layers[-1]
        last.self_attn = ValueAttention(last.self_attn)
    if how is not None:
        set_stretch(vision.embeddings, model.config.patch_size, how)
