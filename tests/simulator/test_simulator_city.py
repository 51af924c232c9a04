"""The synthetic city: what is in it, and that every sensor tells the truth about it."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.simulator import render, scene, simulate_frame
from lidistill.simulator.camera import pixel_rays
from lidistill.simulator.materials import raw_id, raw_ids
from lidistill.simulator.scene import from_lidar
from lidistill.simulator.sensors import RIGS
from lidistill.taxonomy import load

pytest.importorskip("embreex")
TAXONOMY = load("city-16")


@pytest.fixture(scope="module")
def street():
    return scene("spinning-32", "grid", 1, seed=0)


@pytest.fixture(scope="module")
def frame(street):
    return simulate_frame(street, 1)


@pytest.mark.parametrize("style", ["grid", "old-town"])
def test_all_classes_occur_with_sane_frequencies(style):
    counts = np.array(
        [
            sum(np.bincount(TAXONOMY.apply(f.raw_labels), minlength=256)[:16] for f in frames)
            for frames in (
                [simulate_frame(s, i, images=False) for i in (0, 3)]
                for s in (scene("spinning-32", style, k, seed=5) for k in range(8))
            )
        ]
    )
    share = dict(zip(TAXONOMY.classes, counts.sum(0) / counts.sum(), strict=True))
    scenes = dict(zip(TAXONOMY.classes, (counts >= 15).mean(0), strict=True))
    bounds = {
        "driveable_surface": (0.2, 0.5), "vegetation": (0.05, 0.25), "manmade": (0.1, 0.35), "sidewalk": (0.04, 0.15),
        "terrain": (0.01, 0.1), "car": (0.03, 0.12),
    }  # fmt: skip
    for name, value in share.items():
        low, high = bounds.get(name, (0.0008, 0.12))
        assert low < value < high, (name, value)
    assert all(value >= 0.25 for value in scenes.values()), scenes
    assert np.mean(list(scenes.values())) > 0.8


def test_raw_ids_are_those_of_the_taxonomy():
    ids = raw_ids()
    assert ids["road"] == 1
    assert len(ids) == 37
    assert TAXONOMY.classes[TAXONOMY.apply(np.array([ids["bicyclist"]]))[0]] == "bicycle"


def test_points_stand_where_the_rays_hit(frame):
    """Rays from the lidar to its own points meet a surface at that range, but for range noise and the moving sensor."""
    distance = np.linalg.norm(frame.points, axis=1)
    hit, _ = frame.cast(np.zeros(3), frame.points / distance[:, None])
    straight = np.abs(frame.time) < 0.002  # the others were seen from where the sensor was then
    error = np.abs(hit - distance)[straight]
    assert straight.sum() > 1000
    assert np.mean(error < 0.12) > 0.97
    assert 0.005 < np.median(error) < 0.03


def test_pixels_and_points_agree_where_the_camera_sees_the_point(frame, street):
    hidden = []
    for camera, view in zip(street.rig.cameras, frame.views, strict=True):
        local = frame.points @ view.from_lidar[:3, :3].T + view.from_lidar[:3, 3]
        uvw = local @ view.intrinsics.T
        u, v, z = uvw[:, 0] / uvw[:, 2], uvw[:, 1] / uvw[:, 2], uvw[:, 2]
        inside = (z > 1) & (u > 0) & (v > 0) & (u < view.width - 1) & (v < view.height - 1)
        origin = -view.from_lidar[:3, :3].T @ view.from_lidar[:3, 3]
        rays = frame.points[inside] - origin
        length = np.linalg.norm(rays, axis=1)
        seen = frame.cast(origin, rays / length[:, None])[0] > length - 0.15
        labels = frame.image_labels[camera.name][np.round(v[inside]).astype(int), np.round(u[inside]).astype(int)]
        same = TAXONOMY.apply(labels) == TAXONOMY.apply(frame.raw_labels[inside])
        assert inside.sum() > 500
        assert same[seen].mean() > 0.93
        assert np.mean(~seen) < 0.4
        hidden.append(same[~seen])
    hidden = np.concatenate(hidden)
    assert len(hidden) > 100
    assert hidden.mean() < 0.8  # what the lidar sees past the camera has another label in the picture


def test_render_matches_the_frame_and_its_calibration(street, frame):
    camera = street.rig.cameras[0]
    image, label = render(street, camera, street.world.ego_pose(0.0))
    assert image.shape == (camera.height, camera.width, 3)
    assert image.dtype == label.dtype == np.uint8
    assert len(np.unique(label)) > 8
    assert image.std() > 15
    ray = pixel_rays(camera)[100 * camera.width + 200].astype(float)
    back = camera.intrinsics() @ ray
    np.testing.assert_allclose(back[:2] / back[2], (200, 100), atol=1e-3)
    np.testing.assert_allclose(frame.views[0].from_lidar, from_lidar(street.rig, camera))


@pytest.mark.parametrize("sensor", sorted(RIGS))
def test_every_sensor_keeps_its_limits(sensor):
    lidar = RIGS[sensor].lidar
    s = scene(sensor, "old-town", 2, seed=1)
    f = simulate_frame(s, 0, images=False)
    distance = np.linalg.norm(f.points, axis=1)
    assert 8_000 < len(f.points) <= len(lidar.elevations) * lidar.azimuths
    assert distance.max() < lidar.max_range + 1
    assert f.points.dtype == f.intensity.dtype == np.float32
    assert f.ring.min() >= 0
    assert f.ring.max() < len(lidar.elevations)
    assert np.abs(f.time).max() <= 0.5 / lidar.rate + 1e-6
    top = 1.0 if lidar.scale <= 1 else 255.0
    assert f.intensity.min() >= 0
    assert 0.02 * top < f.intensity.mean() < 0.6 * top
    assert f.intensity.max() <= top
    ahead = {"+x": f.points[:, 0], "+y": f.points[:, 1]}[lidar.forward]
    if lidar.sweep < 90:
        assert ahead.min() > 0
    road = f.points[f.raw_labels == raw_id("road")]
    near = np.linalg.norm(road, axis=1) < 12
    height = lidar.mount.position[2]
    if near.any():
        assert abs(np.median(road[near, 2]) + height) < 0.35


def test_frames_move_along_the_street_and_repeat_exactly(street):
    a, b = simulate_frame(street, 0, images=False), simulate_frame(street, 3, images=False)
    step = np.linalg.norm(b.to_world[:3, 3] - a.to_world[:3, 3])
    assert step == pytest.approx(1.5 * street.world.city.ego[1], rel=0.05)
    again = simulate_frame(scene("spinning-32", "grid", 1, seed=0), 3, images=False)
    np.testing.assert_array_equal(again.points, b.points)
    np.testing.assert_array_equal(again.intensity, b.intensity)
    other = simulate_frame(scene("spinning-32", "grid", 1, seed=1), 3, images=False)
    assert len(other.points) != len(b.points)


def test_sensors_share_the_city_but_not_the_style():
    a, b = scene("spinning-32", "grid", 0, seed=3), scene("solid-state", "grid", 0, seed=3)
    np.testing.assert_array_equal(a.world.city.static.vertices, b.world.city.static.vertices)
    assert a.weather.name == b.weather.name
    other = scene("spinning-32", "old-town", 0, seed=3).world.city.static
    assert other.vertices.shape != a.world.city.static.vertices.shape


def test_rolling_capture_shifts_what_the_moving_sensor_sees_last(street):
    """At the edges of the sweep the sensor stands elsewhere: rays to those points start off the reference origin."""
    f = simulate_frame(street, 1, images=False)
    distance = np.linalg.norm(f.points, axis=1)
    elevation = np.degrees(np.arcsin(f.points[:, 2] / distance))
    beam = np.array(street.rig.lidar.elevations)[f.ring]
    early, middle = np.abs(f.time) > 0.022, np.abs(f.time) < 0.003
    flat = distance < 8
    assert np.abs(elevation - beam)[middle & flat].mean() < 0.5 * np.abs(elevation - beam)[early & flat].mean()


def test_unknown_names_and_frames_are_explained(street):
    with pytest.raises(InputError, match="did you mean 'spinning-32'"):
        scene("spinning-23")
    with pytest.raises(InputError, match="did you mean 'old-town'"):
        scene("spinning-32", "oldtown")
    with pytest.raises(InputError, match="count from 0"):
        simulate_frame(street, -1)
    blind = simulate_frame(street, 0, images=False)
    with pytest.raises(InputError, match="without images"):
        blind.views[0].image()
