"""Point features against the reference, and what unknown intensity statistics mean."""

import json

import numpy as np
import pytest

from lidistill.sensing.frame import Sensor
from lidistill.transforms.features import CHANNELS, point_features


@pytest.mark.parametrize("cloud", ["nuscenes", "semantic_kitti", "panda64", "pandagt"])
def test_reference_values(parity, reference_cloud, cloud):
    data = np.load(parity(f"02_preprocessing/{cloud}.npz"))
    index = json.loads(parity("02_preprocessing/index.json").read_text())[cloud]
    sensor = Sensor(cloud, intensity=(index["intensity_mean"], index["intensity_std"]))
    points, intensity = reference_cloud(cloud)
    features = point_features(points, intensity, sensor)[data["final_keep"]]
    expected = data["feat"].T
    assert features.dtype == np.float32
    assert np.abs(features[data["feat_rows"]] - expected).max() <= 1e-6 * max(1, np.abs(expected).max())
    total, magnitude = features.sum(0, dtype=np.float64), np.abs(features).sum(0, dtype=np.float64)
    assert np.abs(total - data["feat_channel_sum"]).max() <= 1e-6 * np.abs(data["feat_channel_sum"]).max()
    assert magnitude == pytest.approx(data["feat_channel_abs_sum"], rel=1e-6)


def test_columns():
    features = point_features(np.array([[3.0, -4.0, 12.0]]), np.array([7.0]), Sensor("a", intensity=(5.0, 4.0)))
    assert dict(zip(CHANNELS, features[0].tolist(), strict=True)) == {
        "intensity": 0.5,
        "x": 3.0,
        "y": -4.0,
        "z": 12.0,
        "range": 13.0,
    }


def test_unknown_or_constant_intensity_stays_finite():
    points, intensity = np.zeros((2, 3), np.float32), np.array([0.0, 9.0], np.float32)
    assert point_features(points, intensity, Sensor("a"))[:, 0].tolist() == [0, 9]
    assert point_features(points, intensity, Sensor("a", intensity=(9.0, 0.0)))[:, 0].tolist() == [-9, 0]
