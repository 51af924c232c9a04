"""Scans to corrupt: a street of boxes seen by a lidar of 32 beams, and the scans of the reference fixtures."""

from __future__ import annotations

from functools import cache

import numpy as np

from lidistill import taxonomy
from lidistill.sensing.frame import Frame, Sensor
from lidistill.sensing.sensors import sensor
from rigs import STREET, cast

CITY = taxonomy.load("city-16")
BEAMS, STEPS = 32, 360
CARS = [(9, -1.5, 0.1, 4, 1.8, 1.5, 21), (-7, 2, 0.1, 4.2, 1.8, 1.4, 21)]
REFLECTIVITY = {1: 0.1, 6: 0.2, 10: 0.5, 18: 0.4, 20: 0.3, 21: 0.6, 31: 0.4}


@cache
def street(*, scale: float = 85.0, rings: bool = True, labels: bool = True, sensor_rings: int | None = BEAMS) -> Frame:
    """About 10 000 points beam by beam, lowest first; ``scale`` = raw intensity of white (85: in whole numbers)."""
    elevation = np.repeat(np.radians(np.linspace(-28, 8, BEAMS)), STEPS)
    azimuth = np.tile(np.linspace(0.01, 2 * np.pi - 0.01, STEPS), BEAMS)
    rays = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1)
    distance, raw = cast(np.zeros(3), rays, [*STREET, *CARS])
    seen = np.isfinite(distance)
    rng = np.random.default_rng(0)
    share = np.array([REFLECTIVITY[r] for r in raw[seen]]) * rng.uniform(0.7, 1.3, seen.sum())
    intensity = np.rint(scale * share) if scale > 2 else scale * share
    ring = np.repeat(np.arange(BEAMS, dtype=np.int32), STEPS)[seen]
    return Frame(
        points=(rays[seen] * distance[seen, None]).astype(np.float32),
        intensity=intensity.astype(np.float32),
        sensor=Sensor("street-32", rings=sensor_rings, intensity=(scale * 0.25, scale * 0.25)),
        token="street/0",
        ring=ring if rings else None,
        time=np.linspace(0, 0.1, seen.sum(), dtype=np.float32),
        labels=CITY.apply(raw[seen].astype(np.int64)) if labels else None,
    )


def reference(name: str, data: np.lib.npyio.NpzFile) -> Frame:
    """The input scan ``kitti`` or ``nus`` of the corruption fixtures, labelled."""
    lists = {"kitti": ("semantic-kitti-19", "hdl-64e"), "nus": ("nuscenes-16", "hdl-32e")}
    classes, lidar = lists[name]
    points = data[f"{name}_points"]
    return Frame(
        points=points[:, :3].copy(),
        intensity=points[:, 3].copy(),
        sensor=sensor(lidar),
        token=name,
        ring=points[:, 4].astype(np.int32) if name == "nus" else None,
        labels=taxonomy.load(classes).apply(data[f"{name}_labels_raw"].astype(np.int64) & 0xFFFF),
    )
