"""Poses of real scans: what stands still is where it was."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.datasets.source import open_source
from lidistill.sensing.rigid import invert, transform
from lidistill.transforms.nearest import nearest


def raised(points):
    """Those above the ground: the road looks the same from everywhere."""
    return points[points[:, 2] > np.quantile(points[:, 2], 0.3) + 0.5]


def gap(points, others):
    """Median distance of ``others`` to the nearest of ``points``, metres."""
    return float(np.median(np.linalg.norm(others - points[nearest(points, others)], axis=1)))


@pytest.mark.parametrize(
    ("spec", "metres", "drive", "gain"),
    [
        ("semantic-kitti:semantickitti", 0.67, "semantic-kitti/00", 3),
        ("pandaset-64:pandaset", 0.78, "pandaset-64/001", 3),
        ("pandaset-gt:pandaset", 0.78, "pandaset-gt/001", 3),
        ("argoverse2:argoverse2", 0.07, "argoverse2/val/7fab2350-7eaf-3b7e-a39d-6937a4c1bede", 1.7),
        ("argoverse2:argoverse2?origin=lidar", 0.06, "argoverse2/val/7fab2350-7eaf-3b7e-a39d-6937a4c1bede", 1.7),
    ],
)
def test_the_second_scan_lies_on_the_first(real, spec, metres, drive, gain):
    """Moved by the poses it is several times nearer; moved the other way round it is not."""
    name, folder = spec.split(":")
    folder, question, options = folder.partition("?")
    source = open_source(f"{name}:{real(folder)}{question}{options}")
    first, second = source[0], source[1]
    assert first.pose.drive == second.pose.drive == drive
    step = invert(first.pose.to_world) @ second.pose.to_world
    assert np.linalg.norm(step[:3, 3]) == pytest.approx(metres, abs=0.01)
    here, there = raised(first.points), raised(second.points)
    moved = gap(here, transform(there, step))
    assert moved < 0.09
    assert moved * gain < gap(here, there)
    assert moved < gap(here, transform(there, invert(step)))


def test_the_pose_of_the_real_key_frame_puts_the_road_on_the_ground(real):
    """There is one scan, but the ground of nuScenes' maps is at 0; it is 1.8 m below the lidar and tilted to it."""
    (frame,) = open_source(f"nuscenes:{real('nuscenes')}")
    assert frame.pose.drive == "nuscenes/scene-0061"
    distance = np.linalg.norm(frame.points[:, :2], axis=1)
    road = frame.points[(distance > 3) & (distance < 20) & (frame.points[:, 2] < -1.2)]
    height = transform(road, frame.pose.to_world)[:, 2]
    assert abs(np.median(height)) < 0.1
    assert height.std() < 0.8 * road[:, 2].std()
