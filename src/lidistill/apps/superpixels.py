"""``lidistill superpixels``: cut the pictures of a data set into pieces, once, and show some of them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from lidistill.apps.superpixels_page import write_page
from lidistill.datasets.source import Source, open_source, take_split
from lidistill.errors import InputError
from lidistill.segmenters.make import Made, make_superpixels, take_share
from lidistill.segmenters.methods import Argmax, Sam, Slic, open_segmenter, parse_method
from lidistill.segmenters.store import create_superpixels

log = logging.getLogger("lidistill")

TOLD = 20
"""Faults that are printed; the page lists all."""


def superpixels(
    source: str,
    *,
    method: str = "slic",
    model: str | None = None,
    set: Sequence[str] = (),
    split: str | None = None,
    out: Path | None = None,
    shard: str | None = None,
    workers: int | None = None,
) -> Path:
    """Make the superpixels of ``source``; see ``lidistill.verbs.superpixels``."""
    if workers is not None and workers < 1:
        raise InputError(f"workers = {workers}: expected at least 1 process; leave it out for the default")
    asked = parse_method({"name": method, **({} if model is None else {"model": model}), **_parameters(set)})
    opened = open_source(source)
    chosen: Source = opened if split is None else take_split(opened, split)
    frames = list(range(len(chosen))) if shard is None else take_share(range(len(chosen)), shard)
    segmenter = open_segmenter(asked)
    store = create_superpixels(opened, asked, segmenter, None if out is None else Path(out))
    (folder,) = store.folders
    count = _processes(asked) if workers is None else workers
    made = _run(make_superpixels(chosen, asked, segmenter, folder, frames, count), len(frames), opened.name)
    faults = [fault for frame in made for fault in frame.faults]
    if not any(frame.made or frame.kept for frame in made) and frames:
        raise InputError(
            f"{source}: no picture to cut into superpixels; " + (faults[0] if faults else "its frames have no cameras")
        )
    page = write_page(store, chosen, made)
    _tell(made, faults, folder, page)
    return folder


def _parameters(pairs: Sequence[str]) -> Mapping[str, Any]:
    """``key=value`` pairs; values are YAML."""
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key or key == "name":
            raise InputError(f"--set {pair!r}: expected a parameter of the method, for example --set n_segments=100")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {pair!r}: {text!r} is not a YAML value") from None
    return found


def _processes(method: Slic | Sam | Argmax) -> int:
    """One per core, at most 8, for what runs on one core; a network uses the whole machine by itself."""
    if not isinstance(method, Slic):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def _run(results: Any, total: int, name: str) -> list[Made]:
    made: list[Made] = []
    with tqdm(total=total, desc=f"superpixels {name}", unit="frame") as bar:
        for frame in results:
            if frame.faults and not any(earlier.faults for earlier in made):
                bar.write(f"skipped: {frame.faults[0]} (others like it are listed at the end)", file=sys.stderr)
            made.append(frame)
            bar.update()
    return made


def _tell(made: Sequence[Made], faults: Sequence[str], folder: Path, page: Path) -> None:
    new, old = (sum(len(getattr(frame, which)) for frame in made) for which in ("made", "kept"))
    log.info("%d pictures cut now, %d there before, %d skipped", new, old, len(faults))
    for fault in faults[:TOLD]:
        log.warning("  skipped: %s", fault)
    if len(faults) > TOLD:
        log.warning("  and %d more, see the page", len(faults) - TOLD)
    log.info("page: %s\nfolder:", page)
