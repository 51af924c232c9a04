"""The eight corruptions of Robo3D (Kong et al., ICCV 2023) in three severities, from their physics: Frame -> Frame.

One module each. What is as in the released data and what deliberately is not: docs/reference/corruptions.md.
"""

from lidistill.transforms.corruptions.corrupted import Corrupted
from lidistill.transforms.corruptions.registry import NAMES, SEVERITIES, corrupt

__all__ = ["NAMES", "SEVERITIES", "Corrupted", "corrupt"]
