"""What every room that starts processes has to mind."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def nameless_main() -> Iterator[None]:
    """Processes started here do not run the caller's script again: a plain one would call the verb in each of them.

    A reader that the script itself defines could not be sent to them then, but sources come from installed packages.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def end_with(caller: int, every: float = 2.0) -> None:
    """In a worker process: end soon after process number ``caller`` is gone, which may have had no time to say so."""

    def watch() -> None:
        while _alive(caller):
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
