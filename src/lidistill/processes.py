"""What every room that starts processes has to mind."""

from __future__ import annotations

import sys
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
