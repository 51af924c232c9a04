"""Pictures for people: points over camera images, similarity over images, marks, captions, several side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lidistill.evaluation.palette import depth_colors, similarity_colors
from lidistill.evaluation.render import BACKGROUND, Picture, draw_discs
from lidistill.sensing.cameras import project
from lidistill.sensing.files import write_atomically
from lidistill.sensing.frame import CameraView
from lidistill.sensing.pairing import Pairs

TEXT = (235, 236, 242)
MARK = (255, 40, 60)


def overlay(
    image: Picture,
    pairs: Pairs,
    colors: NDArray[np.uint8] | None = None,
    *,
    radius: float | None = None,
    dim: float = 0.55,
) -> Picture:
    """Draw paired points over their camera ``image`` (H, W, 3), nearer ones on top; the image is not changed.

    ``colors`` (P, 3), a row per pair; None = by depth. ``radius`` in pixels; None = by the width of the picture.
    ``dim`` is how much of the image's brightness stays, so that points stand out.
    """
    canvas = np.round(image * dim).astype(np.uint8)
    size = image.shape[1] / 800 if radius is None else radius
    shown = depth_colors(pairs.depth) if colors is None else colors
    draw_discs(canvas, pairs.pixels, pairs.depth, np.full(len(shown), max(size, 0.6)), shown)
    return canvas


def heat(image: Picture, similarity: NDArray[np.floating[Any]], *, strength: float = 0.75) -> Picture:
    """Lay the similarities (h, w) of a teacher's cells over the ``image`` (H, W, 3) they were computed from."""
    height, width = image.shape[:2]
    smooth = Image.fromarray(similarity.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    colors = similarity_colors(np.asarray(smooth).ravel()).reshape(height, width, 3)
    gray = image.mean(-1, keepdims=True)
    mixed: Picture = np.round(strength * colors + (1 - strength) * gray).astype(np.uint8)
    return mixed


def mark(picture: Picture, place: Sequence[float], *, radius: float | None = None) -> Picture:
    """A copy of ``picture`` with a ring around the pixel ``place`` = (u, v)."""
    size = max(picture.shape[1] / 90, 5) if radius is None else radius
    drawn = Image.fromarray(picture)
    u, v = float(place[0]), float(place[1])
    pen = ImageDraw.Draw(drawn)
    for width, color in ((5, (0, 0, 0)), (3, (255, 255, 255)), (2, MARK)):
        pen.ellipse((u - size, v - size, u + size, v + size), outline=color, width=width)
    return np.array(drawn)


def mark_point(picture: Picture, point: NDArray[np.floating[Any]], view: CameraView) -> Picture:
    """A copy of ``picture``, drawn as ``view`` sees it, with a ring around ``point`` (3,); unmarked if out of sight."""
    pixels, depth = project(point[None], view)
    inside = np.isfinite(pixels).all() and depth[0] > 0
    return mark(picture, pixels[0]) if inside else picture.copy()


def beside(pictures: Sequence[Picture], captions: Sequence[str] = (), *, gap: int = 8) -> Picture:
    """Put pictures into one row, all as high as the lowest, each with its caption above (none = no line of text)."""
    height = min(p.shape[0] for p in pictures)
    shown = [_to_height(p, height) for p in pictures]
    line = _line_height(height) if captions else 0
    widths = [p.shape[1] for p in shown]
    canvas = np.full((height + line, sum(widths) + gap * (len(shown) - 1), 3), BACKGROUND, np.uint8)
    left, starts = 0, []
    for picture, width in zip(shown, widths, strict=True):
        canvas[line:, left : left + width] = picture
        starts.append(left)
        left += width + gap
    return _write(canvas, [(start + gap, text) for start, text in zip(starts, captions, strict=False)], line)


def stack(pictures: Sequence[Picture], captions: Sequence[str] = (), *, gap: int = 8) -> Picture:
    """Put pictures below one another, all as wide as the narrowest, each with its caption above."""
    width = min(p.shape[1] for p in pictures)
    shown = [_to_width(p, width) for p in pictures]
    line = _line_height(min(p.shape[0] for p in shown))
    space = np.full((gap, width, 3), BACKGROUND, np.uint8)
    rows: list[Picture] = []
    for number, picture in enumerate(shown):
        if number:
            rows.append(space)
        if captions:
            strip = np.full((line, width, 3), BACKGROUND, np.uint8)
            rows.append(_write(strip, [(gap, captions[number])], line))
        rows.append(picture)
    return np.concatenate(rows)


def write_picture(picture: Picture, path: str | Path) -> None:
    """Write a ``.png`` or ``.jpg``; the file is complete or not there at all."""
    target = Path(path)
    kind = "JPEG" if target.suffix.lower() in {".jpg", ".jpeg"} else "PNG"
    content = io.BytesIO()
    Image.fromarray(picture).save(content, kind, quality=88, optimize=True)
    write_atomically(target, lambda file: file.write_bytes(content.getvalue()))


def _to_height(picture: Picture, height: int) -> Picture:
    if picture.shape[0] == height:
        return picture
    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _to_width(picture: Picture, width: int) -> Picture:
    if picture.shape[1] == width:
        return picture
    height = max(round(picture.shape[0] * width / picture.shape[1]), 1)
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _line_height(height: int) -> int:
    return max(height // 16, 18)


def _write(canvas: Picture, texts: Sequence[tuple[int, str]], line: int) -> Picture:
    """Write each (left edge, text) into the first ``line`` rows of ``canvas``."""
    if not texts:
        return canvas
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(size=line * 0.58)
    for left, text in texts:
        pen.text((left, line / 2), text, fill=TEXT, font=font, anchor="lm")
    return np.array(drawn)
