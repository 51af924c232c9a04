"""What the training loop says when a loader process dies."""

from __future__ import annotations

import os
import signal

import pytest
from torch.utils.data import DataLoader, Dataset

from lidistill.errors import RunError
from lidistill.training.loop import batches


class Deadly(Dataset[int]):
    """The third sample kills the process that makes it, as the kernel does when memory runs out."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


class Faulty(Deadly):
    """A fault of the program in a loader process."""

    def __getitem__(self, index: int) -> int:
        raise RuntimeError("a fault of the program")


def test_a_killed_loader_process_is_one_sentence() -> None:
    with pytest.raises(RunError, match="killed from outside.*--resume"):
        list(batches(DataLoader(Deadly(), batch_size=1, num_workers=1)))  # type: ignore[arg-type]


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="a fault of the program"):
        list(batches(DataLoader(Faulty(), batch_size=1, num_workers=1)))  # type: ignore[arg-type]
