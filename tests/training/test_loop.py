"""What the training loop says when a loader process dies."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lidistill.errors import RunError
from lidistill.training.loop import Skipped, dead_workers
from lidistill.training.samples import Skip

KILLED = """
import os, signal
from torch.utils.data import DataLoader, Dataset
from lidistill.errors import RunError
from lidistill.training.loop import Skipped, dead_workers
from lidistill.training.samples import Skip

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


def test_a_console_that_nobody_reads_is_no_dead_loader() -> None:
    with pytest.raises(BrokenPipeError), dead_workers():
        raise BrokenPipeError


def test_a_fault_of_the_program_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), dead_workers():
        _ = 1 / 0
    with pytest.raises(RuntimeError, match="a fault") as caught, dead_workers():
        raise RuntimeError("a fault of the program")
    assert not isinstance(caught.value, RunError)


def test_a_data_set_of_a_mixture_that_gives_nothing_stops_the_run() -> None:
    """However small it is: 3 frames of 10 000 are less than 1 %, but nobody names a data set for nothing."""
    skipped = Skipped({"large": 10_000, "small": 3}, 0.01)
    skipped.add([Skip("small[0]", "no camera image"), Skip("small[2]", "damaged"), Skip("large[1]", "damaged")])
    skipped.add([Skip("small[0]", "no camera image")])
    with pytest.raises(RunError, match=r"no frame of small is usable \(3 of 3\); .*; the last: too dark"):
        skipped.add([Skip("small[1]", "too dark"), Skip("large[2]", "damaged")])


def test_one_bad_frame_of_several_is_forgiven() -> None:
    skipped = Skipped({"rig": 5}, 0.01)
    skipped.add([Skip("rig[0]", "damaged"), Skip("rig[0]", "damaged")])
    with pytest.raises(RunError, match=r"2 of 5 frames are unusable, more than bad_frames = 1% allows"):
        skipped.add([Skip("rig[1]", "damaged")])
    with pytest.raises(RunError, match="1 of 1 frames are unusable"):
        Skipped({"rig": 1}, 0.01).add([Skip("rig[0]", "damaged")])
