"""What a student is told about every point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.frame import Sensor

CHANNELS = ("intensity", "x", "y", "z", "range")


def point_features(
    points: NDArray[np.floating[Any]], intensity: NDArray[np.floating[Any]], sensor: Sensor
) -> NDArray[np.float32]:
    """(N, 5) float32: (intensity - mean) / std of the sensor, x, y, z and the distance from the origin, metres.

    ``points`` (N, 3), ``intensity`` (N,) as recorded. A sensor without intensity statistics keeps its raw values
    (the batch norm on the student's input then learns them).
    """
    mean, std = sensor.intensity or (0.0, 1.0)
    features = np.empty((len(points), 5), np.float32)
    features[:, 0] = (intensity - mean) / (std or 1.0)
    features[:, 1:4] = points
    x, y, z = points.T
    features[:, 4] = np.sqrt(x * x + y * y + z * z)
    return features
