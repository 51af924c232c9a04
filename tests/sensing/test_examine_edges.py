"""Edges of scans and pictures meet where they should, and measure 1 at random."""

from __future__ import annotations

import numpy as np

from lidistill.sensing.examine.edges import UNIT, picture_edges, scan_edges, spread


def ring_scan(jump_at: float, near: float = 10.0, far: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """Eight beams, half a degree apart, of a cylinder, ``near`` left of an azimuth (degrees) and ``far`` right."""
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(-40, 40, 0.2)), np.radians(np.arange(-2, 2, 0.5)), indexing="ij"
    )
    distance = np.where(azimuth > np.radians(jump_at), near, far)
    points = distance[..., None] * np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    )
    ring = np.broadcast_to(np.arange(8), azimuth.shape)
    return points.reshape(-1, 3).astype(np.float32), ring.ravel()


def test_a_jump_of_range_is_an_upright_edge_on_the_nearer_surface() -> None:
    points, ring = ring_scan(7.0)
    edges = scan_edges(points, ring)
    assert len(edges) == 8
    assert edges.upright.all()
    assert np.allclose(np.linalg.norm(edges.places, axis=1), 10, atol=0.01)
    assert np.allclose(np.degrees(np.arctan2(edges.places[:, 1], edges.places[:, 0])), 7.0, atol=0.2)
    assert np.allclose(edges.steps, (0.5, 0.2), atol=0.02)


def test_beams_are_found_without_ring_and_in_any_order() -> None:
    points, _ = ring_scan(7.0)
    shuffled = points[np.random.default_rng(0).permutation(len(points))]
    assert len(scan_edges(shuffled)) == 8


def test_a_jump_of_intensity_on_one_surface_is_an_edge_and_clutter_is_none() -> None:
    points, ring = ring_scan(90.0, far=10.0)
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    painted = np.where(np.abs(azimuth - 3) < 1, 200.0, 20.0).astype(np.float32)
    edges = scan_edges(points, ring, painted)
    found = np.degrees(np.arctan2(edges.places[:, 1], edges.places[:, 0]))[edges.upright]
    assert len(found) == 16
    assert set(np.round(found).astype(int).tolist()) == {2, 4}
    assert len(scan_edges(points, ring)) == 0
    noise = points * np.random.default_rng(0).uniform(0.5, 2, (len(points), 1)).astype(np.float32)
    assert len(scan_edges(noise, ring)) < 0.1 * len(points)


def test_a_picture_is_strong_at_its_edge_and_one_on_average() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(90, 110, (120, 200, 3)).astype(np.uint8)
    image[:, 100:] += 100
    edges = picture_edges(image, 300.0)
    upright = edges.at(np.array([[99.5, 60.0], [60.0, 60.0], [-5.0, 60.0], [np.nan, 0.0]]), np.ones(4, bool))
    assert upright[0] > 4 * max(upright[1], 0.5)
    assert upright[2] == upright[3] == -1
    assert abs((edges.strength[0] / UNIT).mean() - 1) < 0.1
    assert edges.at(np.array([[99.5, 60.0]]), np.zeros(1, bool))[0] < 3


def test_an_absurd_focal_length_still_gives_a_picture() -> None:
    edges = picture_edges(np.zeros((40, 60, 3), np.uint8), 1e6)
    assert edges.strength.shape[1:] == (40, 60)


def test_spread_keeps_both_directions_and_repeats() -> None:
    points, ring = ring_scan(7.0)
    edges = spread(scan_edges(points, ring), 5)
    assert len(edges) == 5
    assert np.array_equal(edges.places, spread(scan_edges(points, ring), 5).places)
