"""What a piece of work needs beyond what its process held before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def peak(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> float:
    """MiB at the peak of ``prepare(*arguments)()`` beyond what was held when it began, in a process of its own.

    What ``prepare`` makes is not counted; it is a function of a module, for the process imports it. One thread.
    """
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (list(sys.path), prepare, arguments))


def _peak(path: list[str], prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> float:
    import torch

    sys.path[:] = path
    torch.set_num_threads(1)
    work = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (Linux)
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024
