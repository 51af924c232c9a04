"""Borders, mean colours, numbers."""

from __future__ import annotations

import numpy as np

from lidistill.segmenters.draw import LINE, NONE, borders, mean_colors, segments

IDS = np.array([[0, 0, 3, 3], [0, 0, 3, 3], [5, 5, 5, 5]], np.uint16)


def test_borders_are_where_ids_meet():
    image = np.full((3, 4, 3), 9, np.uint8)
    drawn = borders(image, IDS)
    assert (image == 9).all()
    line = (drawn == LINE).all(-1)
    assert line.tolist() == [[False, False, True, False], [False, False, True, False], [True] * 4]


def test_every_superpixel_has_its_mean_colour():
    image = np.random.default_rng(0).integers(0, 255, (3, 4, 3)).astype(np.uint8)
    shown = mean_colors(image, IDS)
    for number in (0, 3, 5):
        inside = number == IDS
        assert np.allclose(shown[inside], image[inside].mean(0), atol=0.51)
    assert (mean_colors(image, IDS, unassigned=0)[IDS == 0] == NONE).all()
    assert (segments(IDS), segments(IDS, 0), segments(IDS, 1)) == (3, 2, 3)
