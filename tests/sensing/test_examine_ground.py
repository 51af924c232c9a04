"""The ground is found where it is, whatever the axes and the unit; walls are not taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.sensing.examine.ground import find_ground, unit


def street(seed: int = 0) -> np.ndarray:
    """A road 1.8 m below the sensor, house fronts 8 m to the left and 6 m to the right, clutter."""
    rng = np.random.default_rng(seed)
    road = np.column_stack([rng.uniform(-30, 30, 3000), rng.uniform(-6, 8, 3000), np.full(3000, -1.8)])
    walls = [
        np.column_stack([rng.uniform(-30, 30, 600), np.full(600, y), rng.uniform(-1.8, 8, 600)]) for y in (8.0, -6.0)
    ]
    clutter = rng.uniform((-20, -5, -1.7), (20, 7, 1), (500, 3))
    points = np.concatenate([road, *walls, clutter])
    return points + rng.normal(0, 0.02, points.shape)


def test_height_and_normal_of_a_street() -> None:
    ground = find_ground(street())
    assert ground is not None
    assert ground.level
    assert ground.axis == "z"
    assert ground.height == pytest.approx(1.8, abs=0.1)
    assert ground.tilt < 3


@pytest.mark.parametrize(
    ("order", "signs", "axis"),
    [([2, 1, 0], (1, 1, 1), "x"), ([0, 2, 1], (1, 1, 1), "y"), ([0, 1, 2], (1, -1, -1), "-z")],
)
def test_other_axes_are_named(order: list[int], signs: tuple[int, ...], axis: str) -> None:
    ground = find_ground(street()[:, order] * signs)
    assert ground is not None
    assert not ground.level
    assert ground.axis == axis


@pytest.mark.parametrize(("factor", "said"), [(1, None), (1000, "millimetres"), (100, "centimetres"), (3.28, "feet")])
def test_unit_is_told_by_the_height(factor: float, said: str | None) -> None:
    ground = find_ground(street() * factor)
    assert ground is not None
    assert unit(ground.height) == said


def test_no_ground_in_a_ball_or_in_a_handful_of_points() -> None:
    ball = np.random.default_rng(0).normal(0, 10, (3000, 3))
    assert find_ground(ball) is None
    assert find_ground(ball[:50]) is None
