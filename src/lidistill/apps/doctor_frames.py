"""What the doctor looks at in one frame; frames are examined in parallel."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.processes import nameless_main
from lidistill.sensing.examine.edges import PictureEdges, ScanEdges, picture_edges, scan_edges
from lidistill.sensing.examine.scan import ScanFigures, scan_figures
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.pairing import pair
from lidistill.taxonomy import Taxonomy

PAIRED = 2
"""Cameras whose pictures are also compared with the scans before and after."""
FEW = 12
"""So few frames are examined without starting processes."""


@dataclass(frozen=True, eq=False)
class ViewFigures:
    """``seen`` share of the scan's points in the picture, ``hidden`` share of those that a nearer surface covers.

    ``offset`` seconds from scan to picture; ``spread`` standard deviation of the picture; None = not measured.
    """

    view: CameraView
    seen: float
    hidden: float | None
    offset: float | None
    spread: float
    edges: PictureEdges | None


@dataclass(frozen=True, eq=False)
class FrameFigures:
    """What one frame gave: ``faults`` are sentences; ``scan`` is None when it could not be read.

    ``lost``: those of the faults that concern the picture of one camera, by its name.
    ``labels`` counts train ids, ``raw`` raw ids (where the source tells them).
    """

    index: int
    token: str = ""
    faults: tuple[str, ...] = ()
    scan: ScanFigures | None = None
    views: Mapping[str, ViewFigures] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    edges: ScanEdges | None = None
    labels: NDArray[np.int64] | None = None
    raw: Mapping[int, int] = field(default_factory=dict)
    timestamp: float | None = None


@dataclass(frozen=True)
class Job:
    """``tested``: its scan's edges serve the test of the calibration; ``beside``: only pictures of a tested one."""

    index: int
    tested: bool
    beside: bool


@dataclass(frozen=True, eq=False)
class Counting(Taxonomy):
    """A class list that remembers which raw ids it was asked for."""

    seen: list[NDArray[Any]] = field(default_factory=list)

    def apply(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """As of any class list."""
        self.seen.append(np.asarray(raw))
        return super().apply(raw)


def examine_frames(source: Source, jobs: Sequence[Job], workers: int | None) -> Iterator[FrameFigures]:
    """Examine the frames of ``jobs``, in that order; ``workers`` processes, None = the machine's cores, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(workers or min(cores, 8), len(jobs))
    if count <= 1 or (workers is None and len(jobs) <= FEW):
        yield from (examine_frame(source, job) for job in jobs)
        return
    # forkserver: the calling process may have threads, which do not survive a fork
    with ProcessPoolExecutor(count, get_context("forkserver"), _receive, (source,)) as pool:
        with nameless_main():
            results = pool.map(_examine, jobs, chunksize=1)
        yield from results


_source: Source | None = None


def _receive(source: Source) -> None:
    global _source
    _source = source


def _examine(job: Job) -> FrameFigures:
    assert _source is not None
    return examine_frame(_source, job)


def examine_frame(source: Source, job: Job) -> FrameFigures:
    """Open everything of one frame; what cannot be opened becomes a sentence in ``faults``."""
    source, counting = _counting(source)
    try:
        frame = source[job.index]
    except InputError as error:
        return FrameFigures(job.index, faults=(str(error),))
    except Exception as error:  # a reader's own fault must not hide those of other frames
        return FrameFigures(job.index, faults=(f"frame {job.index}: {type(error).__name__}: {error}",))
    edges = (
        scan_edges(frame.points, frame.ring, frame.intensity) if frame.views and (job.tested or job.beside) else None
    )
    views, lost = {}, {}
    for number, view in enumerate(frame.views):
        try:
            image = view.image()
        except InputError as error:
            lost[view.name] = f"{frame.token}: {error}"
            continue
        wanted = job.tested or (job.beside and number < PAIRED)
        views[view.name] = _view_figures(frame, view, image, job.tested, edges if wanted else None)
    labels = None if frame.labels is None else np.bincount(frame.labels, minlength=256)
    return FrameFigures(
        job.index,
        frame.token,
        tuple(lost.values()),
        scan_figures(frame),
        views,
        lost,
        edges if job.tested else None,
        labels,
        _raw_ids(counting),
        frame.timestamp,
    )


def _view_figures(
    frame: Frame, view: CameraView, image: NDArray[np.uint8], tested: bool, edges: ScanEdges | None
) -> ViewFigures:
    pairs = pair(frame, view, occlusion=False)
    hidden = None
    if tested and len(pairs):
        hidden = 1 - len(pair(frame, view)) / len(pairs)
    known = view.timestamp is not None and frame.timestamp is not None
    return ViewFigures(
        dataclasses.replace(view, load=_gone),
        len(pairs) / max(len(frame), 1),
        hidden,
        float(view.timestamp) - float(frame.timestamp) if known else None,  # type: ignore[arg-type]
        float(image[::4, ::4].std()),
        picture_edges(image, float(view.intrinsics[0, 0]), edges.steps) if edges is not None else None,
    )


def _gone() -> NDArray[np.uint8]:
    raise RuntimeError("the picture stayed in the process that examined it")


def _counting(source: Source) -> tuple[Source, Counting | None]:
    """The source with a class list that remembers raw ids, where its reader keeps one of its own."""
    taxonomy = getattr(source, "taxonomy", None)
    fields: set[str] = {f.name for f in dataclasses.fields(source)} if dataclasses.is_dataclass(source) else set()
    if taxonomy is None or "taxonomy" not in fields:
        return source, None
    known = {f.name: getattr(taxonomy, f.name) for f in dataclasses.fields(Taxonomy)}
    counting = Counting(**known)
    return dataclasses.replace(source, taxonomy=counting), counting  # type: ignore[type-var]


def _raw_ids(counting: Counting | None) -> dict[int, int]:
    if counting is None or not counting.seen:
        return {}
    ids, counts = np.unique(np.concatenate([raw.ravel() for raw in counting.seen]), return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))
