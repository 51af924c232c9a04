"""Stretched position embeddings; the published DINOv2 as shipped with ScaLR, number by number."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.hub import HubTeacher
from lidistill.teachers.positions import stretch
from lidistill.teachers.registry import load_teacher

RENAMES = (
    (r"^pos_embed", "embeddings.position_embeddings"),
    (r"^cls_token", "embeddings.cls_token"),
    (r"^mask_token", "embeddings.mask_token"),
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^blocks\.", "encoder.layer."),
    (r"attn\.proj", "attention.output.dense"),
    (r"ls(\d)\.gamma", r"layer_scale\1.lambda1"),
    (r"^norm\.", "layernorm."),
)


def published_dinov2(path, folder):
    """Write the fixture's weights, under transformers' names, as a folder of a user's own."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, mlp_ratio=4, patch_size=14, image_size=56
    )
    model = transformers.Dinov2Model(config)
    names = model.state_dict().keys()
    layers = "encoder.layers." if any(n.startswith("encoder.layers.") for n in names) else "encoder.layer."
    state = {}
    for key, value in load_file(path).items():
        for pattern, name in RENAMES:
            key = re.sub(pattern, name, key)
        key = key.replace("encoder.layer.", layers)
        if "attn.qkv" in key:
            prefix, kind = key.split("attn.qkv")
            for part, rows in zip(["query", "key", "value"], value.chunk(3), strict=True):
                state[f"{prefix}attention.attention.{part}{kind}"] = rows
        else:
            state[key] = value
    state = {_match(key, names): value for key, value in state.items()}
    model.load_state_dict(state, strict=True)
    model.save_pretrained(folder)


def _match(key, names):
    """Names inside a block differ between releases of transformers."""
    variants = (
        key,
        re.sub(r"attention\.attention\.(\w+)\.", r"attention.\1.", key),
        re.sub(r"attention\.attention\.(\w)\w+\.", r"attention.\1_proj.", key),
        key.replace("attention.output.dense", "attention.o_proj"),
        key.replace("attention.output.dense", "attention.out_proj"),
    )
    return next((v for v in variants if v in names), key)


@pytest.mark.parametrize("layer", ["pre-norm", "post-norm"])
def test_equals_the_dinov2_of_scalr(parity, tmp_path, layer):
    published_dinov2(parity("04_distillation_losses/dinov2_tiny.safetensors"), tmp_path)
    data = np.load(parity("04_distillation_losses/dinov2_tiny.npz"))
    image = torch.from_numpy(next(v for v in (data[k] for k in data.files) if v.ndim == 4 and v.shape[1] == 3))
    config = TeacherConfig(name=str(tmp_path), image_size=tuple(image.shape[-2:]), layer=layer)
    teacher = load_teacher(config)
    assert isinstance(teacher, HubTeacher)
    tokens = torch.from_numpy(data["out_x_pre_norm_0" if layer == "pre-norm" else "out_x_0"])
    expected = tokens[:, 1:].transpose(1, 2).reshape(2, 32, 4, 6)
    features = teacher(image * teacher.std + teacher.mean)  # the fixture's image is already normalised
    assert (features - expected).abs().max() <= 5e-6
    exact = load_teacher(config.model_copy(update={"positions": "exact"}))
    assert (exact(image * teacher.std + teacher.mean) - expected).abs().max() > 1e-4  # the 0.1 is no detail


def test_stored_size_is_left_alone():
    table = torch.randn(1, 25, 8)
    for how in ("offset", "exact", "antialias"):
        assert stretch(table, 5, 5, how) is table


def test_three_ways_differ_and_keep_a_constant():
    torch.manual_seed(0)
    table = torch.randn(1, 36, 8)
    made = {how: stretch(table, 3, 9, how) for how in ("offset", "exact", "antialias")}
    assert {m.shape for m in made.values()} == {(1, 27, 8)}
    assert not torch.allclose(made["offset"], made["exact"], atol=1e-3)
    assert not torch.allclose(made["antialias"], made["exact"], atol=1e-3)
    for how in made:
        assert torch.allclose(stretch(torch.ones(1, 36, 8), 3, 9, how), torch.ones(1, 27, 8), atol=1e-5)


def test_exact_equals_interpolate_row_by_row():
    table = torch.randn(1, 16, 3)
    expected = functional.interpolate(table.reshape(1, 4, 4, 3).permute(0, 3, 1, 2), (6, 8), mode="bicubic")
    assert torch.allclose(stretch(table, 6, 8, "exact").reshape(6, 8, 3).permute(2, 0, 1), expected[0], atol=1e-6)


def test_half_precision_tables_keep_their_type():
    assert stretch(torch.randn(1, 16, 4).bfloat16(), 5, 5, "offset").dtype == torch.bfloat16
