"""Curves as inline SVG: no script, no request, readable in light, dark and on paper."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 36, 34
MOST = 600
"""Points of a curve; more could not be seen."""


@dataclass(frozen=True, eq=False)
class Series:
    """One curve: ``x`` and ``y`` (N,); what is not finite is left out. ``style`` is a class of the page's CSS."""

    name: str
    x: ArrayLike
    y: ArrayLike
    style: Literal["raw", "main", "second", "dots"] = "main"


def smooth(y: ArrayLike, window: float | None = None) -> Array:
    """Mean of the values around each of ``y`` (N,), weights falling by e over ``window`` values (None = N / 40).

    Forgets forwards and backwards alike, so that the curve neither lags nor is pulled towards 0 at its ends.
    """
    values = np.asarray(y, np.float64)
    keep = math.exp(-1 / max(len(values) / 40 if window is None else window, 1e-2))
    return (_trailing(values, keep) + _trailing(values[::-1], keep)[::-1]) / 2


def _trailing(values: Array, keep: float) -> Array:
    result, total, weight = np.empty(len(values)), 0.0, 0.0
    for i, value in enumerate(values):
        total, weight = keep * total, keep * weight
        if math.isfinite(value):
            total, weight = total + value, weight + 1
        result[i] = total / weight if weight else math.nan
    return result


def chart(title: str, series: Sequence[Series], *, x_label: str = "step") -> str:
    """An ``<svg>`` of the curves, or an empty string when there is nothing to draw.

    The vertical axis is logarithmic when all values are positive and span more than a factor of 30.
    """
    curves = [(s, *_finite(s)) for s in series]
    curves = [(s, x, y) for s, x, y in curves if len(x)]
    if not curves:
        return ""
    xs, ys = (np.concatenate([c[i] for c in curves]) for i in (1, 2))
    log = bool(ys.min() > 0 and ys.max() > 30 * ys.min())
    x_low, x_high = _widen(xs.min(), xs.max())
    ticks = _log_ticks(ys.min(), ys.max()) if log else _ticks(*_widen(ys.min(), ys.max()))
    low, high = min(ticks[0], ys.min()), max(ticks[-1], ys.max())

    def across(x: ArrayLike) -> Array:
        place: Array = LEFT + (np.asarray(x) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return place

    def up(y: ArrayLike) -> Array:
        values, bottom, top = (np.log(v) if log else np.asarray(v) for v in (y, low, high))
        place: Array = HEIGHT - BOTTOM - (values - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)
        return place

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<text class="title" x="{LEFT}" y="20">{html.escape(title)}</text>',
    ]
    for tick in ticks:
        y = float(up(tick))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in _ticks(x_low, x_high):
        if x_low <= tick <= x_high:
            x = float(across(tick))
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_number(tick)}</text>'
            )
    parts.append(
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{html.escape(x_label)}</text>'
    )
    parts += [_curve(s, across(x), up(y), y) for s, x, y in curves]
    named = [s for s, _, _ in curves if s.name]
    if len(named) > 1:
        parts.append(_legend(named))
    return "\n".join([*parts, "</svg>"])


def _finite(series: Series) -> tuple[Array, Array]:
    """Its finite points in order, thinned out."""
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    good = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(good) > MOST:
        good = good[np.unique(np.linspace(0, len(good) - 1, MOST).round().astype(int))]
    return x[good], y[good]


def _curve(series: Series, x: Array, y: Array, values: Array) -> str:
    places = list(zip(x, y, strict=True))
    if series.style == "dots" or len(places) == 1:
        tips = [f"<title>{html.escape(series.name)} {value:.4g}</title>" for value in values]
        return "".join(
            f'<circle class="{series.style}" cx="{a:.1f}" cy="{b:.1f}" r="3.2">{tip}</circle>'
            for (a, b), tip in zip(places, tips, strict=True)
        )
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    return f'<polyline class="{series.style}" points="{line}"/>'


def _legend(series: Sequence[Series]) -> str:
    parts, x = [], float(WIDTH - RIGHT)
    for s in reversed(series):
        x -= 6.2 * len(s.name)
        parts.append(f'<text class="tick" x="{x:.0f}" y="20">{html.escape(s.name)}</text>')
        parts.append(f'<line class="{s.style}" x1="{x - 20:.0f}" x2="{x - 5:.0f}" y1="16" y2="16"/>')
        x -= 30
    return "".join(parts)


def _widen(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty."""
    if high > low:
        return float(low), float(high)
    pad = abs(low) / 2 or 1.0
    return float(low - pad), float(high + pad)


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, about ``count`` steps."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten around the range; every second or third when there are many."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    stride = max((last - first) // 5, 1)
    return [10.0**p for p in range(first, last + stride, stride)]


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        mantissa, _, power = f"{value:.2g}".partition("e")
        return f"{mantissa}e{int(power)}" if power else mantissa
    return f"{value:.6g}"
