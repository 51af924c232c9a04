"""SLIC: pieces of like colour and place (Achanta et al. 2012), as SLidR cuts its pictures (section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError
from lidistill.segmenters.methods import Ids, Slic


class SlicSegmenter:
    """Ids 0, 1, ... of connected pieces; every pixel is in one.

    A picture of a street gives fewer than ``n_segments``, for small pieces join a neighbour. scikit-image lets a piece
    be as small as half the average, so ``count`` is twice ``n_segments``; should a picture have more, the rest share
    the last id.
    """

    unassigned = None

    def __init__(self, method: Slic) -> None:
        try:
            import skimage.segmentation  # noqa: F401
        except ImportError as error:
            raise InputError(
                "superpixels by slic need the package scikit-image; install it with: "
                "pip install 'lidistill[superpixels]'"
            ) from error
        self.method = method
        self.count = 2 * method.n_segments

    def __call__(self, image: NDArray[np.uint8]) -> Ids:
        """(H, W, 3) uint8 -> (H, W) ids."""
        from skimage.segmentation import slic

        found = slic(
            image,
            n_segments=self.method.n_segments,
            compactness=self.method.compactness,
            sigma=self.method.sigma,
            start_label=0,
        )
        ids: Ids = np.minimum(found, self.count - 1).astype(np.uint16)
        return ids
