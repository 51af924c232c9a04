"""``Parts``: a long evaluation in parts, each kept when it is finished."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

from lidistill.errors import InputError
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import Evaluation
from lidistill.sensing.files.atomic import write_atomically
from lidistill.training.samples import Skip

log = logging.getLogger("lidistill")


class Parts:
    """Finished parts in the file ``path``, by name; those of another ``key`` (other weights, other data) are dropped.

    In a distributed run one process reads and writes the file, and all know what is in it.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.found: dict[str, Evaluation] = {}
        self.seconds, self.scans = 0.0, 0
        """What this process spent on the parts that were not there, and how many scans they had."""
        if not distributed.is_initialized():
            self.found = _read(path, key)
            return
        shared = [_read(path, key) if distributed.get_rank() == 0 else {}]
        distributed.broadcast_object_list(shared)
        self.found = shared[0]

    def take(self, name: str, make: Callable[[], Evaluation]) -> Evaluation:
        """The part called ``name``: as kept, or made now and kept."""
        if name not in self.found:
            made = make()
            self.seconds, self.scans = self.seconds + made.seconds, self.scans + len(made.tokens)
            self.found[name] = made
            self._write()
        return self.found[name]

    def _write(self) -> None:
        if distributed.is_initialized() and distributed.get_rank() > 0:
            return
        text = json.dumps({"key": self.key, "parts": {name: _record(part) for name, part in self.found.items()}})
        write_atomically(self.path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def _record(part: Evaluation) -> dict[str, Any]:
    skipped = [[skip.token, skip.reason] for skip in part.skipped]
    return {"confusion": part.confusion.to_dict(), "tokens": list(part.tokens), "skipped": skipped}


def _read(path: Path, key: str) -> dict[str, Evaluation]:
    """What is kept; nothing (and a warning) when the file is damaged."""
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] != key:
            log.info("%s: is of other weights, data or corruptions; evaluating anew", path)
            return {}
        return {
            name: Evaluation(
                Confusion.from_dict(part["confusion"]),
                tuple(part["tokens"]),
                tuple(Skip(token, reason) for token, reason in part["skipped"]),
            )
            for name, part in kept["parts"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        log.warning("%s: cannot be read (%s); evaluating anew", path, error)
        return {}
