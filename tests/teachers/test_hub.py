"""Encoders of every family, as tiny random models saved like a user's own."""

import json
import sys

import pytest
import torch
from torch import nn

from lidistill.errors import InputError
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import load_teacher

transformers = pytest.importorskip("transformers")

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
HEIGHT, WIDTH = 56, 112
TINY = {
    "dinov2": ("Dinov2Model", "Dinov2Config", {**VIT, "patch_size": 14, "image_size": 70}, 1),
    "registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**VIT, "patch_size": 14, "image_size": 70},
        5,
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**VIT, "patch_size": 14, "num_register_tokens": 4}, 5),
    "dino": ("ViTModel", "ViTConfig", {**VIT, "patch_size": 14, "image_size": 70}, 1),
    "mae": ("ViTMAEModel", "ViTMAEConfig", {**VIT, "patch_size": 14, "image_size": 70}, 1),
    "clip": (
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        {**VIT, "patch_size": 14, "image_size": 70, "projection_dim": 24},
        1,
    ),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", {**VIT, "patch_size": 14, "image_size": 70}, 0),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """``saved(name) -> (folder, model)``: made once."""
    made = {}

    def save(name):
        if name not in made:
            cls, config, values, _ = TINY[name]
            torch.manual_seed(len(made))
            model = getattr(transformers, cls)(getattr(transformers, config)(**values)).eval()
            for parameter in model.parameters():  # initial positions and layer scales are too regular to find errors
                parameter.data += 0.2 * torch.randn_like(parameter)
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            made[name] = folder, model
        return made[name]

    return save


def load(folder, **options):
    return load_teacher(TeacherConfig(name=str(folder), image_size=(HEIGHT, WIDTH), **options))


def images(count=2, height=HEIGHT, width=WIDTH):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", TINY)
def test_tokens_equal_the_models_own(saved, name):
    folder, model = saved(name)
    teacher = load(
        folder, layer="post-norm", positions="exact" if name in {"dinov2", "dino", "mae", "clip"} else "auto"
    )
    batch = images()
    features = teacher(batch)
    assert features.shape == (2, 32, 4, 8)
    assert (teacher.dim, teacher.stride, teacher.grid) == (32, 14, "corners")
    normal = (batch - teacher.mean) / teacher.std
    fixed = {"interpolate_pos_encoding": True} if name in {"dino", "mae", "clip", "siglip"} else {}
    if name == "mae":
        model.config.mask_ratio = 0.0
        fixed["noise"] = torch.arange(32.0).expand(2, -1)
    with torch.no_grad():
        tokens = model(pixel_values=normal, **fixed).last_hidden_state
        tokens = model.vision_model.post_layernorm(tokens) if name == "clip" else tokens
    drop = TINY[name][3]
    expected = tokens[:, drop:].transpose(1, 2).reshape(2, 32, 4, 8)
    assert tokens.shape[1] == drop + 32
    assert torch.allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_pre_norm_is_the_default_and_differs(saved, name):
    folder, model = saved(name)
    before, after = load(folder), load(folder, layer="post-norm")
    norms = {"dinov3": "norm", "siglip": "post_layernorm"}
    norm = model.vision_model.post_layernorm if name == "clip" else getattr(model, norms.get(name, "layernorm"))
    with torch.no_grad():
        expected = norm(before(images()).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(after(images()), expected, atol=1e-5)
    assert not torch.allclose(after(images()), before(images()), atol=1e-2)


def test_mae_sees_every_patch_in_order(saved):
    teacher = load(saved("mae")[0])
    plain = images(1)
    changed = plain.clone()
    changed[..., :14, 14:28] = 0  # one patch: its own token must change the most
    change = (teacher(changed) - teacher(plain)).norm(dim=1)[0]
    assert change.argmax() == 1
    assert torch.equal(teacher(plain), teacher(plain))


def test_frozen_and_float32(saved):
    teacher = load(saved("dinov2")[0])
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher(images().requires_grad_()).requires_grad
    assert teacher(images()).dtype == torch.float32


def test_bfloat16_weights_give_float32_features_close_by(saved):
    folder, _ = saved("dinov2")
    small, full = load(folder, precision="bfloat16"), load(folder)
    assert next(small.model.parameters()).dtype == torch.bfloat16
    features, expected = small(images()), full(images())
    assert features.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(features, expected).min() > 0.99
    assert not torch.equal(features, expected)


def test_any_size_that_the_patch_divides(saved):
    teacher = load(saved("dino")[0])
    assert teacher(images(1, 28, 70)).shape == (1, 32, 2, 5)
    with pytest.raises(InputError, match=r"30 x 70 must be a multiple of its stride 14.*try 28 x 70"):
        teacher(images(1, 30, 70))
    with pytest.raises(InputError, match="224 x 450"):
        load_teacher(TeacherConfig(name=str(saved("dino")[0]), image_size=(224, 450)))


def test_clip_value_features_are_those_of_attention_to_oneself(saved):
    folder, model = saved("clip")
    teacher = load(folder, layer="value")
    features = teacher(images())
    assert teacher.dim == 24
    seen = {}
    last = model.vision_model.encoder.layers[-1]
    hook = last.register_forward_pre_hook(lambda _, args, kwargs: seen.update(x=args[0]), with_kwargs=True)
    with torch.no_grad():
        normal = (images() - teacher.mean) / teacher.std
        model.vision_model(pixel_values=normal, interpolate_pos_encoding=True)
        hook.remove()
        x = seen["x"]
        x = x + last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(x)))
        x = x + last.mlp(last.layer_norm2(x))
        expected = model.visual_projection(model.vision_model.post_layernorm(x))[:, 1:]
    assert torch.allclose(features, expected.transpose(1, 2).reshape(2, 24, 4, 8), atol=1e-5)


def test_whole_clip_checkpoint_gives_its_vision_part(tmp_path):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**small, "patch_size": 8, "image_size": 32},
        projection_dim=12,
    )
    whole = transformers.CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    teacher = load_teacher(TeacherConfig(name=str(tmp_path), image_size=(32, 64), layer="value"))
    assert teacher(images(1, 32, 64)).shape == (1, 12, 4, 8)
    assert torch.equal(teacher.model.visual_projection.weight, whole.visual_projection.weight)


def test_value_features_without_projection_weights_are_refused(tmp_path):
    config = transformers.CLIPVisionConfig(**{**VIT, "patch_size": 14, "image_size": 56})
    transformers.CLIPVisionModel(config).save_pretrained(tmp_path)
    assert load(tmp_path)(images()).shape[1] == 32
    with pytest.raises(InputError, match=r"lack or misfit .*visual_projection.*partly random"):
        load(tmp_path, layer="value")


def sam(folder, **options):
    config = transformers.SamVisionConfig(
        **{**VIT, "mlp_dim": 48, "output_channels": 16, "patch_size": 16, "image_size": 64, "window_size": 2},
        global_attn_indexes=[1],
        num_pos_feats=8,
    )
    torch.manual_seed(5)
    model = transformers.SamVisionModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model, load_teacher(TeacherConfig(name=str(folder), image_size=(64, 64), **options))


def test_sam_neck_equals_the_model_and_other_sizes_work(tmp_path):
    model, teacher = sam(tmp_path, layer="neck")
    with torch.no_grad():
        expected = model(pixel_values=(images(1, 64, 64) - teacher.mean) / teacher.std).last_hidden_state
    assert torch.allclose(teacher(images(1, 64, 64)), expected, atol=1e-5)
    assert teacher(images(1, 64, 128)).shape == (1, 16, 4, 8)


def test_sam_tokens_before_the_neck(tmp_path):
    model, teacher = sam(tmp_path)
    assert teacher.dim == 32
    with torch.no_grad():
        neck = model.vision_encoder.neck(teacher(images(1, 64, 64)).permute(0, 2, 3, 1))
        expected = model(pixel_values=(images(1, 64, 64) - teacher.mean) / teacher.std).last_hidden_state
    assert torch.allclose(neck, expected, atol=1e-5)


# ---- normalisation, errors


def test_normalisation_is_read_from_the_folder_or_the_familys(saved, tmp_path):
    assert load(saved("dinov2")[0]).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert load(saved("clip")[0]).std.flatten().tolist() == pytest.approx([0.2686, 0.2613, 0.2758], abs=1e-4)
    saved("dinov2")[1].save_pretrained(tmp_path)
    settings = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "size": {"height": 70, "width": 70}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    teacher = load(tmp_path)
    assert teacher.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert teacher.std.flatten().tolist() == pytest.approx([0.2, 0.2, 0.1])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5], "image_std": [0.2, 0.2, 0.1]}))
    with pytest.raises(InputError, match="must be three numbers each"):
        load(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON"):
        load(tmp_path)


def test_colours_are_matched_to_imagenet_only_on_demand(saved):
    folder, _ = saved("dinov2")
    assert load(folder).color_statistics is None
    assert load(folder, match_colors=True).color_statistics.mean == pytest.approx((123.675, 116.28, 103.53))


def test_grid_can_be_chosen(saved):
    assert load(saved("dinov2")[0], grid="centers").grid == "centers"


def test_unknown_layer_positions_and_family(saved, tmp_path):
    with pytest.raises(InputError, match="layer 'neck' does not exist here, choose from pre-norm, post-norm"):
        load(saved("dinov2")[0], layer="neck")
    with pytest.raises(InputError, match="positions = 'offset' does not apply to encoders of type dinov3_vit"):
        load(saved("dinov3")[0], positions="offset")
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"'bert' are not known.*\.pt2"):
        load(tmp_path)


def test_incomplete_and_damaged_folders(saved, tmp_path):
    _, model = saved("dinov2")
    with pytest.raises(InputError, match=r"cannot be loaded .*save_pretrained writes"):
        load(tmp_path)
    model.config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"cannot be loaded .*save_pretrained writes"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="cannot be loaded"):
        load(tmp_path)
    from safetensors.torch import save_file

    state = {k: v.contiguous() for k, v in model.state_dict().items() if "layer.1" not in k and "layers.1" not in k}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack or misfit \d+ parameters of Dinov2Model"):
        load(tmp_path)


def test_hub_out_of_reach(monkeypatch):
    def refuse(*_, **__):
        raise OSError("We couldn't connect to the hub\nand more lines")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(InputError, match=r"facebook/dinov2-smal: cannot be loaded \(We couldn't connect to the hub\)"):
        load_teacher(TeacherConfig(name="facebook/dinov2-smal"))
    with pytest.raises(InputError, match=r"dinov2-vits14: cannot be loaded .*local folder$"):
        load_teacher(TeacherConfig(name="dinov2-vits14"))


def test_transformers_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'lidistill\[teachers\]'"):
        load_teacher(TeacherConfig(name="dinov2-vits14"))


def test_short_name_loads_from_its_hub_name(saved, monkeypatch):
    """The hub is not reachable in tests: the catalogue entry is pointed at a folder instead."""
    from dataclasses import replace

    folder, _ = saved("clip")
    for name in ("clip-vitb16", "maskclip-vitb16"):
        monkeypatch.setitem(CATALOG, name, replace(CATALOG[name], hub=str(folder)))
    plain = load_teacher(TeacherConfig(name="clip-vitb16", image_size=(56, 112)))
    masked = load_teacher(TeacherConfig(name="maskclip-vitb16", image_size=(56, 112)))
    assert (plain.dim, plain.layer, plain.name) == (32, "pre-norm", "clip-vitb16")
    assert (masked.dim, masked.layer, masked.name) == (24, "value", "maskclip-vitb16")


def test_no_batch_norm_statistics_move(tmp_path):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    teacher = load_teacher(TeacherConfig(name=str(tmp_path), image_size=(64, 64)))
    before = [m.running_mean.clone() for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)]
    teacher.train()
    teacher(images(2, 64, 64))
    after = [m.running_mean for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)]
    assert before
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
