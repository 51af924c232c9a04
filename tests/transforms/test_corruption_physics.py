"""Each corruption against the physics it claims, without reference data."""

from dataclasses import replace

import numpy as np
import pytest
from corruption_scans import BEAMS, CITY, street

from lidistill import taxonomy
from lidistill.sensing.frame import IGNORE, Frame, Sensor
from lidistill.transforms.corruptions import corrupt
from lidistill.transforms.corruptions.beams import beams
from lidistill.transforms.corruptions.classes import GROUND, VEHICLES, ids_of
from lidistill.transforms.corruptions.fog import BACKSCATTER, EXTINCTION, LIGHT, PULSE, echo, in_fog
from lidistill.transforms.corruptions.reflectivity import white
from lidistill.transforms.corruptions.snow import BLIND, DIVERGENCE, FLAKE, SNOWFALL, SPEED, Snowfall, flakes
from lidistill.transforms.corruptions.wet_ground import INSIDE, darkening, fresnel, usual_return

CAR, ROAD = CITY.classes.index("car"), CITY.classes.index("driveable_surface")


def run(frame, name, severity=3, seed=0):
    return corrupt(frame, name, severity, np.random.default_rng(seed), CITY.classes)


def distance(frame):
    return np.linalg.norm(frame.points, axis=1)


# ---- fog


def test_echo_of_fog_by_plain_integration():
    """P(R) / beta of the lidar equation on a fine grid of droplets, for a surface far behind."""
    alpha, meter = 0.02, np.arange(0.9, 30, 0.002)
    power = []
    for arrival in np.arange(2, 12, 0.05):
        time = 2 * (arrival - meter) / LIGHT
        pulse = np.where((time >= 0) & (time <= 2 * PULSE), np.sin(np.pi * time / (2 * PULSE)) ** 2, 0)
        seen = np.clip((meter - 0.9) / 0.1, 0, 1)
        power.append((pulse * np.exp(-2 * alpha * meter) * seen / meter**2).sum() * 0.002 * 2 / LIGHT)
    place, response = echo(np.array([100.0]), alpha)
    assert response[0] == pytest.approx(max(power), rel=0.005)
    assert place[0] == pytest.approx(2 + 0.05 * np.argmax(power), abs=0.1)


def test_fog_dims_surfaces_and_hides_the_far_ones():
    frame = street()
    frame = replace(frame, intensity=frame.intensity + np.float32(0.5))
    after = in_fog(frame, 0.03, BACKSCATTER[1], np.random.default_rng(0))
    hidden = after.labels == IGNORE
    r = distance(frame)
    assert hidden.any()
    assert r[hidden].min() >= r[~hidden].max()  # the fog outshines all that is farther than some range
    expected = frame.intensity * np.exp(-2 * 0.03 * r)
    assert np.allclose(after.intensity[~hidden], expected[~hidden], rtol=1e-4)
    place, _ = echo(r, 0.03)
    assert (distance(after)[hidden] <= 2 * place[hidden] + 1e-3).all()
    assert np.abs(np.cross(after.points[hidden], frame.points[hidden])).max() < 1e-2  # along the ray


def test_fog_draws_one_of_the_densities_for_every_scan():
    frame = Frame(
        np.array([[2.0, 0, 0]], np.float32), np.array([50.5], np.float32), Sensor("one", intensity=(20, 20)), "one"
    )
    two = replace(frame, points=np.repeat(frame.points, 2, 0), intensity=np.array([50.5, 3.25], np.float32))
    seen = {round(float(run(two, "fog", 1, seed).intensity[0]), 3) for seed in range(60)}
    assert seen == {round(50.5 * float(np.exp(-2 * alpha * 2)), 3) for alpha in EXTINCTION}


# ---- wet ground


def test_fresnel_powers_of_water():
    straight, grazing = fresnel(np.array([1.0])), fresnel(np.array([1e-6]))
    assert straight[0] == pytest.approx([((1.33 - 1.0003) / (1.33 + 1.0003)) ** 2])
    assert straight[0] == pytest.approx(straight[1])
    assert grazing[0] == pytest.approx([1], abs=1e-4)
    brewster = np.cos(np.arctan(1.33 / 1.0003))
    assert fresnel(np.array([brewster]))[1] == pytest.approx([0], abs=1e-9)


def test_share_thrown_back_into_water_by_integration():
    """Diffuse light from inside: Fresnel within the cone of total reflection, everything outside it."""
    inside = (np.arange(20000) + 0.5) / 20000 * np.pi / 2
    sine = np.sin(inside) * 1.33 / 1.0003
    outside = np.sqrt(np.clip(1 - sine**2, 0, 1))
    reflected = np.where(sine < 1, np.mean(fresnel(outside), axis=0), 1)
    weight = np.sin(inside) * np.cos(inside)
    assert (reflected * weight).sum() / weight.sum() == pytest.approx(INSIDE, abs=0.01)


