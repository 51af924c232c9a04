"""Where our corruptions agree with the released scripts on purpose, they do: fixtures 07_robo3d."""

from dataclasses import replace

import numpy as np
import pytest
from corruption_scans import reference

from lidistill import taxonomy
from lidistill.transforms.corruptions import corrupt
from lidistill.transforms.corruptions.beams import beams
from lidistill.transforms.corruptions.classes import GROUND, VEHICLES, ids_of
from lidistill.transforms.corruptions.fog import BACKSCATTER, SURFACE, echo, in_fog
from lidistill.transforms.corruptions.motion_blur import SHAKING, blurred
from lidistill.transforms.corruptions.wet_ground import fresnel

SEED = 1205
CLASSES = {name: taxonomy.load(name).classes for name in ("semantic-kitti-19", "nuscenes-16")}


@pytest.fixture(scope="module")
def fixtures(parity):
    return np.load(parity("07_robo3d/corruptions.npz"))


def numbered(frame, numbers):
    """``time`` carries a number for every point: it shows where the points of the result come from."""
    return replace(frame, time=numbers.astype(np.float32))


def moved(before, after):
    return (before.points != after.points).any(1)


@pytest.mark.parametrize(("name", "rims", "numbers"), [("kitti", (4, 58), (16, 32, 48)), ("nus", (2, 28), (8, 16, 24))])
def test_beams_missing_given_the_list(fixtures, name, rims, numbers):
    frame = reference(name, fixtures)
    beam, count = beams(frame)
    assert count == {"kitti": 64, "nus": 32}[name]
    for number in numbers:
        missing = np.random.RandomState(SEED).choice(np.arange(rims[0], rims[1] + 1), number)
        kept = np.flatnonzero(~np.isin(beam, missing))
        differing = np.setxor1d(kept, fixtures[f"{name}_beam_missing_{number}_kept"])
        # KITTI's scans have no ring: theirs starts a beam ahead of the car, ours where the first point lies
        assert len(differing) <= (0.002 * len(frame) if name == "kitti" else 0)


@pytest.mark.parametrize(("name", "numbers"), [("kitti", (16, 32, 48)), ("nus", (8, 16, 24))])
def test_cross_sensor_keeps_as_much_of_the_same_beams(fixtures, name, numbers):
    frame = reference(name, fixtures)
    beam, _ = beams(frame)
    for severity, number in enumerate(numbers, 1):
        theirs = beam[fixtures[f"{name}_cross_sensor_{number}_kept"]]
        ours = corrupt(numbered(frame, beam), "cross-sensor", severity, np.random.default_rng(0)).time.astype(int)
        assert len(ours) == pytest.approx(len(theirs), rel=0.002)
        if name == "kitti":  # stored beam by beam: every second point in the file is every second one of a beam
            there, here = np.bincount(theirs, minlength=64), np.bincount(ours, minlength=64)
            assert np.abs(there - here).sum() < 0.01 * len(theirs)
        else:  # stored firing by firing: every second point in the file is every point of every second beam
            assert set(np.unique(theirs)) <= set(np.unique(ours))


@pytest.mark.parametrize("alpha", [0.06, 0.01])
def test_table_of_the_fog(fixtures, alpha):
    table = fixtures[f"fog_table_alpha0p{f'{alpha:g}'[2:]}"]
    far = table[:, 0] > 1.25  # before, the receiver's view opens
    # their grid is 200 m / 1999 wide, and stops a step before the surface
    place, response = echo(table[far, 0] - 0.1 + 1e-6, alpha)
    assert np.abs(place - table[far, 1]).max() < 0.003
    assert np.abs(response / table[far, 2] - 1).max() < 0.01
    assert place[-1] == pytest.approx(4.6 if alpha == 0.06 else 4.7)


