"""What the training loop says when a loader process dies."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lidistill.errors import RunError
from lidistill.training.loop import dead_workers

KILLED = """
import os, signal
from torch.utils.data import DataLoader, Dataset
from lidistill.errors import RunError
from lidistill.training.loop import dead_workers

class Deadly(Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

try:
    with dead_workers():
        list(DataLoader(Deadly(), batch_size=1, num_workers=1))
except RunError as error:
    print(error, flush=True)
    os._exit(0)
"""


def test_a_killed_loader_process_is_one_sentence() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=100)
    assert "killed from outside" in done.stdout, done.stderr
    assert "--resume" in done.stdout


def test_a_fault_of_the_program_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), dead_workers():
        _ = 1 / 0
    with pytest.raises(RuntimeError, match="a fault") as caught, dead_workers():
        raise RuntimeError("a fault of the program")
    assert not isinstance(caught.value, RunError)
