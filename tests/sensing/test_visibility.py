"""Visibility on scans of boxes and planes whose occlusion is known exactly."""

import numpy as np
import pytest

from lidistill.sensing.frame import CameraView, Frame, Sensor
from lidistill.sensing.pairing import pair
from lidistill.sensing.visibility import visible

HEIGHT = 1.8
GROUND = [np.array([0, 0, -HEIGHT]), np.array([0, 0, 1.0])]


def rays(beams, step=0.33, sweep=(-60, 60)):
    elevation, azimuth = np.meshgrid(np.radians(beams), np.radians(np.arange(*sweep, step)), indexing="ij")
    elevation, azimuth = elevation.ravel(), azimuth.ravel()
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)


BEAMS = {
    "32": np.linspace(-30, 10, 32),
    "64": np.linspace(-24.8, 2, 64),
    "uneven": np.concatenate([[-25, -19, -14], np.arange(-13, -6), np.linspace(-6, 2, 49), [3, 5, 8, 11, 15]]),
}


def cast(origin, directions, boxes, planes=(GROUND,)):
    """Distance to the first of some boxes (low corner, high corner) and planes (point, normal)."""
    distance = np.full(len(directions), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for point, normal in planes:
            reach = (point - origin) @ normal / (directions @ normal)
            distance = np.where(reach > 0, np.minimum(distance, reach), distance)
        for low, high in boxes:
            near, far = (np.array(low) - origin) / directions, (np.array(high) - origin) / directions
            enter, leave = np.minimum(near, far).max(1), np.maximum(near, far).min(1)
            hit = (enter < leave) & (enter > 0)
            distance = np.where(hit, np.minimum(distance, enter), distance)
    return distance


def scan(directions, boxes, planes=(GROUND,), noise=0.02, lost=0.0, seed=0):
    rng = np.random.default_rng(seed)
    distance = cast(np.zeros(3), directions, boxes, planes)
    kept = (distance < 100) & (rng.random(len(distance)) >= lost)
    return (directions[kept] * (distance[kept] + rng.normal(0, noise, kept.sum()))[:, None]).astype(np.float32)


def camera_at(position):
    """Looks along x."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    matrix[:3, 3] = -matrix[:3, :3] @ np.array(position, float)
    return matrix


def in_view(points, from_lidar, half=0.9):
    local = points @ from_lidar[:3, :3].T + from_lidar[:3, 3]
    return np.flatnonzero((local[:, 2] > 1) & (np.abs(local[:, 0]) < half * local[:, 2]))


def truth(points, rows, position, boxes, planes=(GROUND,)):
    path = points[rows] - np.array(position)
    distance = np.linalg.norm(path, axis=1)
    return cast(np.array(position, float), path / distance[:, None], boxes, planes) < distance - 0.15 - 0.005 * distance


CAR = ([8, -1, -HEIGHT], [12, 1, -0.3])
WALL = ([30, -40, -HEIGHT], [31, 40, 6])


@pytest.mark.parametrize("beams", BEAMS)
@pytest.mark.parametrize("position", [(0.7, 0.0, -0.5), (0.3, 0.6, -0.3), (-0.5, -0.8, 0.1)])
def test_points_behind_a_car(beams, position):
    points = scan(rays(BEAMS[beams]), [CAR, WALL], lost=0.05)
    from_lidar = camera_at(position)
    rows = in_view(points, from_lidar)
    hidden = ~visible(points, from_lidar, rows)
    occluded = truth(points, rows, position, [CAR, WALL])
    assert occluded.sum() > 10
    # what is wrong lies on the outline, at most one beam or step away from it
    grown = [([7.9, -1.3, -HEIGHT], [12.1, 1.3, 0.0])]
    shrunk = [([8.1, -0.75, -HEIGHT], [11.9, 0.75, -0.6])]
    assert not (hidden & ~truth(points, rows, position, grown)).any()
    sure = truth(points, rows, position, shrunk)
    assert hidden[sure].sum() >= 0.98 * sure.sum()


@pytest.mark.parametrize("beams", BEAMS)
def test_open_ground_hides_nothing(beams):
    """Rings on the ground are up to tens of metres apart, and the camera is lower than the lidar."""
    points = scan(rays(BEAMS[beams]), [])
    for position in [(0.7, 0.0, -0.5), (0.3, 0.6, -0.3), (1.5, 0, -1.2)]:
        rows = in_view(points, camera_at(position))
        assert visible(points, camera_at(position), rows).mean() > 0.999


@pytest.mark.parametrize("beams", BEAMS)
@pytest.mark.parametrize("distance", [2.5, 8])
def test_a_wall_seen_obliquely_hides_nothing(beams, distance):
    """A facade along the street: neighbouring returns jump by metres far ahead."""
    facade = [np.array([0, -distance, 0]), np.array([0, 1.0, 0])]
    points = scan(rays(BEAMS[beams], sweep=(-88, 60)), [], [GROUND, facade])
    position = (0.5, -0.4, -0.3)
    rows = in_view(points, camera_at(position))
    assert (points[rows, 1] < -distance + 0.1).sum() > 500
    assert visible(points, camera_at(position), rows).mean() > 0.998


def test_only_the_shadow_of_a_pole_is_hidden():
    """Beside the pole the camera sees the wall again, also on the side that the lidar does not."""
    pole = ([6, -0.15, -HEIGHT], [6.3, 0.15, 4])
    position = (0.0, 0.8, -0.3)
    points = scan(rays(BEAMS["64"], step=0.18), [pole, WALL])
    rows = in_view(points, camera_at(position))
    hidden = ~visible(points, camera_at(position), rows)
    occluded = truth(points, rows, position, [pole, WALL])
    assert occluded.sum() > 100
    assert (hidden & occluded).sum() > 0.85 * occluded.sum()
    assert (hidden & ~occluded).sum() < 0.25 * occluded.sum()


def test_a_surface_with_lost_returns_still_hides():
    """Dark paint gives back half of the pulses; nothing is seen through the holes."""
    points = scan(rays(BEAMS["64"], step=0.18), [CAR, WALL])
    dark = (points[:, 0] < 12.1) & (points[:, 2] > -HEIGHT + 0.1)
    points = points[~dark | (np.random.default_rng(1).random(len(points)) < 0.5)]
    position = (0.3, 0.6, -0.6)
    rows = in_view(points, camera_at(position))
    hidden = ~visible(points, camera_at(position), rows)
    sure = truth(points, rows, position, [([8.1, -0.9, -HEIGHT], [11.9, 0.9, -0.5])])
    assert sure.sum() > 300
    assert hidden[sure].mean() > 0.995


def test_a_camera_at_the_lidar_sees_everything():
    points = scan(rays(BEAMS["32"]), [CAR, WALL])
    rows = in_view(points, camera_at((0, 0, 0)))
    assert visible(points, camera_at((0, 0, 0)), rows).all()


def test_order_of_the_scan_does_not_matter():
    points = scan(rays(BEAMS["32"]), [CAR, WALL])
    from_lidar = camera_at((0.7, 0.4, -0.5))
    rows = in_view(points, from_lidar)
    seen = visible(points, from_lidar, rows)
    assert not seen.all()
    order = np.random.default_rng(0).permutation(len(points))
    place = np.argsort(order)
    assert np.array_equal(visible(points[order], from_lidar, place[rows]), seen)
    subset = rows[::3]
    agreement = visible(points, from_lidar, subset) == seen[::3]
    assert agreement.mean() > 0.99


def test_returns_from_the_own_vehicle_hide_nothing():
    points = scan(rays(BEAMS["32"]), [WALL])
    roof = np.array([[0.3, y, z] for y in np.linspace(-0.5, 0.5, 30) for z in np.linspace(-0.8, -0.2, 30)], np.float32)
    from_lidar = camera_at((0.2, 0.0, -0.5))
    rows = in_view(points, from_lidar)
    assert visible(np.concatenate([points, roof]), from_lidar, rows).mean() > 0.999


def test_odd_scans_are_survived():
    from_lidar = camera_at((0.7, 0, -0.5))
    for points in ([[10, 0, 0]], [[10, 0, 0], [10, 0, 0.5]], [[10, 0, 0]] * 5, [[10, 0, 0], [0, 0, 0], [np.nan] * 3]):
        assert visible(np.array(points, np.float32), from_lidar, np.array([0])).all()
    assert visible(np.zeros((0, 3), np.float32), from_lidar, np.zeros(0, np.int64)).shape == (0,)
    around = np.random.default_rng(0).normal(0, 10, (5000, 3)).astype(np.float32)
    assert visible(around, from_lidar, np.arange(5000)).shape == (5000,)


def test_pairing_drops_the_wall_behind_the_car():
    """In the picture of a camera under the lidar, the wall beyond the car's roof carries pixels of the car."""
    position = (0.3, 0.0, -0.8)
    points = scan(rays(BEAMS["64"]), [CAR, WALL])
    view = CameraView(
        "front", 400, 800, np.array([[400, 0, 400], [0, 400, 200], [0, 0, 1.0]]), camera_at(position), None
    )
    frame = Frame(points, np.zeros(len(points), np.float32), Sensor("boxes"), "boxes", views=(view,))
    published, seen = pair(frame, view, occlusion=False), pair(frame, view)
    lost = np.setdiff1d(published.rows, seen.rows)
    assert set(seen.rows) < set(published.rows)
    assert (points[lost, 0] > 8.5).all()
    # the face of the car in the picture, 7.7 m away, half a beam inside its outline
    left, right = 400 - 400 * 0.9 / 7.7, 400 + 400 * 0.9 / 7.7
    top = 200 - 400 * (0.8 - 0.36) / 7.7

    def walls_on_the_car(pairs):
        u, v = pairs.pixels.T
        return ((points[pairs.rows, 0] > 29) & (u > left) & (u < right) & (v > top) & (v < 250)).sum()

    assert walls_on_the_car(published) > 50
    assert walls_on_the_car(seen) == 0
