"""Clouds of the reference fixtures, as the original pipelines hand them to the transforms."""

import numpy as np
import pytest


@pytest.fixture
def reference_cloud(parity):
    """``reference_cloud("panda64") -> (points (N, 3), raw intensity (N,))`` in the precision of the original."""

    def load(name):
        data = np.load(parity(f"02_preprocessing/{name}.npz"))
        points = data["points"]
        if "selected_rows" not in data:
            return points[:, :3], points[:, 3]
        points = points[data["selected_rows"]]
        return pandaset_ego(points[:, :3], data), points[:, 3]

    return load


def pandaset_ego(world, data):
    """World to ego with the lidar pose, 1.6 m lowered."""
    w, x, y, z = data["pose_heading_wxyz"]
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return (world - data["pose_position_xyz"]) @ rotation - [0, 0, 1.6]
