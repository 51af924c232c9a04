"""A run that is killed or stopped goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from programs import tiny_program

OPTIONS = [
    "--recipe", "city", "--student", "waffleiron-2-16", "--epochs", "6",
    "--set", "batch_size=2", "--set", "points=500", "--set", "head_hidden=16", "--set", "teacher.image_size=[48, 96]",
    "--set", "student.drop_path=0.3", "--set", "workers=1", "--set", "min_pairs=8",
]  # fmt: skip


def command(rig: Path, teacher: Path, out: Path, *extra: str) -> list[str]:
    name = [sys.executable, "-m", "lidistill", "pretrain", str(rig), "--teacher", str(teacher), "--out", str(out)]
    return [*name, *OPTIONS, *extra]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def lines(out: Path) -> int:
    file = out / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def stop_in_the_middle(arguments: list[str], out: Path, number: int) -> subprocess.Popen[bytes]:
    """Start the run and send the signal once it has a checkpoint and has gone on from it."""
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not ((out / "checkpoint.pt").is_file() or (number == signal.SIGTERM and lines(out) >= 1)):
        assert process.poll() is None, (process.stderr.read() if process.stderr else b"").decode()
        assert time.monotonic() < deadline, "the run has not got anywhere"
        time.sleep(0.01)
    process.send_signal(number)
    return process


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> tuple[Path, Path, Path]:
    """A rig, a teacher, and the run that is never interrupted."""
    folder = tmp_path_factory.mktemp("world")
    rig, teacher = tiny_rig(folder / "rig", frames=9, cameras=2), tiny_program(folder)
    whole = folder / "whole"
    subprocess.run(command(rig, teacher, whole), env=environment(), check=True, capture_output=True)
    return rig, teacher, whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_ends_with_the_same_numbers(
    number: signal.Signals, world: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    rig, teacher, whole = world
    out = tmp_path / "stopped"
    # 4 iterations an epoch: a checkpoint every 3 lies in mid-epoch
    arguments = command(rig, teacher, out, "--set", "checkpoint_iterations=3")
    process = stop_in_the_middle(arguments, out, number)
    _, said = process.communicate()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert b"go on with --resume" in said
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    checkpoint = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 0 < checkpoint["step"] < 24
    subprocess.run([*arguments, "--resume"], env=environment(), check=True, capture_output=True)
    expected, found = (load_file(run / "model.safetensors") for run in (whole, out))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    steps = [row.split('"step": ')[1].split(",")[0] for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [
        row.split('"step": ')[1].split(",")[0] for row in (whole / "metrics.jsonl").read_text().splitlines()
    ]
