"""What a calibration that does not fit may be instead: the usual mistakes, each undone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from lidistill.sensing.examine.alignment import Calibration, Change, Look, given
from lidistill.sensing.frame import CameraView, Matrix
from lidistill.sensing.rigid import invert

BODY_TO_OPTICAL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
"""From x ahead, y left, z up to x right, y down, z ahead."""
RESOLUTIONS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0, 3.0, 4.0)
"""Ratios between the size of the pictures that were calibrated and that of those recorded."""
CAMERA_AXES = (
    ("camera-axes", ((0, 0, 1), (-1, 0, 0), (0, -1, 0)), "from_lidar turns to camera axes twice", "leave out one turn"),
    ("camera-axes", ((1, 0, 0), (0, -1, 0), (0, 0, -1)), "from_lidar ends in axes x right, y up, z backward",
     "flip the signs of its second and third row"),
    ("camera-axes", ((-1, 0, 0), (0, -1, 0), (0, 0, 1)), "the camera is upside down", "flip the signs of two rows"),
    ("camera-axes", ((0, -1, 0), (1, 0, 0), (0, 0, 1)), "the camera lies on its side", "turn it by 90 degrees"),
    ("camera-axes", ((0, 1, 0), (-1, 0, 0), (0, 0, 1)), "the camera lies on its side", "turn it by -90 degrees"),
    ("mirrored", ((-1, 0, 0), (0, 1, 0), (0, 0, 1)), "the pictures (or the scans) are mirrored", "mirror them back"),
    ("mirrored", ((1, 0, 0), (0, -1, 0), (0, 0, 1)), "the pictures stand on their heads, mirrored", "flip them back"),
)  # fmt: skip
"""Axes that a camera's calibration may end in instead: code, turn (3, 3) to x right, y down, z forward, words."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mistake (``code`` for machines), what it is called, what to do, and the ``change`` that undoes it.

    ``scans`` = the mistake is in the scans, hence the same for all cameras; ``camera`` = the one that this one
    is exchanged with.
    """

    code: str
    says: str
    fix: str
    change: Change
    scans: bool = False
    camera: str | None = None


def hypotheses(look: Look, *, ground: bool) -> Iterator[Hypothesis]:
    """The mistakes that may explain the camera of ``look``, commonest first.

    ``ground`` = the ground was found below the sensor, so that the scan's z axis is beyond doubt.
    """
    yield from _matrices()
    yield from _swapped(look)
    yield from _sizes(look.view)
    yield from _scan_axes(ground)
    yield from _camera_axes()


def _matrices() -> Iterator[Hypothesis]:
    yield Hypothesis(
        "inverted-matrix",
        "from_lidar is inverted: it takes camera to lidar coordinates",
        "write the inverse matrix into from_lidar",
        _matrix(invert),
    )
    yield Hypothesis(
        "transposed-rotation",
        "the rotation in from_lidar is transposed",
        "transpose the 3 x 3 rotation and keep the translation",
        _matrix(lambda matrix: _rigid(matrix[:3, :3].T, matrix[:3, 3])),
    )
    yield Hypothesis(
        "transposed-rotation",
        "the rotation of the camera is transposed (its quaternion is conjugated), its place is right",
        "transpose the rotation of the camera's pose in the lidar frame, then invert that pose into from_lidar",
        _matrix(lambda matrix: invert(_rigid(matrix[:3, :3], invert(matrix)[:3, 3]))),
    )
    yield Hypothesis(
        "camera-axes",
        "from_lidar ends in axes of the vehicle kind (x ahead, y left, z up), not in those of a camera",
        "turn to camera axes after it: x right, y down, z forward (in ROS the optical frame)",
        _matrix(lambda matrix: _rigid(BODY_TO_OPTICAL) @ matrix),
    )


def _matrix(change: Callable[[Matrix], Matrix]) -> Change:
    return lambda look: replace(given(look), from_lidar=change(look.view.from_lidar))


def _swapped(look: Look) -> Iterator[Hypothesis]:
    """Exchanged with each other camera: ``from_lidar`` alone, then all of the calibration where that differs."""
    mine = repr(look.view.name)
    for name, other in look.others.items():
        if np.allclose(look.view.intrinsics, other.intrinsics):
            says = f"the pictures are those of camera {name!r}, or its from_lidar stands here"
            fix = f"exchange from_lidar (or the pictures) of {mine} and {name!r}"
            yield Hypothesis("swapped-cameras", says, fix, _other(name, False), camera=name)
            continue
        says = f"from_lidar is that of camera {name!r}; the intrinsics are right"
        fix = f"exchange from_lidar of {mine} and {name!r}, leave their intrinsics and pictures"
        yield Hypothesis("swapped-cameras", says, fix, _other(name, False), camera=name)
        says = f"the pictures are those of camera {name!r}, or its whole calibration stands here"
        fix = f"exchange the pictures (or the whole calibrations, with intrinsics) of {mine} and {name!r}"
        yield Hypothesis("swapped-cameras", says, fix, _other(name, True), camera=name)


def _other(name: str, whole: bool) -> Change:
    def change(look: Look) -> Calibration:
        other = look.others.get(name, look.view)
        return Calibration(other.from_lidar, other.intrinsics if whole else look.view.intrinsics)

    return change


def _sizes(view: CameraView) -> Iterator[Hypothesis]:
    # the optical axis is near the middle of nearly every picture: that alone gives two guesses
    middle = [view.width / (2 * view.intrinsics[0, 2] + 1), view.height / (2 * view.intrinsics[1, 2] + 1)]
    for factor in (*RESOLUTIONS, *(f for f in middle if 0.05 < f < 20 and abs(np.log(f)) > 0.1)):
        yield Hypothesis(
            "picture-size",
            f"the intrinsics belong to pictures of {view.height / factor:.0f} x {view.width / factor:.0f} pixels "
            f"(height x width), these have {view.height} x {view.width}",
            f"multiply fx, fy, cx and cy by {factor:.4g}",
            _scaled(factor),
        )


def _scaled(factor: float) -> Change:
    def change(look: Look) -> Calibration:
        matrix = look.view.intrinsics.copy()
        # whole numbers are pixel centres, so the corner of a picture is at -1/2
        matrix[:2, 2] += 0.5
        matrix[:2] *= factor
        matrix[:2, 2] -= 0.5
        return replace(given(look), intrinsics=matrix)

    return change


def _scan_axes(ground: bool) -> Iterator[Hypothesis]:
    """Every other choice of the scan's axes; those that keep z up when the ground says so."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            axes = np.zeros((3, 3))
            axes[[0, 1, 2], order] = signs
            if np.array_equal(axes, np.eye(3)) or (ground and axes[2, 2] != 1):
                continue
            names = ", ".join(f"{'-' if s < 0 else ''}{'xyz'[o]}" for s, o in zip(signs, order, strict=True))
            mirrored = bool(np.linalg.det(axes) < 0)
            says = f"the scan's axes are not x, y, z: they fit as ({names})"
            if mirrored:
                says += "; it is a mirror image of the street (or the pictures are)"
            yield Hypothesis(
                "mirrored" if mirrored else "scan-axes",
                says,
                f"write the scans with the columns ({names})",
                _before(axes),
                scans=True,
            )


def _before(axes: Matrix) -> Change:
    return _matrix(lambda matrix: matrix @ _rigid(axes))


def _camera_axes() -> Iterator[Hypothesis]:
    for code, turn, says, fix in CAMERA_AXES:
        yield Hypothesis(code, says, fix, _after(np.array(turn, np.float64)))


def _after(turn: Matrix) -> Change:
    """The camera's axes turned; where that mirrors the picture, its optical axis moves to the other side."""

    def change(look: Look) -> Calibration:
        intrinsics = look.view.intrinsics.copy()
        if np.linalg.det(turn) < 0:
            size = np.array([look.view.width, look.view.height])
            intrinsics[:2, 2] = np.where(np.diag(turn)[:2] < 0, size - 1 - intrinsics[:2, 2], intrinsics[:2, 2])
        return Calibration(_rigid(turn) @ look.view.from_lidar, intrinsics)

    return change


def _rigid(rotation: Matrix, shift: Matrix | None = None) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    if shift is not None:
        matrix[:3, 3] = shift
    return matrix
