"""Two processes on one machine: the same run, every frame evaluated once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lidistill.cli import main
from lidistill.training.run import Run

OPTIONS = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "2"]
OPTIONS += ["--set", "student.cell=2", "--set", "batch_size=2", "--set", "points=500", "--set", "workers=0"]


def test_two_processes_probe_and_evaluate_as_one(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=8)
    (rig / "splits.yaml").write_text(
        "train: ['000000', '000001', '000002', '000003']\nval: ['000004', '000005', '000006']\n"
    )
    arguments = ["probe", "--data", str(rig), "--out", str(tmp_path / "two"), *OPTIONS, "--set", "devices=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lidistill", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mIoU") == 1
    assert (tmp_path / "two/log.txt").read_text().count("student waffleiron-1-8") == 1
    assert done.stderr.count("student waffleiron-1-8") == 1
    assert main(["evaluate", str(tmp_path / "two"), "--data", str(rig)]) == 0
    shared, alone = (
        json.loads(path.read_text())
        for path in (tmp_path / "two" / "card.json", next((tmp_path / "two" / "evaluations").iterdir()))
    )
    assert shared["metrics"] == alone["metrics"]
    assert shared["data"] == alone["data"]
    assert shared["data"]["frames"] == 3
    # every process saw its half of each batch: the first line is about iteration 1 of 4
    steps = [json.loads(line)["step"] for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert steps[:3] == [1, 2, 4]


SCRIPT = """
import os, sys, time
from pathlib import Path
import lidistill
from lidistill.apps import segment

def slow(path, write=segment.write_report):
    time.sleep(2)
    return write(path)

segment.write_report = slow
small = ["student.cell=2", "batch_size=2", "points=500", "workers=0", "devices=2"]
named = dict(recipe="city-probe", student="waffleiron-1-8", epochs=1, set=small)
run = lidistill.probe(data=sys.argv[1], out=sys.argv[2], **named)
Path(f"{run}-{os.getpid()}.txt").write_text(str((run / "report.html").is_file()))
"""


def test_a_script_finds_the_folder_complete_in_both_processes(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig, script = tiny_rig(tmp_path / "rig", frames=2, splits=False), tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(rig), str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert [file.read_text() for file in tmp_path.glob("two-*.txt")] == ["True", "True"], done.stderr


def test_what_goes_wrong_in_one_process_ends_all(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=3)
    (tmp_path / "file").touch()
    arguments = ["probe", "--data", str(rig), "--out", str(tmp_path / "file"), *OPTIONS, "--set", "devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "lidistill", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert "is a file" in done.stderr


def test_a_process_without_a_usable_frame_does_not_stop_the_other(
    tmp_path: Path, tiny_rig: Callable[..., Path]
) -> None:
    """One frame of four can be used: of every batch one process has nothing, from the first on."""
    rig = tiny_rig(tmp_path / "rig", frames=4, splits=False)
    for number in (0, 1, 3):
        (rig / "scans" / f"{number:06d}.bin").write_bytes(b"nothing")
    arguments = ["probe", "--data", str(rig), "--out", str(tmp_path / "two"), *OPTIONS]
    arguments += ["--set", "devices=2", "--set", "bad_frames=0.9"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lidistill", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "model.safetensors").is_file()


def test_a_signal_to_one_process_stops_both_after_the_same_iteration(
    tmp_path: Path, tiny_rig: Callable[..., Path]
) -> None:
    rig, out = tiny_rig(tmp_path / "rig", frames=4, splits=False), tmp_path / "two"
    arguments = ["probe", "--data", str(rig), "--out", str(out), *OPTIONS, "--set", "devices=2"]
    command = [sys.executable, "-m", "lidistill", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--epochs", "2000"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not ((out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").read_text().count("\n") > 1):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the run has not got anywhere"
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)  # the pipe closes when the last process has ended
    assert process.returncode == 128 + signal.SIGTERM, said
    steps = re.findall(r"stopped by SIGTERM after iteration (\d+)", said)
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    assert set(steps) == {str(saved["step"])}
    assert 0 < saved["step"] < 4000


def test_too_many_unusable_frames_of_one_process_end_both(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    """Each of four batches has one bad frame: the processes meet the second of them in different iterations."""
    rig = tiny_rig(tmp_path / "rig", frames=8, splits=False)
    for number in range(0, 8, 2):
        (rig / "scans" / f"{number:06d}.bin").write_bytes(b"nothing")
    arguments = ["probe", "--data", str(rig), "--out", str(tmp_path / "two"), *OPTIONS]
    arguments += ["--set", "devices=2", "--set", "bad_frames=0.01"]
    done = subprocess.run(
        [sys.executable, "-m", "lidistill", *arguments], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 1, done.stderr
    assert "of 8 frames are unusable" in done.stderr


def test_two_processes_adapt_as_one(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    """A head, rounds and cards: each once, said once, and the first round's network the one that is there."""
    here, there = (tiny_rig(tmp_path / name, frames=4, seed=seed) for seed, name in enumerate(("here", "there")))
    small = ["--set", "points=500", "--set", "batch_size=2", "--set", "workers=0", "--set", "voxel=0.05"]
    tiny = ["--recipe", "city-supervised", "--set", "student=waffleiron-1-8", "--epochs", "1"]
    assert main(["finetune", "--data", str(here), "--out", str(tmp_path / "head"), *tiny, *small]) == 0
    arguments = ["adapt", str(tmp_path / "head"), "--source", str(here), "--target", str(there), *small]
    arguments += ["--out", str(tmp_path / "two"), "--recipe", "city-muddos", "--epochs", "4"]
    arguments += ["--set", "rounds=2", "--set", "devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "lidistill", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("rounds are compared by") == done.stderr.count("round 1: judged") == 1
    rows = [json.loads(line) for line in (tmp_path / "two/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "target"] == [0, 1, 2]
    assert len(list((tmp_path / "two/rounds/2/pseudo-labels").glob("*.npz"))) == 3
    assert (tmp_path / "two/card.json").is_file()
    made = (tmp_path / name for name in ("head", "two/rounds/1", "two/rounds/2"))
    given, first, second = (Run.open(folder).load_network()[0].head.state_dict() for folder in made)
    for one, other in ((given, first), (first, second)):
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_two_processes_teach_an_image_network(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    """Every picture of val counts once, and one teacher is left behind."""
    rig = tiny_rig(tmp_path / "rig", frames=3, cameras=3, masks=True)
    small = ["--recipe", "city-images", "--epochs", "1", "--set", "width=0.25", "--set", "image_size=[64, 128]"]
    small += ["--set", "crop_size=null", "--set", "workers=0", "--set", "batch_size=4", "--set", "devices=2"]
    arguments = ["teach-images", str(rig), "--out", str(tmp_path / "run"), *small]
    done = subprocess.run([sys.executable, "-m", "lidistill", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mIoU") == 1
    assert json.loads((tmp_path / "run" / "card.json").read_text())["data"]["frames"] == 3
    assert (tmp_path / "run" / "teacher.pt2").is_file()
