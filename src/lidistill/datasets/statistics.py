"""Statistics of a source that its sensor record does not know."""

from __future__ import annotations

import numpy as np

from lidistill.datasets.source import Source, evenly
from lidistill.errors import InputError


def intensity_statistics(source: Source, scans: int = 50) -> tuple[float, float]:
    """Mean and standard deviation of the raw intensity over all points of ``scans`` evenly spread scans.

    Damaged scans are left out. A lidar without intensity (a constant column) gets the deviation 1. Raises
    ``InputError`` when no scan can be read.
    """
    count, total, squares = 0, 0.0, 0.0
    fault: InputError | None = None
    for index in evenly(source, scans):
        try:
            values = source[index].intensity.astype(np.float64)
        except InputError as error:
            fault = fault or error
            continue
        count += len(values)
        total += float(values.sum())
        squares += float(values @ values)
    if not count:
        raise InputError(f"{source.spec}: no scan to measure the intensity on ({fault or 'it has no frame'})")
    mean = total / count
    deviation = max(squares / count - mean * mean, 0.0) ** 0.5
    return mean, deviation if deviation > 1e-6 * max(abs(mean), 1e-6) else 1.0
