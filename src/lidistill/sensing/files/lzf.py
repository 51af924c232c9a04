"""LZF, the compression inside ``binary_compressed`` PCD files.

A stream is a row of tokens. Control byte c < 32: c + 1 literal bytes follow. Otherwise a copy from what was already
written: length (c >> 5) + 2, where 7 means that the next byte is added; distance ((c & 31) << 8) + next byte + 1.
"""

from __future__ import annotations

import numpy as np

LITERAL = 32


def decompress(data: bytes, size: int) -> bytes:
    """Expand ``data`` to ``size`` bytes; raises ``ValueError`` when the stream is damaged."""
    out = bytearray()
    at, end = 0, len(data)
    try:
        while at < end:
            control = data[at]
            at += 1
            if control < LITERAL:
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            length += 2
            start = len(out) - ((control & 31) << 8) - data[at] - 1
            at += 1
            if start < 0:
                raise ValueError("a copy from before the start")
            piece = out[start : start + length]
            # A copy may overlap what it writes: then it repeats itself.
            out += piece if len(piece) == length else (piece * (length // len(piece) + 1))[:length]
            if len(out) > size:
                break
    except IndexError:
        raise ValueError("it ends in the middle of a token") from None
    if len(out) != size or at != end:
        raise ValueError(f"expected {size} bytes after decompression, found {len(out)}")
    return bytes(out)


def store(data: bytes) -> bytes:
    """Wrap ``data`` as literal tokens: valid LZF, 3 % larger than the data, at memory speed.

    Float coordinates hardly compress with LZF, so searching for matches in Python would buy nothing.
    """
    whole = len(data) // LITERAL * LITERAL
    blocks = np.frombuffer(data[:whole], np.uint8).reshape(-1, LITERAL)
    tokens = np.insert(blocks, 0, LITERAL - 1, axis=1).tobytes()
    rest = data[whole:]
    return tokens + (bytes([len(rest) - 1]) + rest if rest else b"")
