"""Segments without pictures: things on a ground are told apart, the ground is none of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lidistill.errors import InputError
from lidistill.transforms.clusters import ABOVE, FEWEST, clusters

HEIGHT = 1.8
BOXES = ((8.0, 0.0), (-6.0, 5.0), (3.0, -9.0))


def street(boxes=BOXES):
    """Points of a plane ``HEIGHT`` below the sensor and of boxes of 1.6 m on it; -1 or the box of every point."""
    rng = np.random.default_rng(0)
    plane = np.column_stack([rng.uniform(-30, 30, (1500, 2)), np.full(1500, -HEIGHT)])
    things = [rng.uniform((x - 0.8, y - 0.8, -HEIGHT), (x + 0.8, y + 0.8, 1.6 - HEIGHT), (400, 3)) for x, y in boxes]
    points = np.concatenate([plane, *things])
    return points + rng.normal(0, 0.01, points.shape), np.repeat([-1, *range(len(boxes))], [1500, *[400] * len(boxes)])


def check(found, points, box, up=(0, 0, 1)):
    """One cluster a box, another for each, of its points well above the ground."""
    assert found.dtype == np.int64
    assert found.shape == (len(points),)
    assert (found[box < 0] == -1).all()
    above = points @ up + HEIGHT
    assert (found[above < 0.5 * ABOVE] == -1).all()
    names = [set(found[(box == number) & (above > 1.5 * ABOVE)]) for number in range(len(BOXES))]
    assert sorted(names, key=min) == [{0}, {1}, {2}]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_box_is_a_cluster_and_the_ground_is_none(dtype):
    points, box = street()
    check(clusters(points.astype(dtype)), points, box)


@pytest.mark.parametrize("degrees", [-12, 6, 18])
def test_a_tilted_ground_is_ground(degrees):
    """At 18 degrees it rises 6 m over 20: no height alone tells it from the boxes."""
    points, box = street()
    turn = Rotation.from_euler("zx", [40, degrees], degrees=True)
    tilted = turn.apply(points)
    check(clusters(tilted), tilted, box, turn.apply([0, 0, 1]))


def test_order_and_density_do_not_matter():
    """The clusters are those of places: a box seen three times as densely is the same one."""
    points, box = street()
    rng = np.random.default_rng(1)
    again = np.concatenate([points, *[points[box == 0] + rng.normal(0, 0.01, (400, 3)) for _ in range(2)]])
    owner = np.concatenate([box, np.zeros(800, int)])
    order = rng.permutation(len(again))
    check(clusters(again[order]), again[order], owner[order])


def test_where_no_ground_is_found_all_points_may_be_in_clusters():
    """In fewer than 200 points none is looked for: the feet of the boxes belong to them."""
    points, box = street()
    few = np.concatenate([np.flatnonzero(box == number)[:65] for number in range(3)])
    found, box = clusters(points[few]), box[few]
    assert points[few][:, 2].min() < 0.2 * ABOVE - HEIGHT
    assert sorted((set(found[box == number]) for number in range(3)), key=min) == [{0}, {1}, {2}]


def test_clouds_with_nothing_to_group():
    points, box = street()
    assert clusters(points[:0]).tolist() == []
    assert clusters(points[box == 1][: FEWEST - 1]).tolist() == [-1] * (FEWEST - 1)
    assert (clusters(points[box < 0]) == -1).all()


def test_a_thing_alone_is_no_cluster():
    """HDBSCAN never takes everything for one."""
    assert (clusters(street(BOXES[:1])[0]) == -1).all()


def test_a_thing_of_few_cells_is_none():
    """However many points it has: a post is not told from noise."""
    points, box = street()
    post = np.random.default_rng(2).uniform((-9, -9, -HEIGHT), (-8.9, -8.9, 1 - HEIGHT), (300, 3))
    found = clusters(np.concatenate([points, post]))
    assert (found[len(points) :] == -1).all()
    check(found[: len(points)], points, box)


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(InputError, match=r"needs scikit-learn; install lidistill\[superpixels\]"):
        clusters(street()[0])
