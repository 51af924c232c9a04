"""SLIC: what reaches scikit-image, which ids come back."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import skimage.segmentation

from lidistill.errors import InputError
from lidistill.segmenters.methods import SLIDR, open_segmenter, parse_method


def picture(height: int = 96, width: int = 192) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (6, 12, 3)), np.ones((height // 6, width // 12, 1)))
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def test_defaults_are_slidrs(monkeypatch):
    asked = {}

    def slic(image, **options):
        asked.update(options)
        return np.zeros(image.shape[:2], np.int64)

    monkeypatch.setattr(skimage.segmentation, "slic", slic)
    open_segmenter(SLIDR)(picture())
    assert asked == {"n_segments": 150, "compactness": 6.0, "sigma": 3.0, "start_label": 0}
    open_segmenter(parse_method({"name": "slic", "n_segments": 40, "compactness": 0.5, "sigma": 0}))(picture())
    assert asked == {"n_segments": 40, "compactness": 0.5, "sigma": 0.0, "start_label": 0}


@pytest.mark.parametrize("number", [1, 10, 60])
def test_ids_are_counted_from_0_and_below_count(number):
    segmenter = open_segmenter(parse_method({"name": "slic", "n_segments": number, "compactness": 20}))
    ids = segmenter(picture())
    assert ids.shape == (96, 192)
    assert ids.dtype == np.uint16
    assert np.array_equal(np.unique(ids), np.arange(ids.max() + 1))
    assert ids.max() < segmenter.count == 2 * number
    assert segmenter.unassigned is None
    assert len(np.unique(ids)) >= number / 2


def test_ids_beyond_the_bound_share_the_last(monkeypatch):
    monkeypatch.setattr(skimage.segmentation, "slic", lambda image, **_: np.arange(16).reshape(4, 4))
    ids = open_segmenter(parse_method({"name": "slic", "n_segments": 5}))(np.zeros((4, 4, 3), np.uint8))
    assert ids.ravel().tolist() == [*range(10), *[9] * 6]


def test_package_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(InputError, match=r"scikit-image; install it with: pip install 'lidistill\[superpixels\]'"):
        open_segmenter(SLIDR)
