"""Pasted instances: whole, with their labels, at their distance, and never in something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.sensing.frame import Frame, Sensor
from lidistill.transforms.paste import COPIES, has_room, paste, pieces

GROUND, WALL, CAR, PERSON = range(4)
Z = -1.8
RNG = np.random.default_rng(7)


def box(center: tuple[float, float], size: tuple[float, float, float], points: int) -> np.ndarray:
    """Points in a box that stands on the ground."""
    low = np.array([center[0] - size[0] / 2, center[1] - size[1] / 2, Z + 0.1])
    return low + RNG.random((points, 3)) * size


def make(things: list[tuple[np.ndarray, int]], token: str = "scan") -> Frame:
    """A flat ground of 60 m x 60 m with things on it; the intensity tells which thing a point is of (0 = ground)."""
    x, y = np.meshgrid(np.arange(-30, 30, 0.4), np.arange(-30, 30, 0.4))
    ground = np.stack([x.ravel(), y.ravel(), np.full(x.size, Z)], 1)
    points = np.concatenate([ground, *(points for points, _ in things)])
    label = np.repeat([GROUND, *(label for _, label in things)], [len(ground), *(len(p) for p, _ in things)])
    number = np.repeat(np.arange(len(things) + 1), [len(ground), *(len(p) for p, _ in things)])
    return Frame(
        points.astype(np.float32), number.astype(np.float32), Sensor("test"), token, labels=label.astype(np.uint8)
    )


OTHER = make(
    [
        (box((10, 0), (4, 1.8, 1.5), 200), CAR),
        (box((-12, 5), (4, 1.8, 1.5), 150), CAR),
        (box((6, -6), (0.6, 0.6, 1.7), 60), PERSON),
        (box((6, -9), (0.6, 0.6, 1.7), 4), PERSON),  # too few points
    ],
    "other",
)
EMPTY = make([])


def test_pieces_are_the_things() -> None:
    assert OTHER.labels is not None
    found = pieces(OTHER.points, OTHER.labels == CAR)
    assert [set(OTHER.intensity[rows]) for rows in sorted(found, key=len)] == [{2.0}, {1.0}]
    assert [len(rows) for rows in sorted(found, key=len)] == [150, 200]
    (person,) = pieces(OTHER.points, OTHER.labels == PERSON)
    assert set(OTHER.intensity[person]) == {3.0}
    assert pieces(OTHER.points, OTHER.labels == 9) == []


def test_pieces_by_the_definition() -> None:
    """Every point within reach of another is in its piece; points of two pieces are further apart."""
    points = np.random.default_rng(1).uniform(-15, 15, (700, 3)).astype(np.float32)
    found = pieces(points, np.ones(len(points), bool))
    assert len(found) > 1
    assert all(len(rows) >= 10 for rows in found)
    together = np.concatenate(found)
    assert len(set(together)) == len(together)
    for rows in found:
        rest = np.setdiff1d(together, rows)
        gaps = np.abs(points[rows, None, :2] - points[None, rest, :2]).max(-1)
        assert gaps.min() > 0.5  # cells that do not touch


def test_copies_are_whole_and_keep_distance_height_label_and_intensity() -> None:
    mixed = paste(EMPTY, OTHER, [CAR], np.random.default_rng(0))
    assert np.array_equal(mixed.points[: len(EMPTY)], EMPTY.points)
    new = mixed.select(np.arange(len(EMPTY), len(mixed)))
    assert set(new.labels) == {CAR}
    for number, size in ((1, 200), (2, 150)):
        original, copies = OTHER.points[OTHER.intensity == number], new.points[new.intensity == number]
        assert 0 < len(copies) <= COPIES * size
        assert len(copies) % size == 0
        for copy in np.split(copies, len(copies) // size):
            np.testing.assert_allclose(np.linalg.norm(copy, axis=1), np.linalg.norm(original, axis=1), rtol=1e-5)
            np.testing.assert_array_equal(copy[:, 2], original[:, 2])
            assert not np.allclose(copy, original)


def test_only_the_classes_that_are_named() -> None:
    assert set(paste(EMPTY, OTHER, [PERSON], np.random.default_rng(0)).intensity) == {0.0, 3.0}
    assert paste(EMPTY, OTHER, [], np.random.default_rng(0)) is EMPTY
    assert paste(EMPTY, EMPTY, [CAR, PERSON], np.random.default_rng(0)) is EMPTY


def test_the_draw_decides() -> None:
    one, again, other = (paste(EMPTY, OTHER, [CAR], np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one.points, again.points)
    assert not np.array_equal(one.points, other.points)


def test_copies_stand_in_nothing() -> None:
    """A wall around the sensor, at the distance of one car, leaves that car no room."""
    angle = np.linspace(-np.pi, np.pi, 4000)
    ring = np.stack([10 * np.cos(angle), 10 * np.sin(angle), np.full(4000, Z + 1)], 1)
    mixed = paste(make([(ring, WALL)]), OTHER, [CAR], np.random.default_rng(0))
    pasted = mixed.intensity[mixed.labels == CAR]
    assert set(pasted) == {2.0}
    for seed in range(5):
        mixed = paste(EMPTY, OTHER, [CAR, PERSON], np.random.default_rng(seed))
        new = mixed.select(np.flatnonzero(mixed.labels != GROUND))
        boxes = [new.points[rows] for label in (CAR, PERSON) for rows in pieces(new.points, new.labels == label)]
        for i, one in enumerate(boxes):
            for two in boxes[:i]:
                gap = np.maximum(one.min(0) - two.max(0), two.min(0) - one.max(0))[:2]
                assert gap.max() > 0


def test_room_needs_ground() -> None:
    car = box((10, 0), (4, 1.8, 1.5), 100).astype(np.float32)
    assert has_room(EMPTY.points, car)
    assert not has_room(EMPTY.points + np.float32([0, 0, -2]), car)  # it would float
    assert not has_room(EMPTY.points + np.float32([0, 0, 2]), car)  # it would be below
    assert not has_room(EMPTY.points[EMPTY.points[:, 0] < 0], car)  # nobody knows
    hit = np.concatenate([EMPTY.points, np.float32([[10, 0, Z + 1]])])
    assert not has_room(hit, car)


def test_a_scan_without_labels_has_nothing_to_give() -> None:
    with pytest.raises(InputError, match="other: has no labels"):
        paste(EMPTY, replace(OTHER, labels=None), [CAR], np.random.default_rng(0))