def test_wet_ground_is_darker_the_flatter_the_view():
    cosine = np.cos(np.radians([0, 30, 60, 75, 85, 89]))
    dark = darkening(cosine, np.full(6, 0.15))
    assert (np.diff(dark)[2:] < -0.1).all()
    assert dark[:3] == pytest.approx(dark[0], abs=0.02)  # about Brewster's angle all of one polarisation passes
    assert dark[0] == pytest.approx(0.58, abs=0.03)  # wet asphalt sends back little more than half
    assert dark[-1] < 0.02
    assert darkening(np.array([0.9]), np.array([1.0])) > darkening(np.array([0.9]), np.array([0.1]))


def test_usual_return_ignores_markings():
    rng = np.random.default_rng(0)
    cosine = rng.uniform(0.05, 0.6, 3000)
    dry = 0.1 + 0.2 * cosine + rng.normal(0, 0.01, 3000)
    dry[rng.choice(3000, 300, replace=False)] = 2.0
    assert np.abs(usual_return(cosine, dry) - (0.1 + 0.2 * cosine)).max() < 0.01


def test_rain_touches_ground_only_and_takes_the_far_ground_first():
    frame = street()
    after = run(frame, "wet-ground", 3)
    ground = np.isin(frame.labels, ids_of(GROUND, "ground", frame, CITY.classes))
    after_ground = np.isin(after.labels, ids_of(GROUND, "ground", frame, CITY.classes))
    assert np.array_equal(after.points[~after_ground], frame.points[~ground])
    assert np.array_equal(after.intensity[~after_ground], frame.intensity[~ground])
    near = run(frame, "wet-ground", 2)
    kept = np.isin(near.labels, ids_of(GROUND, "ground", frame, CITY.classes))
    assert 0 < distance(near)[kept].max() < distance(frame)[ground].max()


def test_ground_is_found_where_there_are_no_labels():
    known, unknown = run(street(), "wet-ground"), run(street(labels=False), "wet-ground")
    assert len(unknown) == pytest.approx(len(known), rel=0.02)


def test_without_ground_the_scan_stays():
    frame = street()
    walls = frame.select(frame.points[:, 2] > 0)
    assert run(walls, "wet-ground") is walls
    assert run(replace(walls, labels=None), "wet-ground").points.shape == walls.points.shape


# ---- snow


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize(("reach", "reflectivity"), [(15.0, 0.3), (40.0, 0.1)])
def test_flakes_are_as_many_and_as_near_as_flakes_drawn_one_by_one(level, reach, reflectivity):
    fall, rng = Snowfall.of(SNOWFALL[level], SPEED[level]), np.random.default_rng(1)
    volume = np.pi / 4 * DIVERGENCE**2 * reach**3 / 3
    pulses, power = int(6e5 / (fall.number * volume)), reflectivity / reach**2
    found, place, strength = flakes(np.full(pulses, power), np.full(pulses, reach), fall, rng)
    owner = np.repeat(np.arange(pulses), rng.poisson(fall.number * volume, pulses))
    away = reach * np.cbrt(rng.random(len(owner)))
    share = np.minimum(rng.exponential(fall.size, len(owner)) / (DIVERGENCE * away), 1) ** 2
    shining = np.where(away > BLIND, FLAKE * share / away**2, 0)
    strongest = np.zeros(pulses)
    np.maximum.at(strongest, owner, shining)
    where = away[(shining == strongest[owner]) & (shining > power)]
    assert len(where) > 400
    assert len(found) == pytest.approx(len(where), abs=5 * np.sqrt(len(where)))
    for quantile in (25, 50, 75):
        assert np.percentile(place, quantile) == pytest.approx(np.percentile(where, quantile), rel=0.1)
        brightest = np.percentile(strongest[strongest > power], quantile)
        assert np.percentile(strength, quantile) == pytest.approx(brightest, rel=0.2)
    assert (strength >= power * (1 - 1e-9)).all()
    assert len(np.unique(found)) == len(found)


def test_snow_shortens_the_view_as_weather_services_say():
    """Visibility, 3 / extinction: light snow above 1 km, heavy below."""
    visibility = [3 / Snowfall.of(rate, speed).extinction for rate, speed in zip(SNOWFALL, SPEED, strict=True)]
    assert visibility[0] > 2000 > visibility[2] > 500
    assert visibility[0] > visibility[1] > visibility[2]


def test_flakes_lie_before_the_surface_and_send_little_back():
    frame = street()
    frame = replace(frame, time=np.arange(len(frame), dtype=np.float32))
    after = run(frame, "snow")
    rows, snow = after.time.astype(int), after.labels == IGNORE
    assert 0.01 < snow.mean() < 0.3
    assert (distance(after)[snow] < distance(frame)[rows][snow]).all()
    assert (distance(after)[snow] >= BLIND - 1e-3).all()
    assert np.abs(np.cross(after.points[snow], frame.points[rows][snow])).max() < 1e-2
    assert after.intensity[snow].mean() < 0.2 * white(frame)
    assert (after.intensity[~snow] <= frame.intensity[rows][~snow]).all()


