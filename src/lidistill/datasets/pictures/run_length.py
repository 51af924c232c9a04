"""Run-length masks of the COCO tools: column by column, runs of 0 and 1 in turn, the first of 0 (maybe empty).

The compressed text spends six bits a character (codes 48 to 111): five of a number, lowest first, and one that says
whether the number goes on; the highest of the last five is its sign. From the fourth run on, a number is the difference
from the run before the last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOWEST = 48
GOES_ON = 0x20
BITS = 5
LONGEST = 12
"""Characters of one number; 60 bits are more than any picture has pixels."""


def decode_runs(text: bytes) -> NDArray[np.int64]:
    """(R,) lengths of the runs in a compressed text. Raises ``ValueError`` when it is none."""
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - LOWEST
    wrong = (codes < 0) | (codes >= 64)
    if wrong.any():
        raise ValueError(f"character {int(wrong.argmax()) + 1} is {text[int(wrong.argmax())]}, expected 48 to 111")
    last = np.flatnonzero(codes < GOES_ON)
    if not len(codes) or last[-1:].tolist() != [len(codes) - 1]:
        raise ValueError("it ends within a number")
    first = np.append(0, last[:-1] + 1)
    sizes = last - first + 1
    if sizes.max() > LONGEST:
        raise ValueError(f"a number has {sizes.max()} characters, expected at most {LONGEST}")
    shifts = BITS * (np.arange(len(codes)) - np.repeat(first, sizes))
    numbers = np.add.reduceat((codes & 31) << shifts, first)
    numbers -= np.where(codes[last] & 16, np.int64(1) << (BITS * sizes), 0)
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    if runs.min() < 0:
        raise ValueError(f"run {int(runs.argmin()) + 1} has the length {runs.min()}")
    return runs


def pixels_of(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """Row-major places (P,) of the pixels in a mask of that size. Raises ``ValueError`` for a mask of another size."""
    if runs.sum() != height * width:
        raise ValueError(f"the runs cover {runs.sum()} pixels, expected {height} x {width} = {height * width}")
    start, length = (np.cumsum(runs) - runs)[1::2], runs[1::2]
    by_column = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
    column, row = np.divmod(by_column, height)
    return row * width + column
