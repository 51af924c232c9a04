"""Meshes reach Embree in two ways: as arrays, or through embreex where its insides are not as expected."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("embreex")

from lidistill.simulator import rays


@pytest.fixture
def mesh():
    """A heap of triangles, with views instead of packed arrays."""
    rng = np.random.default_rng(0)
    corners = (rng.normal(0, 5, (400, 1, 3)) + rng.normal(0, 1, (400, 3, 3))).astype(np.float32).reshape(-1, 3)
    return np.asfortranarray(corners), np.arange(1200, dtype=np.int64).reshape(-1, 3)[::-1]


def shoot(scene):
    directions = np.random.default_rng(1).normal(size=(5000, 3)).astype(np.float32)
    hits = scene.run(np.zeros_like(directions), directions, output=1)
    return hits["primID"], hits["tfar"]


def test_both_ways_give_the_same_hits(mesh):
    vertices, faces = mesh
    fast = shoot(rays.triangle_scene(vertices, faces))
    assert len(np.unique(fast[0])) > 100
    assert (fast[0] < 0).any()
    expected = rays.ray_caster()[0]()
    rays.ray_caster()[1](expected, np.ascontiguousarray(vertices), np.ascontiguousarray(faces, np.int32))
    for found, wanted in zip(fast, shoot(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_fast_way_is_taken_here():
    """On Linux and macOS wheels; if this fails after an update of embreex, cities take twice as long."""
    assert rays._embree()[0] is not None


@pytest.mark.parametrize("broken", ["size", "device", "library"])
def test_other_insides_are_noticed(mesh, monkeypatch, broken):
    """Nothing is read from an object that is not laid out as embreex publishes it."""
    from embreex import rtcore_scene

    if broken == "size":

        class Larger(rtcore_scene.EmbreeScene):
            __slots__ = ("more",)

        monkeypatch.setattr(rtcore_scene, "EmbreeScene", Larger)
    elif broken == "device":
        field = rays._field
        monkeypatch.setattr(rays, "_field", lambda thing, number: field(thing, 0 if number == 2 else number))
    else:
        monkeypatch.setattr(rtcore_scene, "__file__", "/nowhere.so")
    embree, device = rays._embree.__wrapped__()
    assert embree is None
    monkeypatch.setattr(rays, "_embree", lambda: (embree, device))
    vertices, faces = np.ascontiguousarray(mesh[0]), np.ascontiguousarray(mesh[1], np.int32)
    found_slowly = shoot(rays.triangle_scene(vertices, faces))
    monkeypatch.undo()
    for found, wanted in zip(found_slowly, shoot(rays.triangle_scene(vertices, faces)), strict=True):
        np.testing.assert_array_equal(found, wanted)
