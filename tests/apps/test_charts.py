"""Curves: every value where it belongs, scales that fit, nothing that a browser could stumble over."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lidistill.apps.charts import BOTTOM, HEIGHT, LEFT, MOST, RIGHT, TOP, WIDTH, Series, chart, smooth


def lines(svg: str, style: str) -> list[tuple[float, float]]:
    found = re.search(rf'<polyline class="{style}" points="([^"]+)"', svg)
    assert found is not None
    return [(float(a), float(b)) for a, b in (pair.split(",") for pair in found[1].split())]


def ticks(svg: str) -> list[str]:
    return re.findall(r'text-anchor="end">([^<]+)</text>', svg)[:-1]  # the last is the name of the axis


def test_values_lie_between_their_ticks() -> None:
    svg = chart("loss", [Series("", [0, 1, 2], [4.0, 1.0, 2.0])])
    ElementTree.fromstring(svg)
    places = lines(svg, "main")
    assert [x for x, _ in places] == pytest.approx([LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT])
    assert ticks(svg) == ["1", "2", "3", "4"]
    assert places[0][1] == pytest.approx(TOP)
    assert places[1][1] == pytest.approx(HEIGHT - BOTTOM)
    assert places[2][1] == pytest.approx(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) / 3, abs=0.06)


def test_wide_spans_are_logarithmic_and_others_are_not() -> None:
    svg = chart("lr", [Series("", [0, 1, 2], [1e-3, 1e-4, 1e-5])])
    assert ticks(svg) == ["1e-5", "0.0001", "0.001"]
    heights = [y for _, y in lines(svg, "main")]
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.06)
    assert ticks(chart("loss", [Series("", [0, 1], [0.0, 1e3])]))[0] == "0"


@pytest.mark.parametrize("y", [[], [float("nan"), float("nan")], [float("inf")]])
def test_nothing_to_draw_gives_nothing(y: list[float]) -> None:
    assert chart("loss", [Series("a", range(len(y)), y)]) == ""


@pytest.mark.parametrize("y", [[3.0], [0.0, 0.0], [-2.0, -2.0], [5.0, float("nan"), 5.0], [1e-12, 1.0, 1e12]])
def test_flat_single_and_extreme_values_are_drawn(y: list[float]) -> None:
    svg = chart("loss", [Series("", range(len(y)), y)])
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    places = lines(chart("loss", [Series("", range(100_000), np.linspace(2, 1, 100_000))]), "main")
    assert len(places) == MOST
    assert (places[0][0], places[-1][0]) == (LEFT, WIDTH - RIGHT)


def test_names_are_escaped_and_listed() -> None:
    svg = chart("a<b", [Series("x & y", [0, 1], [1, 2]), Series("dots", [1], [2], "dots")])
    ElementTree.fromstring(svg)
    assert "a&lt;b" in svg
    assert "x &amp; y" in svg
    assert '<circle class="dots"' in svg


def test_smooth_keeps_level_and_does_not_lag() -> None:
    assert smooth(np.full(50, 3.0)) == pytest.approx(3.0)
    slope = np.linspace(0, 10, 400)
    noisy = slope + np.random.default_rng(0).normal(size=400)
    middle = smooth(noisy)[100:300]
    assert np.abs(middle - slope[100:300]).max() < 0.6
    assert abs((middle - slope[100:300]).mean()) < 0.15
    holed = np.where(np.arange(400) % 7 == 0, np.nan, noisy)
    assert np.isfinite(smooth(holed)[1:-1]).all()
