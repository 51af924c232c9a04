"""What recipes of several kinds say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lidistill.training.schedules import CosineSchedule, RsqrtSchedule

Schedule = Annotated[CosineSchedule | RsqrtSchedule, Field(discriminator="kind")]


class Common(BaseModel):
    """What every training recipe says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    epochs: int = Field(gt=0, le=100_000)
    """Passes over the data."""
    batch_size: int = Field(8, gt=0, le=4096)
    """Scans (pictures) per iteration over all devices; never more than there are."""
    lr: float = Field(gt=0, lt=10)
    weight_decay: float = Field(0.0, ge=0, lt=10)
    schedule: Schedule
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``sgd``: momentum 0.9, dampening 0.1 (SLidR)."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto = bf16-mixed on a GPU that has it, else 32-true."""
    devices: int | Literal["auto"] = "auto"
    nodes: int = Field(1, gt=0)
    workers: int | Literal["auto"] = "auto"
    """Loader processes per device; auto = the cores of this machine shared by its devices, at most 8."""
    seed: int = Field(0, ge=0)
    checkpoint_minutes: float = Field(10.0, ge=0)
    """A checkpoint is written at the end of an epoch when the last one is older than this."""
    checkpoint_iterations: int = Field(0, ge=0)
    """Also write one every so many iterations (0 = only by the clock)."""
    bad_frames: float = Field(0.01, ge=0, le=1)
    """Share of unusable frames above which the run stops."""


class OfScans(Common):
    """What a recipe says that learns from lidar scans."""

    voxel: float = Field(0.1, gt=0, le=10)
    """Edge of the sampling voxels, metres: one point of each is kept."""
    points: int = Field(20_000, ge=64)
    """Largest number of points of a training cloud: those nearest to a random one are kept."""
