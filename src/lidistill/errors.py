"""What goes wrong, said in one sentence: file, what was expected, what was found, what to try."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LidistillError(Exception):
    """Base of every error that is meant for the user; ``exit_code`` is what the command returns."""

    exit_code = 1


class InputError(LidistillError):
    """A file, recipe, argument or data set is not what it should be (exit code 2)."""

    exit_code = 2


class RunError(LidistillError):
    """A run that had good input failed while running (exit code 1)."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``choices``, or all of them when none is near."""
    known = sorted(choices)
    match = closest(word, known)
    return f"; did you mean {match!r}?" if match else f"; known: {', '.join(known)}"


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The one of ``choices`` that ``word`` was probably meant to be."""
    match = get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return match[0] if match else None