# ---- beams


def test_missing_beams_are_whole_and_not_at_the_rims():
    frame = street()
    for severity, number in enumerate((7, 12, 16), 1):
        missing = set()
        for seed in range(20):
            after = run(frame, "beam-missing", severity, seed)
            gone = set(range(BEAMS)) - set(after.ring.tolist())
            assert len(gone) == number
            assert len(after) == np.isin(frame.ring, list(gone), invert=True).sum()
            missing |= gone
        assert min(missing) >= 2
        assert max(missing) <= 28


@pytest.mark.parametrize(("severity", "left"), [(1, 24), (2, 16), (3, 8)])
def test_cross_sensor_halves_every_beam_that_is_left(severity, left):
    frame = street()
    after = run(frame, "cross-sensor", severity)
    before, now = np.bincount(frame.ring, minlength=BEAMS), np.bincount(after.ring, minlength=BEAMS)
    assert (now > 0).sum() == left
    assert np.array_equal(now[now > 0], (before[now > 0] + 1) // 2)


def test_cross_sensor_takes_every_second_azimuth_whatever_the_order():
    frame = street()
    column = np.argsort(np.arctan2(frame.points[:, 1], frame.points[:, 0]), kind="stable")
    after = run(frame.select(column), "cross-sensor", 3)
    assert (np.bincount(after.ring) > 0).sum() == 8


@pytest.mark.parametrize("sensor_rings", [BEAMS, None])
def test_beams_are_found_by_their_elevation(sensor_rings):
    frame = street(rings=False, sensor_rings=sensor_rings)
    mixed = frame.select(np.random.default_rng(0).permutation(len(frame)))
    truth = street().ring[np.random.default_rng(0).permutation(len(frame))]
    beam, count = beams(mixed)
    assert count == BEAMS
    assert (beam == truth).mean() > 0.99


@pytest.mark.parametrize("backwards", [False, True])
def test_beams_are_found_by_the_order_of_the_scan(backwards):
    frame = street(rings=False)
    # a vehicle on a slope: elevation says nothing any more
    tilted = frame.points.copy()
    tilted[:, 2] += 0.25 * tilted[:, 0]
    if backwards:
        tilted[:, 1] *= -1
    beam, count = beams(replace(frame, points=tilted))
    assert count == BEAMS
    assert (beam == street().ring).mean() > 0.99


def test_a_ring_column_of_zeros_is_no_ring():
    frame = street()
    zeros = replace(frame, ring=np.zeros(len(frame), np.int32))
    assert (beams(zeros)[0] == frame.ring).mean() > 0.99


# ---- crosstalk, motion blur, incomplete echo


def test_crosstalk_takes_intensities_that_there_are():
    frame = street()
    after = run(frame, "crosstalk", 3)
    moved = (after.points != frame.points).any(1)
    assert moved.sum() == int(0.05 * len(frame))
    assert np.array_equal(moved, after.labels == IGNORE)
    assert set(after.intensity) <= set(frame.intensity)
    assert (after.points - frame.points)[moved].std() == pytest.approx(3, rel=0.1)


def test_motion_blur_shifts_and_trembles():
    frame = street()
    shifts = []
    for seed in range(60):
        step = run(frame, "motion-blur", 1, seed).points - frame.points
        shifts.append(step.mean(0))
        assert step.std(0) == pytest.approx([0.02, 0.02, 0.01], rel=0.1)
    assert np.std(shifts) == pytest.approx(0.2, rel=0.2)


def test_incomplete_echo_takes_vehicles_only():
    frame = street()
    after = run(frame, "incomplete-echo", 3)
    before, now = np.bincount(frame.labels, minlength=17), np.bincount(after.labels, minlength=17)
    assert now[CAR] == before[CAR] - int(0.95 * before[CAR])
    assert np.array_equal(np.delete(now, CAR), np.delete(before, CAR))


def test_a_handful_of_points_of_a_vehicle_stays():
    frame = street()
    cars = np.flatnonzero(frame.labels == CAR)
    few = frame.select(np.concatenate([np.flatnonzero(frame.labels == ROAD), cars[:10]]))
    assert len(run(few, "incomplete-echo")) == len(few)


def test_every_class_list_has_ground_and_vehicles():
    frame = street()
    for name in taxonomy.names():
        classes = taxonomy.load(name).classes
        ground = {classes[i] for i in ids_of(GROUND, "ground", frame, classes)}
        vehicles = {classes[i] for i in ids_of(VEHICLES, "vehicles", frame, classes)}
        assert not ground & vehicles
        assert not {word for found in ground for word in ("terrain", "vegetation") if word in found.lower()}
