"""A run's ``log.txt``: what the console says, with the time; of several processes the first speaks, all may warn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lidistill.evaluation.inference import first
from lidistill.training.run_folder import RunFolder

log = logging.getLogger("lidistill")


@contextmanager
def logged(run: RunFolder[Any]) -> Iterator[None]:
    """While inside, everything that lidistill logs also goes to the run's ``log.txt`` (appended)."""
    handler = logging.FileHandler(run.path / "log.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO if first() else logging.WARNING)
    try:
        yield
    except BaseException as error:
        # the console hears of it once, from whoever catches it
        handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, "%s: %s", (type(error).__name__, error), None))
        raise
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()
