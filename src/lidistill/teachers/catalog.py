"""Short names of the papers' teachers, and where their weights are published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A published encoder: ``hub`` name of its weights (None: not on the hub, ``download`` says where they are)."""

    hub: str | None
    family: str
    stride: int
    licence: str
    value: bool = False
    """Read the value projection of the last attention (MaskCLIP)."""
    download: str = ""


_META = "https://dl.fbaipublicfiles.com"
_GATED = "DINOv3 licence (accept it on the hub first)"


def _dinov2(size: str, registers: bool = False) -> Entry:
    middle = "with-registers-" if registers else ""
    return Entry(f"facebook/dinov2-{middle}{size}", "dinov2", 14, "Apache-2.0")


CATALOG: dict[str, Entry] = {
    "dino-vits8": Entry("facebook/dino-vits8", "dino", 8, "Apache-2.0"),
    "dino-vits16": Entry("facebook/dino-vits16", "dino", 16, "Apache-2.0"),
    "dino-vitb8": Entry("facebook/dino-vitb8", "dino", 8, "Apache-2.0"),
    "dino-vitb16": Entry("facebook/dino-vitb16", "dino", 16, "Apache-2.0"),
    "dinov2-vits14": _dinov2("small"),
    "dinov2-vitb14": _dinov2("base"),
    "dinov2-vitl14": _dinov2("large"),
    "dinov2-vitg14": _dinov2("giant"),
    "dinov2-vits14-reg": _dinov2("small", registers=True),
    "dinov2-vitb14-reg": _dinov2("base", registers=True),
    "dinov2-vitl14-reg": _dinov2("large", registers=True),
    "dinov2-vitg14-reg": _dinov2("giant", registers=True),
    "dinov3-vits16": Entry("facebook/dinov3-vits16-pretrain-lvd1689m", "dinov3", 16, _GATED),
    "dinov3-vits16plus": Entry("facebook/dinov3-vits16plus-pretrain-lvd1689m", "dinov3", 16, _GATED),
    "dinov3-vitb16": Entry("facebook/dinov3-vitb16-pretrain-lvd1689m", "dinov3", 16, _GATED),
    "dinov3-vitl16": Entry("facebook/dinov3-vitl16-pretrain-lvd1689m", "dinov3", 16, _GATED),
    "dinov3-vith16plus": Entry("facebook/dinov3-vith16plus-pretrain-lvd1689m", "dinov3", 16, _GATED),
    "dinov3-vit7b16": Entry("facebook/dinov3-vit7b16-pretrain-lvd1689m", "dinov3", 16, _GATED),
    "mae-vitb16": Entry("facebook/vit-mae-base", "mae", 16, "Apache-2.0 on the hub, CC BY-NC 4.0 in the code"),
    "mae-vitl16": Entry("facebook/vit-mae-large", "mae", 16, "Apache-2.0 on the hub, CC BY-NC 4.0 in the code"),
    "clip-vitb16": Entry("openai/clip-vit-base-patch16", "clip", 16, "MIT"),
    "clip-vitl14": Entry("openai/clip-vit-large-patch14", "clip", 14, "MIT"),
    "maskclip-vitb16": Entry("openai/clip-vit-base-patch16", "clip", 16, "MIT", value=True),
    "maskclip-vitl14": Entry("openai/clip-vit-large-patch14", "clip", 14, "MIT", value=True),
    "sam-vitb": Entry("facebook/sam-vit-base", "sam", 16, "Apache-2.0"),
    "sam-vitl": Entry("facebook/sam-vit-large", "sam", 16, "Apache-2.0"),
    "sam-vith": Entry("facebook/sam-vit-huge", "sam", 16, "Apache-2.0"),
    "resnet50-supervised": Entry("microsoft/resnet-50", "resnet", 4, "Apache-2.0"),
    "resnet50-dino": Entry(
        None, "resnet", 4, "Apache-2.0", download=f"{_META}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"
    ),
    "resnet50-moco": Entry(
        None,
        "resnet",
        4,
        "CC BY-NC 4.0",
        download=f"{_META}/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
    ),
}


def apart(one: str, other: str) -> bool:
    """Whether two names are known to be of different kinds: layer and positions of one do not fit the other."""
    if one not in CATALOG or other not in CATALOG:
        return False
    first, second = CATALOG[one], CATALOG[other]
    return (first.family, first.value) != (second.family, second.value)
