"""Making superpixels: frame by frame, in several processes, over what is there already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.processes import end_with, nameless_main
from lidistill.segmenters.methods import Argmax, Sam, Segmenter, Slic, open_segmenter
from lidistill.segmenters.store import picture_path, write_ids


@dataclass(frozen=True)
class Made:
    """One frame: the cameras whose superpixels were made now, those that had some before, and what went wrong."""

    index: int
    token: str = ""
    made: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def take_share(frames: Sequence[int], shard: str) -> list[int]:
    """Of ``frames`` the share ``"0/4"``: every fourth, from the first; the shares together are all.

    Strided and not in one piece, so that every rank gets the same mixture of short and long drives.
    """
    which, slash, count = shard.partition("/")
    if not (slash and which.isdecimal() and count.isdecimal() and int(which) < int(count)):
        raise InputError(f"shard {shard!r}: expected I/N such as 0/4, the first of four shares (the last is 3/4)")
    return list(frames[int(which) :: int(count)])


def make_superpixels(
    source: Source,
    method: Slic | Sam | Argmax,
    segmenter: Segmenter,
    folder: Path,
    frames: Sequence[int],
    workers: int = 1,
) -> Iterator[Made]:
    """Make what is missing in ``folder`` for ``frames`` (numbers in ``source``), in that order.

    A frame or a picture that cannot be read is a sentence in ``faults``; its other pictures are made all the same.
    """
    workers = min(workers, len(frames))
    if workers <= 1:
        yield from (_make(source, segmenter, folder, index) for index in frames)
        return
    # forkserver: the calling process may have threads, which do not survive a fork
    with ProcessPoolExecutor(
        workers, get_context("forkserver"), _receive, (source, method, folder, os.getpid())
    ) as pool:
        with nameless_main():
            results = pool.map(_work, frames, chunksize=1)
        yield from results


_job: tuple[Source, Segmenter, Path] | None = None


def _receive(source: Source, method: Slic | Sam | Argmax, folder: Path, caller: int) -> None:
    global _job
    end_with(caller)
    _job = source, open_segmenter(method), folder


def _work(index: int) -> Made:
    assert _job is not None
    source, segmenter, folder = _job
    return _make(source, segmenter, folder, index)


def _make(source: Source, segmenter: Segmenter, folder: Path, index: int) -> Made:
    try:
        frame = source[index]
    except InputError as error:
        return Made(index, faults=(str(error),))
    made, kept, faults = [], [], []
    for view in frame.views:
        path = picture_path(folder, frame.token, view.name)
        if path.is_file():
            kept.append(view.name)
            continue
        try:
            image = view.image()
        except InputError as error:
            faults.append(f"{frame.token}: {error}")
            continue
        write_ids(path, segmenter(image))
        made.append(view.name)
    return Made(index, frame.token, tuple(made), tuple(kept), tuple(faults))
