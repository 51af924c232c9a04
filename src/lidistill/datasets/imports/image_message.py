"""``sensor_msgs/Image`` and ``CompressedImage`` -> the bytes of an image file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lidistill.errors import InputError

Picture = NDArray[np.uint8]

CHANNELS = {
    "rgb8": [0, 1, 2],
    "bgr8": [2, 1, 0],
    "rgba8": [0, 1, 2, 3],
    "bgra8": [2, 1, 0, 3],
    "8UC3": [2, 1, 0],
    "mono8": [0],
    "8UC1": [0],
}
"""Encoding -> where red, green, blue, (alpha) stand; OpenCV's own 8UC3 is blue green red."""

BAYER = {"bayer_rggb8": (0, 0), "bayer_grbg8": (0, 1), "bayer_gbrg8": (1, 0), "bayer_bggr8": (1, 1)}
"""Encoding -> row and column of the first red pixel of the 2 x 2 pattern."""

FORMATS = {"JPEG": ".jpg", "PNG": ".png"}


def image_file(message: Any, where: str) -> tuple[str, bytes, tuple[int, int]]:
    """Suffix, content and (height, width) of the picture in a message.

    Compressed pictures stay as they are, byte for byte; others are written as PNG, which loses nothing. Bayer patterns
    become colours by linear interpolation, alpha is left out.

    Raises ``InputError`` for an unknown encoding or format and for fewer bytes than pixels.
    """
    if not hasattr(message, "encoding"):
        return _compressed(bytes(message.data), message.format, where)
    picture = _pixels(message, where)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)  # half the size of level 0, ten times as fast as 6
    return ".png", buffer.getvalue(), (picture.shape[0], picture.shape[1])


def _compressed(data: bytes, declared: str, where: str) -> tuple[str, bytes, tuple[int, int]]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            found, mode, size = image.format, image.mode, image.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise InputError(
            f"{where}: the compressed picture ({declared!r}) cannot be decoded, expected jpeg or png; leave this topic "
            "out with cameras"
        ) from None
    if found not in FORMATS or mode[0] in "IF":
        raise InputError(f"{where}: the compressed picture is {found} {mode}, expected jpeg or png of 8 bits a channel")
    return FORMATS[found], data, (size[1], size[0])


def _pixels(message: Any, where: str) -> Picture:
    """(height, width, 3) red green blue, or (height, width) grey."""
    encoding, height, width = message.encoding, message.height, message.width
    if encoding not in CHANNELS and encoding not in BAYER:
        known = ", ".join([*CHANNELS, *BAYER])
        raise InputError(f"{where}: unknown encoding {encoding!r}, expected {known}; name the camera topics to take")
    channels = len(CHANNELS.get(encoding, [0]))
    step = message.step or width * channels
    if step < width * channels or len(message.data) < (height - 1) * step + width * channels or not height * width:
        raise InputError(
            f"{where}: {len(message.data)} bytes in rows of {step}, expected {height} x {width} pixels of {channels} "
            "bytes; the message is truncated"
        )
    data = np.ndarray((height, width, channels), np.uint8, message.data, 0, (step, channels, 1))
    if encoding in BAYER:
        return _colours(data[:, :, 0], *BAYER[encoding])
    return np.ascontiguousarray(data[:, :, CHANNELS[encoding][:3]] if channels > 1 else data[:, :, 0])


def _colours(mosaic: Picture, row: int, column: int) -> Picture:
    """Each colour is the mean of its nearest pixels in the mosaic: the known ones, weighted by distance."""
    from scipy.ndimage import convolve

    rows, columns = np.arange(mosaic.shape[0])[:, None], np.arange(mosaic.shape[1])[None]
    red_row, red_column = (rows - row) % 2 == 0, (columns - column) % 2 == 0
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)
    planes = []
    for there in (red_row & red_column, red_row ^ red_column, ~red_row & ~red_column):
        weight = convolve(there.astype(np.float32), kernel, mode="constant")
        total = convolve(np.where(there, mosaic, 0).astype(np.float32), kernel, mode="constant")
        planes.append(np.where(there, mosaic, np.rint(total / weight)))
    return np.stack(planes, axis=2).astype(np.uint8)
