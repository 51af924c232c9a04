"""From files to a ``Frame``: points, labels and pictures of one scan, checked against one another."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lidistill.errors import InputError
from lidistill.sensing.files import PointFile, read_labels
from lidistill.sensing.frame import CameraView, Frame, Sensor
from lidistill.taxonomy import Taxonomy

MAX_BAD = 0.01
"""Share of points of a scan that may be NaN or infinite (no-return markers); they are dropped with their labels."""

CLASS_BITS = 0xFFFF


def make_frame(
    cloud: PointFile,
    path: Path,
    *,
    token: str,
    sensor: Sensor,
    labels: Path | None = None,
    taxonomy: Taxonomy | None = None,
    views: tuple[CameraView, ...] = (),
) -> Frame:
    """Put one scan together; ``path`` is where ``cloud`` came from, ``labels`` a ``.label`` file of the same length.

    Raw labels (low 16 bits of the file, or the cloud's own column) become train ids through ``taxonomy``; without a
    taxonomy there are none. A missing intensity column counts as 0. Non-finite points are dropped.

    Raises ``InputError`` when the scan has no point, more than 1 % of them are not finite, or the labels are of
    another number.
    """
    if len(cloud) == 0:
        raise InputError(f"{path}: no points in the scan; expected at least one, copy the file again")
    train_ids = None
    if taxonomy is not None:
        raw = cloud.labels if labels is None else read_labels(labels)
        if raw is not None and len(raw) != len(cloud):
            raise InputError(f"{labels}: {len(raw)} labels, expected {len(cloud)} as there are points in {path}")
        train_ids = None if raw is None else taxonomy.apply(raw & CLASS_BITS)
    kept = cloud.finite()
    if not kept.all():
        bad = len(kept) - int(kept.sum())
        if bad > MAX_BAD * len(kept):
            raise InputError(
                f"{path}: {bad} of {len(kept)} points are NaN or infinite (first: row {int(kept.argmin())}), at most "
                f"{MAX_BAD:.0%} may be; check the type and number of columns, or remove those points from the scan"
            )
        cloud = cloud.select(kept)
        train_ids = None if train_ids is None else train_ids[kept]
    intensity = np.zeros(len(cloud), np.float32) if cloud.intensity is None else cloud.intensity
    return Frame(
        cloud.points,
        intensity,
        sensor,
        token,
        ring=cloud.ring,
        time=cloud.time,
        labels=train_ids,
        views=views,
    )


def read_image(path: str, height: int, width: int) -> NDArray[np.uint8]:
    """Decode (height, width, 3) uint8 RGB; raises ``InputError`` for a damaged file or one of another size."""
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise InputError(
                    f"{path}: the image is {image.height} x {image.width}, the calibration says {height} x {width} "
                    "(height x width); scale the intrinsics or the images"
                )
            if image.mode[0] in "IF":
                raise InputError(
                    f"{path}: the image has mode {image.mode}, expected 8 bits a channel; convert it first"
                )
            # converting copies, even from RGB to RGB
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from None


@lru_cache(maxsize=4096)
def image_size(path: str) -> tuple[int, int]:
    """(height, width) from the header alone."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Any) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged or no image"
    return InputError(f"{path}: the image cannot be read ({reason}); copy the file again or remove it")
