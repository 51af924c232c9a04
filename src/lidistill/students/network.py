"""``Network``: a student and a head; what is trained, saved and run."""

from __future__ import annotations

from torch import Tensor, nn

from lidistill.students.batch import PointBatch, Tokenizer
from lidistill.students.calibration import CalibratedTokenizer, Calibration
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.heads import build_head
from lidistill.students.registry import build_student


class Network(nn.Module):
    """``backbone`` (a ``Student``), ``calibration`` of its features if the head asks for it, and ``head``."""

    def __init__(self, config: StudentConfig, head: HeadConfig) -> None:
        super().__init__()
        self.backbone = build_student(config)
        wanted = head.calibration
        self.calibration = None if wanted is None else Calibration(self.backbone.width, wanted.layers)
        self.head = build_head(self.backbone.width, head)
        self.head_config = head

    @property
    def tokenizer(self) -> Tokenizer:
        """What prepares clouds for all parts."""
        wanted, student = self.head_config.calibration, self.backbone
        if wanted is None:
            return student.tokenizer
        return CalibratedTokenizer(student.tokenizer, wanted.voxel, student.config.fov)

    def forward(self, batch: PointBatch) -> Tensor:
        """Outputs (M, head.outputs) of the M packed points, in their order."""
        return self.read(self.backbone(batch), batch)

    def read(self, features: Tensor, batch: PointBatch) -> Tensor:
        """Outputs (M, head.outputs) from the backbone's ``features`` (M, F) of the points of ``batch``."""
        if self.calibration is not None:
            features = self.calibration(features, batch)
        outputs: Tensor = self.head(features)
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
