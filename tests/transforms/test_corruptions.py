"""What holds for all corruptions: chance, order, edge cases, what goes with the points."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from corruption_scans import CITY, street

from lidistill.datasets import robo3d
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.frame import IGNORE
from lidistill.transforms.corruptions import NAMES, SEVERITIES, Corrupted, corrupt

COLUMNS = ("points", "intensity", "ring", "time", "labels")
NEED_LABELS = ("incomplete-echo",)


def same(one, other):
    return all(
        getattr(one, c) is getattr(other, c) is None or np.array_equal(getattr(one, c), getattr(other, c))
        for c in COLUMNS
    )


def run(frame, name, severity=3, seed=0):
    return corrupt(frame, name, severity, np.random.default_rng(seed), CITY.classes)


def test_names_are_those_of_the_released_folders():
    assert tuple(name.replace("_", "-") for name in robo3d.CORRUPTIONS) == NAMES
    assert len(SEVERITIES) == len(robo3d.SEVERITIES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_same_chance_same_scan_and_the_input_stays(name, severity):
    frame = street()
    untouched = frame.select(np.arange(len(frame)))  # a copy
    once, again = run(frame, name, severity), run(frame, name, severity)
    assert same(once, again)
    assert same(frame, untouched)
    assert not same(once, frame)
    assert once.token == frame.token
    assert once.sensor == frame.sensor
    for column in COLUMNS:
        assert getattr(once, column).dtype == getattr(frame, column).dtype


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("wet-ground", "cross-sensor")])
def test_other_chance_other_scan(name):
    assert not same(run(street(), name, seed=0), run(street(), name, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_severity_grows(name):
    frame = street()
    harm = [harm_done(frame, run(frame, name, severity)) for severity in SEVERITIES]
    assert 0 < harm[0] < harm[1] < harm[2]


def harm_done(frame, after):
    """Points lost or without a surface; else how far they moved, else how much darker they are."""
    lost = len(frame) - len(after) + int((after.labels == IGNORE).sum())
    if lost > 0:
        return lost
    step = float(np.linalg.norm(after.points - frame.points, axis=1).mean())
    return step or float(1 - after.intensity.sum() / frame.intensity.sum())


@pytest.mark.parametrize("name", NAMES)
def test_columns_go_with_their_points(name):
    """``time`` numbers the points: ring, and what was not ignored of the labels, are those of the same number."""
    frame = street()
    frame = replace(frame, time=np.arange(len(frame), dtype=np.float32))
    after = run(frame, name)
    rows = after.time.astype(int)
    assert (np.diff(rows) > 0).all()  # the order stays
    assert np.array_equal(after.ring, frame.ring[rows])
    known = after.labels != IGNORE
    assert np.array_equal(after.labels[known], frame.labels[rows][known])
    if name != "motion-blur":
        assert np.array_equal(after.points[known], frame.points[rows][known])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_scale_of_the_intensity_makes_no_difference(name, severity):
    """A lidar that reports 0 to 1 and one that reports 0 to 255 lose the same points."""
    fine = street(scale=85.0)
    fine = replace(fine, intensity=fine.intensity + np.float32(0.25))  # not whole: nothing is rounded
    unit = replace(
        fine,
        intensity=fine.intensity / np.float32(128),
        sensor=replace(fine.sensor, intensity=tuple(value / 128 for value in fine.sensor.intensity)),
    )
    here, there = run(fine, name, severity), run(unit, name, severity)
    assert len(here) == len(there)
    assert np.allclose(here.points, there.points, atol=1e-5)
    assert np.allclose(here.intensity, 128 * there.intensity, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_stay_whole_and_on_the_scale(name):
    frame = street()
    after = run(frame, name)
    assert np.array_equal(after.intensity, np.rint(after.intensity))
    assert after.intensity.min() >= 0
    assert after.intensity.max() <= max(frame.intensity.max(), 86)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [True, False])
def test_an_empty_scan_stays_empty(name, labels):
    frame = street(labels=labels).select(np.zeros(0, int))
    assert len(run(frame, name)) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rings", [True, False])
@pytest.mark.parametrize("row", [0, 5000])
def test_one_point(name, rings, row):
    after = run(street(rings=rings).select(np.array([row])), name)
    assert len(after) in (0, 1)
    assert np.isfinite(after.points).all()


@pytest.mark.parametrize("name", NAMES)
def test_points_at_the_lidar_itself(name):
    frame = street()
    points = frame.points.copy()
    points[:50] = 0
    after = run(replace(frame, points=points), name)
    assert np.isfinite(after.points).all()
    assert np.isfinite(after.intensity).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_lidar_that_reports_one_intensity(name, value):
    frame = street()
    constant = replace(
        frame,
        intensity=np.full(len(frame), value, np.float32),
        sensor=replace(frame.sensor, intensity=(value, 1.0)),
    )
    after = run(constant, name)
    assert (after.intensity == value).all()
    assert not same(after, constant)


@pytest.mark.parametrize("name", NAMES)
def test_a_lidar_of_unknown_statistics(name):
    frame = street()
    after = run(replace(frame, sensor=replace(frame.sensor, intensity=None)), name)
    assert not same(after, frame)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEED_LABELS])
def test_without_labels(name):
    frame = street(labels=False)
    after = run(frame, name)
    assert after.labels is None
    assert not same(after, frame)


@pytest.mark.parametrize("classes", [None, CITY.classes])
def test_incomplete_echo_says_that_it_needs_labels(classes):
    with pytest.raises(InputError, match=r"street/0: .*vehicles.*no labels"):
        corrupt(street(labels=False), "incomplete-echo", 1, np.random.default_rng(0), classes)


@pytest.mark.parametrize("name", ["wet-ground", "incomplete-echo"])
def test_labels_without_class_names_are_no_use(name):
    with pytest.raises(InputError, match="no labels"):
        corrupt(street(), name, 1, np.random.default_rng(0), None)
    with pytest.raises(InputError, match=r"none of the classes .*cat, dog"):
        corrupt(street(), name, 1, np.random.default_rng(0), ("cat", "dog"))


def test_unknown_names_and_severities():
    with pytest.raises(InputError, match="did you mean 'wet-ground'"):
        run(street(), "wet-grounds")
    for severity in (0, 4, "heavy"):
        with pytest.raises(InputError, match="choose 1 \\(light\\)"):
            run(street(), "fog", severity)


@pytest.fixture(scope="module")
def rig(tmp_path_factory, tiny_rig):
    return open_source(str(tiny_rig(tmp_path_factory.mktemp("rig"), frames=3, images=False)))


@pytest.mark.parametrize("name", NAMES)
def test_a_corrupted_source_depends_on_seed_and_frame_only(rig, name):
    source = Corrupted(rig, name, 3, seed=5)
    there = pickle.loads(pickle.dumps(source))
    first = [source[i] for i in range(3)]
    assert all(same(there[i], first[i]) for i in (2, 0, 1, 1))
    assert same(source.split("val")[0], first[2])
    chance = name not in ("wet-ground", "cross-sensor")
    assert all(same(Corrupted(rig, name, 3, seed=6)[i], first[i]) for i in range(3)) != chance


def test_a_corrupted_source_is_a_source(rig):
    source = Corrupted(rig, "fog", 2)
    assert (source.spec, source.sensor, source.taxonomy) == (rig.spec, rig.sensor, rig.taxonomy)
    assert (len(source), dict(source.splits)) == (len(rig), dict(rig.splits))
    assert source.name == f"{rig.name}/fog/2"
    assert len(pickle.dumps(source)) < len(pickle.dumps(rig)) + 1000
    with pytest.raises(InputError, match="did you mean 'fog'"):
        Corrupted(rig, "frog", 2)


def test_frames_differ_in_their_chance(rig):
    """The same points under another token are corrupted otherwise."""

    class Twins:
        taxonomy = rig.taxonomy

        def __getitem__(self, index):
            return replace(rig[0], token=f"twin {index}")

    twins = Corrupted(Twins(), "motion-blur", 1)
    assert not np.array_equal(twins[0].points, twins[1].points)
    assert np.array_equal(twins[1].points, twins[1].points)