@pytest.mark.parametrize(("name", "alpha"), [("kitti_fog_seed1205", 0.06), ("kitti_fog_seed3", 0.01)])
def test_fog_given_its_density(fixtures, name, alpha):
    frame = reference("kitti", fixtures)
    theirs, foggy = fixtures[f"{name}_points"], (fixtures[f"{name}_labels"] & 0xFFFF) == 21
    ours = in_fog(frame, alpha, BACKSCATTER[0], np.random.default_rng(0))
    seen = frame.intensity > 0  # where nothing came back, theirs sees no fog either
    assert (moved(frame, ours) != foggy)[seen].sum() <= 1
    assert not foggy[~seen].any()
    assert np.abs(ours.intensity - theirs[:, 3]).max() < 2e-4
    assert (ours.labels[moved(frame, ours)] == 255).all()
    # the uneven place is drawn: it is distributed as theirs
    there = np.linalg.norm(theirs[foggy, :3], axis=1)
    here = np.linalg.norm(ours.points[moved(frame, ours) & seen], axis=1)
    quantiles = (5, 25, 50, 75, 95)
    assert np.percentile(here, quantiles) == pytest.approx(np.percentile(there, quantiles), abs=0.2)


def test_fog_of_nuscenes_differs_only_where_they_compare_rounded_numbers(fixtures):
    frame = reference("nus", fixtures)
    foggy = fixtures["nus_fog_labels"] == 41
    ours = moved(frame, in_fog(frame, 0.06, BACKSCATTER[0], np.random.default_rng(0)))
    distance = np.linalg.norm(frame.points, axis=1)
    hard = frame.intensity * np.exp(-2 * 0.06 * distance)
    soft = echo(distance, 0.06)[1] * frame.intensity * distance**2 * BACKSCATTER[0] / SURFACE
    sure = np.abs(hard - soft) > 0.5
    assert np.array_equal(ours[sure], foggy[sure])
    assert (ours != foggy).mean() > 0.02


@pytest.mark.parametrize("name", ["kitti", "nus"])
def test_motion_blur_given_the_draws(fixtures, name):
    frame, sigma = reference(name, fixtures), SHAKING[0]
    draws = np.random.RandomState(SEED)
    shift = np.array([draws.normal(0, sigma) for _ in "xyz"])
    jitter = np.stack([draws.normal(0, sigma / part, len(frame)) for part in (10, 10, 20)], axis=1)
    ours = blurred(frame.points, shift, jitter, 3 * sigma)
    assert np.abs(ours - fixtures[f"{name}_motion_blur_0p2_points"]).max() < 1e-5


@pytest.mark.parametrize(("name", "classes"), [("kitti", "semantic-kitti-19"), ("nus", "nuscenes-16")])
@pytest.mark.parametrize(("severity", "share"), [(1, "0p75"), (3, "0p95")])
def test_incomplete_echo_leaves_as_many_points_of_every_class(fixtures, name, classes, severity, share):
    frame = reference(name, fixtures)
    ours = corrupt(frame, "incomplete-echo", severity, np.random.default_rng(0), CLASSES[classes])
    theirs = frame.labels[fixtures[f"{name}_incomplete_echo_{share}_kept"]]
    assert np.bincount(ours.labels).tolist() == np.bincount(theirs).tolist()


@pytest.mark.parametrize(
    ("classes", "vehicles", "ground"),
    [
        (
            "semantic-kitti-19",
            {"car", "bicycle", "motorcycle", "truck", "other-vehicle"},
            {"road", "parking", "sidewalk"},
        ),
        (
            "nuscenes-16",
            {"bicycle", "bus", "car", "construction_vehicle", "motorcycle", "trailer", "truck"},
            {"driveable_surface", "other_flat", "sidewalk"},
        ),
    ],
)
def test_classes_are_the_published_ones(fixtures, classes, vehicles, ground):
    names, frame = CLASSES[classes], reference("kitti", fixtures)
    assert {names[i] for i in ids_of(VEHICLES, "vehicles", frame, names)} == vehicles
    assert {names[i] for i in ids_of(GROUND, "ground", frame, names)} == ground | (
        {"other-ground"} if "road" in names else set()
    )


