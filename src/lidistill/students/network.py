"""``Network``: a student and a head; what is trained, saved and run."""

from __future__ import annotations

from torch import Tensor, nn

from lidistill.students.batch import PointBatch
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.heads import build_head
from lidistill.students.registry import build_student


class Network(nn.Module):
    """``backbone`` (a ``Student``) followed by ``head``."""

    def __init__(self, config: StudentConfig, head: HeadConfig) -> None:
        super().__init__()
        self.backbone = build_student(config)
        self.head = build_head(self.backbone.width, head)
        self.head_config = head

    def forward(self, batch: PointBatch) -> Tensor:
        """Outputs (M, head.outputs) of the M packed points, in their order."""
        outputs: Tensor = self.head(self.backbone(batch))
        return outputs
