"""A sector of one scan in another: the right points change places, with all that belongs to them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.sensing.frame import Frame, Sensor
from lidistill.transforms.polar_mix import in_sector, joined, polar_mix, swap_sector

SENSOR = Sensor("test-16")


def scan(first: int, seed: int, points: int = 600) -> Frame:
    """Random points; ``ring`` numbers them from ``first`` on, and every other column follows from that number."""
    rng = np.random.default_rng(seed)
    number = np.arange(first, first + points)
    return Frame(
        rng.uniform(-40, 40, (points, 3)).astype(np.float32),
        (number * 0.5).astype(np.float32),
        SENSOR,
        f"scan/{first}",
        ring=number.astype(np.int32),
        time=(number * 0.25).astype(np.float32),
        labels=(number % 7).astype(np.uint8),
    )


FRAME, OTHER = scan(0, 1), scan(1000, 2)


@pytest.mark.parametrize(("start", "width"), [(0.0, math.pi), (2.5, 1.5), (-3.0, 6.0), (math.pi, 0.3)])
def test_the_sector_is_the_others_and_the_rest_is_its_own(start: float, width: float) -> None:
    mixed = swap_sector(FRAME, OTHER, start, width)
    azimuth = np.arctan2(mixed.points[:, 1], mixed.points[:, 0])
    turn = (azimuth - start) % (2 * math.pi)
    foreign = mixed.ring >= 1000
    assert 0 < foreign.sum() < len(mixed)
    assert (turn[foreign] < width).all()
    assert (turn[~foreign] >= width).all()
    # none is lost and none comes twice
    inside = {one.token: in_sector(one.points, start, width) for one in (FRAME, OTHER)}
    assert sorted(mixed.ring) == [*FRAME.ring[~inside["scan/0"]], *OTHER.ring[inside["scan/1000"]]]


def test_every_column_stays_with_its_point() -> None:
    mixed = swap_sector(FRAME, OTHER, 0.3, 2.0)
    everything = np.concatenate([FRAME.points, OTHER.points])
    row = np.where(mixed.ring < 1000, mixed.ring, mixed.ring - 1000 + len(FRAME))
    np.testing.assert_array_equal(mixed.points, everything[row])
    np.testing.assert_array_equal(mixed.labels, mixed.ring % 7)
    np.testing.assert_array_equal(mixed.intensity, mixed.ring * 0.5)
    np.testing.assert_array_equal(mixed.time, mixed.ring * 0.25)
    assert (mixed.token, mixed.sensor) == (FRAME.token, SENSOR)


def test_the_two_halves_make_two_whole_scans() -> None:
    one, other = swap_sector(FRAME, OTHER, 1.0, math.pi), swap_sector(OTHER, FRAME, 1.0, math.pi)
    assert sorted([*one.ring, *other.ring]) == sorted([*FRAME.ring, *OTHER.ring])


def test_half_a_circle_from_a_drawn_azimuth_on() -> None:
    mixed = [polar_mix(FRAME, OTHER, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(mixed[0].ring, mixed[1].ring)
    assert not np.array_equal(np.sort(mixed[0].ring), np.sort(mixed[2].ring))
    shares = [
        (polar_mix(FRAME, OTHER, np.random.default_rng(seed)).ring >= 1000).sum() / len(OTHER) for seed in range(50)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def test_only_scans_of_one_sensor_with_labels_are_mixed() -> None:
    with pytest.raises(InputError, match="only scans of one sensor"):
        joined(FRAME, replace(OTHER, sensor=Sensor("another")))
    with pytest.raises(InputError, match="scan/1000: has no labels"):
        joined(FRAME, replace(OTHER, labels=None))
    assert joined(FRAME, replace(OTHER, ring=None)).ring is None