@pytest.mark.parametrize(("name", "number", "severity"), [("kitti_0p006", 186, 1), ("kitti_0p01", 310, 3)])
def test_crosstalk_of_dense_scans_scatters_as_theirs(fixtures, monkeypatch, name, number, severity):
    monkeypatch.setattr(
        "lidistill.transforms.corruptions.crosstalk.DENSE", 1000
    )  # the fixture has every fourth point of a scan
    frame = reference("kitti", fixtures)
    _, share = name.split("_")
    theirs = fixtures[f"kitti_crosstalk_{share}_points"][:, :3]
    theirs = theirs - frame.points[fixtures[f"kitti_crosstalk_{share}_index"]]
    after = corrupt(frame, "crosstalk", severity, np.random.default_rng(0))
    ours = (after.points - frame.points)[moved(frame, after)]
    assert len(ours) == len(theirs) == number
    assert ours.std(0) == pytest.approx(theirs.std(0), rel=0.25)
    assert ours.std() == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(("water", "noise"), [("0p0002", "0p3"), ("0p0012", "0p7")])
def test_light_through_water_is_theirs(fixtures, water, noise):
    """Theirs from our Fresnel powers; their emitted power, noise and division by the angle are written out here."""
    frame = reference("kitti", fixtures)
    names = CLASSES["semantic-kitti-19"]
    ground = np.isin(frame.labels, ids_of(GROUND, "ground", frame, names))
    points, intensity = frame.points[ground].astype(float), frame.intensity[ground].astype(float)
    distance = np.linalg.norm(points, axis=1)
    cosine = -points[:, 2] / distance
    emitted = 15 * np.polyval(np.polyfit(distance, intensity / cosine, 1), distance)
    share = intensity / cosine / emitted
    rho = np.clip(share, 0.05, 1)
    passed = np.maximum(*((1 - reflected) ** 2 * rho / (1 - rho * reflected) for reflected in fresnel(cosine)))
    covered = min(float(water.replace("p", ".")) / 0.0012, 1)
    wet = emitted * cosine * ((1 - covered) * share + covered * passed / np.arccos(cosine))
    wet = np.clip(wet, 0, intensity)
    theirs = fixtures[f"kitti_wet_ground_{water}_{noise}_points"][(~ground).sum() :]
    kept = wet > noise_of(distance, intensity / cosine) * float(noise.replace("p", ".")) * cosine
    assert kept.sum() == len(theirs)
    assert np.abs(points[kept] - theirs[:, :3]).max(initial=0) < 1e-5
    assert np.abs(wet[kept] - theirs[:, 3]).max(initial=0) < 5e-5
    if noise == "0p7":
        assert kept.sum() == 0  # constants for intensities up to 255, scans with intensities up to 1


def noise_of(distance, upright):
    """Their noise, by range: the line through histogram bins that a partial sort happens to put first."""
    counts, ranges, edges = np.histogram2d(distance, upright, (50, 2555), ((10, 70), (5, upright.max())))
    counts[counts == 0] = len(distance)
    lowest = edges[np.argpartition(counts, 2, axis=1)[:, 0]]
    return np.polyval(np.polyfit((ranges[1:] + ranges[:-1]) / 2, lowest, 1), distance)


def test_snow_moves_points_towards_the_lidar_as_theirs(fixtures):
    theirs = fixtures["kitti_snow_points"][(fixtures["kitti_snow_labels"] & 0xFFFF) == 22]
    frame = reference("kitti", fixtures).select(fixtures["kitti_snow_input_rows"])
    ours = corrupt(frame, "snow", 1, np.random.default_rng(0))
    clean = {tuple(np.round(ray, 4)) for ray in rays(frame.points)}
    flakes = ours.points[ours.labels == 255]
    for points in (theirs[:, :3], flakes):
        on_a_ray = [tuple(np.round(ray, 4)) in clean for ray in rays(points)]
        assert np.mean(on_a_ray) > 0.8  # the last digit may round the other way
    # theirs has enlarged flakes: half of them nearer than 10 m, as ours are
    assert np.median(np.linalg.norm(theirs[:, :3], axis=1)) < 10
    assert np.median(np.linalg.norm(flakes, axis=1)) < 10


def rays(points):
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
