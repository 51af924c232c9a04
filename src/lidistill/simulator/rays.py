"""The ray caster: Embree, through the package embreex."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

TRIANGLES = 0
BUFFERS = {"vertices": (1, 0x9003, np.float32), "faces": (0, 0x5003, np.int32)}
"""Type and format of three floats and three unsigned numbers a row: ``rtcore_buffer.h`` and ``rtcore_common.h``."""


def ray_caster() -> tuple[Any, Any]:
    """Embree's scene and triangle mesh classes; raises ``InputError`` with the command that installs them."""
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise InputError(
            "the synthetic city needs the ray caster embreex, which is not installed; "
            "install it with: pip install 'lidistill[sim]'"
        ) from error
    return EmbreeScene, TriangleMesh


def triangle_scene(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> Any:
    """An Embree scene of one mesh: ``vertices`` (V, 3), ``faces`` (F, 3).

    embreex copies a mesh number by number through Python objects, a third of the time that a city takes. Where
    Embree's own interface can be reached, the arrays are copied as they are; the scene is the same.
    """
    scene_type, mesh_type = ray_caster()
    embree, device = _embree()
    scene = scene_type(device)
    if embree is None:
        mesh_type(scene, vertices, faces)
        return scene
    geometry = ctypes.c_void_p(embree.rtcNewGeometry(_field(device, 0), TRIANGLES))
    for name, rows in (("vertices", vertices), ("faces", faces)):
        kind, layout, dtype = BUFFERS[name]
        values = np.ascontiguousarray(rows, dtype)
        buffer = embree.rtcSetNewGeometryBuffer(
            geometry, kind, 0, layout, ctypes.c_size_t(12), ctypes.c_size_t(len(values))
        )
        if not buffer:
            raise MemoryError(f"no memory for {len(values)} {name} of a city")
        ctypes.memmove(buffer, values.ctypes.data, values.nbytes)
    embree.rtcCommitGeometry(geometry)
    embree.rtcAttachGeometry(_field(scene, 0), geometry)
    embree.rtcReleaseGeometry(geometry)  # the scene keeps it
    return scene


@cache
def _embree() -> tuple[Any, Any]:
    """Embree's C functions, None where they cannot be reached, and the device that all scenes share.

    The extension module of embreex is linked with Embree, so its functions are found through it (not on Windows). What
    an ``EmbreeScene`` holds is published in embreex's ``rtcore_scene.pxd``: the scene, whether it is committed, the
    device. That is checked here on a living one, within its bounds, before anything relies on it.
    """
    from embreex import rtcore, rtcore_scene

    device = rtcore.EmbreeDevice()
    scene = rtcore_scene.EmbreeScene(device)
    word = ctypes.sizeof(ctypes.c_void_p)
    sizes = [kind.__basicsize__ - object.__basicsize__ for kind in (rtcore.EmbreeDevice, rtcore_scene.EmbreeScene)]
    if sizes != [word, 3 * word] or _field(scene, 2).value != id(device) or not _field(scene, 0):
        return None, device
    try:
        embree = ctypes.CDLL(rtcore_scene.__file__)
        for name in ("rtcNewGeometry", "rtcSetNewGeometryBuffer"):
            getattr(embree, name).restype = ctypes.c_void_p
        for name in ("rtcCommitGeometry", "rtcAttachGeometry", "rtcReleaseGeometry"):
            getattr(embree, name)
    except (OSError, AttributeError):
        return None, device
    return embree, device


def _field(thing: Any, number: int) -> ctypes.c_void_p:
    """A pointer that an object of an extension module holds."""
    return ctypes.c_void_p.from_address(id(thing) + object.__basicsize__ + number * ctypes.sizeof(ctypes.c_void_p))
