"""``Network``: a student and a head; what is trained, saved and run."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from lidistill.students.batch import PointBatch, Tokenizer
from lidistill.students.calibration import CalibratedTokenizer, Calibration
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.heads import TwoViews, build_head
from lidistill.students.registry import build_student


class Network(nn.Module):
    """``backbone`` (a ``Student``) and ``head``; between them, if the head asks for it, ``calibration`` of the features
    and ``space``, the head by which the student was distilled: what it says there as a unit vector is what is read.
    """

    def __init__(self, config: StudentConfig, head: HeadConfig) -> None:
        super().__init__()
        self.backbone = build_student(config)
        width, below = self.backbone.width, head.reads
        self.calibrated = (below or head).calibration
        self.calibration = None if self.calibrated is None else Calibration(width, self.calibrated.layers)
        self.space = None if below is None else build_head(width, below)
        self.head: nn.Module
        if below is None:
            self.head = build_head(width, head)
        elif head.both:
            self.head = TwoViews(width, below.outputs, head)
        else:
            self.head = build_head(below.outputs, head)
        self.head_config = head

    @property
    def tokenizer(self) -> Tokenizer:
        """What prepares clouds for all parts."""
        student = self.backbone
        if self.calibrated is None:
            return student.tokenizer
        return CalibratedTokenizer(student.tokenizer, self.calibrated.voxel, student.config.fov)

    @property
    def distilled(self) -> dict[str, nn.Module]:
        """All parts below the head, by name: what distillation has made, and what stays as it is where it is frozen."""
        parts = {"backbone": self.backbone, "calibration": self.calibration, "space": self.space}
        return {name: part for name, part in parts.items() if part is not None}

    def freeze(self) -> None:
        """Nothing below the head learns or gathers statistics from now on."""
        for part in self.distilled.values():
            part.eval().requires_grad_(False)

    def forward(self, batch: PointBatch) -> Tensor:
        """Outputs (M, head.outputs) of the M packed points, in their order."""
        return self.read(self.backbone(batch), batch)

    def read(self, features: Tensor, batch: PointBatch) -> Tensor:
        """Outputs (M, head.outputs) from the backbone's ``features`` (M, F) of the points of ``batch``."""
        calibrated = features if self.calibration is None else self.calibration(features, batch)
        read = [calibrated]
        if self.space is not None:
            said = functional.normalize(self.space(calibrated).float(), dim=1)
            read = [features, said] if self.head_config.both else [said]
        outputs: Tensor = self.head(*read)
        return outputs


def classified(network: Network, weight: Tensor, bias: Tensor) -> Network:
    """A new network that says classes where ``network`` says features: scores ``weight`` f + ``bias`` of its outputs f.

    ``weight`` (C, D) and ``bias`` (C,), on the CPU, for D outputs. Two linear layers are one, so a classifier that an
    image network or a text encoder brings costs nothing: it becomes part of the last layer. In evaluation mode.
    """
    config = network.head_config.model_copy(update={"outputs": len(weight)})
    found = Network(network.backbone.config, config)
    state = {name: t.detach().cpu() for name, t in network.state_dict().items()}
    before, shift = (state[f"head.output.{name}"].double() for name in ("weight", "bias"))
    state["head.output.weight"] = (weight.double() @ before).float()
    state["head.output.bias"] = (weight.double() @ shift + bias.double()).float()
    found.load_state_dict(state)
    return found.eval()
