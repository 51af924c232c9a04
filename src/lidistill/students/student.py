"""``Student``: a lidar network that gives every point a feature."""

from __future__ import annotations

from torch import Tensor, nn

from lidistill.students.batch import PointBatch, Tokenizer
from lidistill.students.config import StudentConfig


class Student(nn.Module):
    """Base of every student; a new one sets ``config`` and ``tokenizer`` and implements ``forward``.

    Name its parts ``embedding`` and ``layers`` (a ``ModuleList`` of ``config.depth``), so that layer-wise learning
    rates find them.
    """

    config: StudentConfig
    tokenizer: Tokenizer

    @property
    def width(self) -> int:
        """Number of features of a point."""
        return self.config.width

    def forward(self, batch: PointBatch) -> Tensor:
        """Features (M, width) of the M packed points, in their order."""
        raise NotImplementedError
