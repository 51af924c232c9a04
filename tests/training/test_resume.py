"""A run that is killed or stopped goes on as if nothing had happened: here one on a mixture of two data sets."""

from __future__ import annotations

import json
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
    "--set", "student.drop_path=0.3", "--set", "workers=1", "--set", "min_pairs=8", "--set", "mixture=equal",
]  # fmt: skip


Rigs = tuple[Path, Path]


def command(rigs: Rigs, teacher: Path, out: Path, *extra: str) -> list[str]:
    sources = [str(rig) for rig in rigs]
    name = [sys.executable, "-m", "lidistill", "pretrain", *sources, "--teacher", str(teacher), "--out", str(out)]
    return [*name, *OPTIONS, *extra]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def lines(out: Path) -> int:
    file = out / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def stop_in_the_middle(arguments: list[str], out: Path, number: int) -> subprocess.Popen[bytes]:
    """Start the run and send the signal once it has a checkpoint and has gone on from it.

    All its processes get the signal, as from ``timeout`` and from the keys of a terminal.
    """
    process = subprocess.Popen(
        arguments, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not ((out / "checkpoint.pt").is_file() or (number == signal.SIGTERM and lines(out) >= 1)):
        assert process.poll() is None, (process.stderr.read() if process.stderr else b"").decode()
        assert time.monotonic() < deadline, "the run has not got anywhere"
        time.sleep(0.01)
    os.killpg(process.pid, number)
    return process


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> tuple[Rigs, Path, Path]:
    """Two rigs, a teacher, and the run that is never interrupted."""
    folder = tmp_path_factory.mktemp("world")
    rigs = tiny_rig(folder / "large", frames=9, cameras=2), tiny_rig(folder / "small", frames=5, cameras=1, seed=1)
    teacher, whole = tiny_program(folder), folder / "whole"
    subprocess.run(command(rigs, teacher, whole), env=environment(), check=True, capture_output=True)
    return rigs, teacher, whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_ends_with_the_same_numbers(
    number: signal.Signals, world: tuple[Rigs, Path, Path], tmp_path: Path
) -> None:
    rigs, teacher, whole = world
    out = tmp_path / "stopped"
    # 6 iterations an epoch, 6 epochs: a checkpoint every 4 lies in mid-epoch
    arguments = command(rigs, teacher, out, "--set", "checkpoint_iterations=4")
    process = stop_in_the_middle(arguments, out, number)
    _, said = process.communicate()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert said.count(b"give the same command and --resume") == 1
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    checkpoint = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 0 < checkpoint["step"] < 36
    subprocess.run([*arguments, "--resume"], env=environment(), check=True, capture_output=True)
    expected, found = (load_file(run / "model.safetensors") for run in (whole, out))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    expected, found = (
        [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, out)
    )
    for row in (*expected, *found):
        row.pop("samples_per_s", None)  # the only line that a clock writes
    assert expected == found


def test_every_data_set_of_a_mixture_has_a_loss_of_its_own(world: tuple[Rigs, Path, Path]) -> None:
    rows = [json.loads(row) for row in (world[2] / "metrics.jsonl").read_text().splitlines()]
    train = [row for row in rows if row["split"] == "train"]
    for name in ("loss/large", "loss/small"):
        assert any(name in row for row in train)
    both = [row for row in train if "loss/large" in row and "loss/small" in row]
    assert both  # and then the loss of the batch, a mean over its pairs, lies between them
    assert all(min(r["loss/large"], r["loss/small"]) <= r["loss"] + 1e-6 for r in both)
    assert all(max(r["loss/large"], r["loss/small"]) >= r["loss"] - 1e-6 for r in both)
    report = (world[2] / "report.html").read_text()
    assert "loss/large" in report
    assert "loss/small" in report
