"""What a student and its head look like: typed, frozen, strict."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Interval = tuple[float, float]
Box = tuple[Interval, Interval, Interval]

AXES = "xyz"
LARGEST_GRID = 8192


class VoxelConfig(BaseModel):
    """The voxels of a sparse convolutional student."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape: Literal["cubic", "cylindrical"] = "cubic"
    """``cylindrical``: range to the vertical axis, azimuth and height, as SLidR and its successors have it."""
    size: float = Field(default=0.1, ge=0.01, le=10)
    """Edge in metres; of cylindrical voxels along range and height."""
    degrees: float = Field(default=1.0, gt=0, le=90)
    """Width of a cylindrical voxel; 360 is a multiple of it."""
    closed: bool = True
    """Voxels on both sides of azimuth 180 degrees are neighbours; False leaves the seam of the published code."""
    interpolate: bool | None = None
    """A point reads the eight voxels around it (trilinear) instead of its own; None = as published, SPVCNN alone."""
    intensity: tuple[float, float] = (0.0, 1.0)
    """Mean and standard deviation on whose scale the student sees intensities: (0, 1) as standardised, those of a data
    set's raw values for a network that was trained on them, as SLidR's was on nuScenes.
    """

    @model_validator(mode="after")
    def _whole_circle(self) -> VoxelConfig:
        if abs(360 / self.degrees - round(360 / self.degrees)) > 1e-6:
            raise ValueError(f"voxels of {self.degrees} degrees do not divide the circle evenly")
        return self


class StudentConfig(BaseModel):
    """A lidar network without its head.

    The defaults of ``fov`` and ``cell`` are those of ScaLR's pretraining (128 m x 128 m x 16 m, 0.5 m); weights do
    not depend on either, so both may change from pretraining to another sensor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str = "waffleiron"
    """``waffleiron``, ``minkunet``, ``spvcnn`` or a plug-in (entry-point group ``lidistill.students``)."""
    depth: int = Field(gt=0, le=1000)
    """Number of layers; of a MinkUNet or SPVCNN 18 or 34, as it is called."""
    width: int = Field(gt=0, le=65536)
    """Number of features of a point between layers; of a MinkUNet or SPVCNN at the end, 96 as published."""
    norm: Literal["batch", "layer", "instance"]
    """Normalisation of the layers; the published 768-wide models use ``layer``. ``instance``: statistics of each cloud
    alone, in the embedding too, the same in training and evaluation.
    """
    activation: Literal["relu", "gelu"] = "relu"
    """``relu`` in WaffleIron and ScaLR, ``gelu`` (exact) in ScaLR+."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Probability that a layer's branch is left out for a whole cloud while training."""
    neighbors: int = Field(default=16, gt=0, le=256)
    """Nearest neighbours that the embedding of a point looks at."""
    in_channels: int = Field(default=5, gt=0, le=256)
    """Features of a point: intensity, x, y, z, range."""
    fov: Box = ((-64.0, 64.0), (-64.0, 64.0), (-8.0, 8.0))
    """Lowest and highest x, y and z that the student sees, metres in the lidar frame."""
    cell: float = Field(default=0.5, gt=0)
    """Edge of the 2D cells, metres; an axis has as many whole cells as fit, stretched to fill it."""
    voxels: VoxelConfig | None = None
    """Of students with sparse convolutions, which have no use for ``cell``, ``neighbors``, ``activation``,
    ``drop_path`` and ``checkpointing``.
    """
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more time."""

    @model_validator(mode="after")
    def _voxels_for_those_who_have_them(self) -> StudentConfig:
        if self.voxels is not None and self.kind == "waffleiron":
            raise ValueError("a waffleiron has no voxels")
        return self

    @model_validator(mode="after")
    def _cells_fit(self) -> StudentConfig:
        for axis, (low, high), count in zip(AXES, self.fov, self.cells_per_axis, strict=True):
            if not low < high:
                raise ValueError(f"the field of view along {axis} must rise, found [{low}, {high}]")
            if not 1 <= count <= LARGEST_GRID:
                raise ValueError(
                    f"cells of {self.cell} m divide [{low}, {high}] along {axis} into {count}; "
                    f"choose a cell that gives 1 to {LARGEST_GRID}"
                )
        return self

    @property
    def name(self) -> str:
        """Short name, such as ``waffleiron-48-768``."""
        return f"{self.kind}-{self.depth}-{self.width}"

    @property
    def cells_per_axis(self) -> tuple[int, int, int]:
        """Whole cells that fit into the field of view along x, y and z."""
        # Rounding down gives the published grids: 166 x 166 x 16 for cells of 0.6 m, 250 x 250 x 12 for 0.4 m.
        x, y, z = (int((high - low) / self.cell + 1e-6) for low, high in self.fov)
        return x, y, z


class CalibrationConfig(BaseModel):
    """Self-calibrated convolutions that bring features of points closer to those of pictures (UDAKD, ICRA 2025)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: int = Field(default=3, ge=1, le=16)
    """Three in the paper."""
    voxel: float = Field(default=0.2, ge=0.01, le=10)
    """Edge in metres of the voxels that are convolved; the paper's are those of its MinkUNet."""


class HeadConfig(BaseModel):
    """What turns the student's features into outputs, point by point.

    ``linear``: one linear layer (ScaLR's distillation head, WaffleIron's classifier); ``mlp``: linear, ReLU, linear
    (ScaLR+'s distillation head); ``probe``: batch norm, then a linear layer that starts at zero (linear probing and
    finetuning, ScaLR section 4.1), or with ``hidden`` two layers with a ReLU between, of which the last starts at zero
    (the head of MuDDoS).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["linear", "mlp", "probe"]
    outputs: int = Field(gt=0)
    """Teacher features or classes."""
    hidden: int | None = Field(default=None, gt=0)
    """Width of the hidden layer, if there is one."""
    calibration: CalibrationConfig | None = None
    """Self-calibrated convolutions between the student's features and these layers; None = none."""
    reads: HeadConfig | None = None
    """The distillation head whose outputs, as unit vectors, this one reads; None = it reads the features."""
    both: bool = False
    """It reads the features as well, by layers of its own, and says the mean of the two probabilities of classes."""

    @model_validator(mode="after")
    def _one_calibration(self) -> HeadConfig:
        if self.reads is not None and (self.calibration or self.reads.reads):
            raise ValueError("a head that reads another has no calibration of its own, and that reads features")
        if self.both and self.reads is None:
            raise ValueError("a head that reads both needs the distillation head that it reads")
        return self

    @model_validator(mode="after")
    def _hidden_layer(self) -> HeadConfig:
        if {"mlp": self.hidden is None, "linear": self.hidden is not None}.get(self.kind, False):
            raise ValueError("a head of kind mlp needs hidden, one of kind linear takes none")
        return self
