"""Run-length texts of masks, written one number at a time (independent of the decoder, which takes all at once)."""

from __future__ import annotations

import numpy as np


def encode(runs):
    """The COCO tools' text."""
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            code = value & 31
            value >>= 5
            done = value == (-1 if code & 16 else 0)
            text.append(48 + code + (0 if done else 32))
            if done:
                break
    return bytes(text)


def runs_of(binary):
    """Column by column, the first run of zeros."""
    flat = np.asarray(binary).T.reshape(-1)
    change = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *change, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs
