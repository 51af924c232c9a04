"""Processes that outlive whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

WORKER = """
import sys, time
from lidistill.processes import end_with
end_with(int(sys.argv[1]), 0.1)
print("up", flush=True)
time.sleep(100)
"""
CALLER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(100)
"""


def test_a_worker_ends_after_its_caller_was_killed() -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER, WORKER], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    worker = int(caller.stdout.readline())
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    deadline = time.monotonic() + 20
    while _runs(worker):
        assert time.monotonic() < deadline, "the worker goes on"
        time.sleep(0.1)


def _runs(process: int) -> bool:
    """Alive and not a zombie that nobody has collected."""
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
