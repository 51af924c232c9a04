"""What a recipe says about its teacher."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lidistill.teachers.teacher import Grid

Layer = Literal["auto", "pre-norm", "post-norm", "value", "neck"]
Positions = Literal["auto", "offset", "exact", "antialias"]


class TeacherConfig(BaseModel):
    """A frozen image network and how it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """A short name (``dinov2-vitl14``), a hub name, a local folder, a ``.pt2`` program, or ``city``."""
    image_size: tuple[int, int] = (224, 448)
    """Height and width that every picture is resized to, multiples of the teacher's stride."""
    antialias: bool = True
    """Filter before shrinking pictures (ScaLR did not, ScaLR+ does)."""
    layer: Layer = "auto"
    """Tokens of the last block before (``pre-norm``) or after (``post-norm``) the final layer norm, with the last
    attention replaced by its ``value`` projection and taken to text space (MaskCLIP), or after SAM's ``neck``; auto =
    pre-norm as in ScaLR, value for the maskclip names."""
    positions: Positions = "auto"
    """How learned position embeddings are stretched to the picture: ``offset`` as in the code of DINO and DINOv2 (0.1
    is added to the size), ``exact``, ``antialias`` as timm does; auto = what the family published."""
    grid: Grid | Literal["auto"] = "auto"
    """Where the cells of the feature map lie in the picture; auto = what the teacher states (transformers: corners, as
    published)."""
    match_colors: bool | Literal["auto"] = "auto"
    """Bring the colours of a source's pictures to those of the teacher's own training; auto = when a program states
    them in its sidecar file."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the teacher's weights and arithmetic."""
    weight: float = Field(1.0, ge=1e-3, le=1e3)
    """How loud this one speaks among several teachers, see ``joint.join``; alone it has no effect."""

    @field_validator("image_size")
    @classmethod
    def _positive(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(8 <= n <= 16384 for n in size):
            raise ValueError(f"height and width must lie between 8 and 16384 pixels, found {size[0]} x {size[1]}")
        return size
