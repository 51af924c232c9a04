"""Options of a data set that take one of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lidistill.errors import InputError, nearest


def checked_spec(name: str, path: Path, **options: tuple[str, Sequence[str]]) -> str:
    """The spec that opens ``path`` in the same way: ``name:path?option=value``, options at their default left out.

    ``options``: the given value and those there are, the default first. Raises ``InputError`` for another value.
    """
    for option, (value, known) in options.items():
        if value not in known:
            raise InputError(f"{name}:{path}: there is no {option} {value!r}{nearest(value, known)}")
    query = "&".join(f"{option}={value}" for option, (value, known) in options.items() if value != known[0])
    return f"{name}:{path}" + f"?{query}" * bool(query)
