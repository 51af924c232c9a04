"""Point clouds as pictures: a virtual camera, discs drawn far to near, edges darkened. Plain numpy."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.errors import InputError
from lidistill.sensing.cameras import project
from lidistill.sensing.frame import CameraView, Forward

Picture = NDArray[np.uint8]
BACKGROUND = (14, 16, 24)
DIRECTION = {"+x": (1.0, 0.0), "-x": (-1.0, 0.0), "+y": (0.0, 1.0), "-y": (0.0, -1.0)}
OVERSAMPLE = 2
"""Pictures are drawn this much larger and averaged down."""
DIAMETER, DENSE = 0.12, 100_000
"""Metres of a point in a cloud of so many points."""
SMALLEST, LARGEST = 0.55, 6
"""Radius of the smallest disc in pixels of the picture, of the largest one in drawn pixels."""
GROUPS = 24
"""Points are drawn in this many groups, far to near, each with the discs it needs."""


def look_at(
    eye: ArrayLike,
    target: ArrayLike,
    *,
    up: ArrayLike = (0.0, 0.0, 1.0),
    angle: float = 60.0,
    size: tuple[int, int] = (540, 960),
) -> CameraView:
    """A virtual pinhole camera at ``eye`` that looks at ``target`` (metres, lidar frame).

    ``up`` points upwards in the picture, ``angle`` in degrees is what it sees from left to right, ``size`` is
    (height, width). It has no picture to load: it serves to draw clouds with.
    """
    position = np.asarray(eye, np.float64)
    forward = np.asarray(target, np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, np.float64))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ position
    height, width = size
    focal = width / 2 / np.tan(np.radians(angle) / 2)
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return CameraView("virtual", height, width, intrinsics, pose, _no_picture)


def from_behind(
    forward: Forward = "+x", *, back: float = 14.0, above: float = 9.0, size: tuple[int, int] = (540, 960)
) -> CameraView:
    """The view of somebody who follows the vehicle: ``back`` and ``above`` the lidar in metres, looking ahead."""
    ahead = np.array([*DIRECTION[forward], 0.0])
    return look_at(-back * ahead + (0, 0, above), 8 * ahead - (0, 0, 1.0), angle=70, size=size)


def from_above(forward: Forward = "+x", *, reach: float = 40.0, size: tuple[int, int] = (720, 720)) -> CameraView:
    """The map: ``reach`` metres from the lidar to the left and right edges, driving direction upwards."""
    height = 400.0  # so high that walls do not lean
    angle = 2 * float(np.degrees(np.arctan(reach / height)))
    return look_at((0, 0, height), (0, 0, 0), up=(*DIRECTION[forward], 0.0), angle=angle, size=size)


def render_cloud(
    points: NDArray[np.floating[Any]],
    colors: NDArray[np.uint8],
    view: CameraView,
    *,
    diameter: float | None = None,
    background: tuple[int, int, int] = BACKGROUND,
) -> Picture:
    """Draw ``points`` (N, 3) in ``colors`` (N, 3) as ``view`` sees them: (height, width, 3) uint8.

    Points are discs of ``diameter`` metres (None = larger in sparse clouds), at least about a pixel, that hide what is
    behind them. Where the depth jumps the picture is darkened (eye-dome lighting, Boucheny 2009, section 5): shapes
    stand out without normals.
    """
    growth = float(np.clip(np.sqrt(DENSE / max(len(points), 1)), 1, 2)) if diameter is None else 1.0
    metres = DIAMETER * growth if diameter is None else diameter
    pixels, depth = project(points, view)
    seen = np.flatnonzero(np.isfinite(pixels).all(1) & (depth > 0.2))
    pixels, depth = pixels[seen], depth[seen]
    height, width = view.height * OVERSAMPLE, view.width * OVERSAMPLE
    canvas = np.full((height, width, 3), background, np.uint8)
    focal = float(view.intrinsics[0, 0])
    radius = np.clip(OVERSAMPLE * focal * metres / 2 / depth, OVERSAMPLE * SMALLEST * growth, LARGEST)
    places = (pixels + 0.5) * OVERSAMPLE - 0.5
    buffer = draw_discs(canvas, places, depth, radius, colors[seen])
    lit = canvas * _dome(buffer)[..., None]
    small = lit.reshape(view.height, OVERSAMPLE, view.width, OVERSAMPLE, 3).mean((1, 3))
    picture: Picture = np.round(small).astype(np.uint8)
    return picture


def draw_discs(
    canvas: Picture,
    pixels: NDArray[np.float64],
    depth: NDArray[np.float64],
    radius: NDArray[np.float64],
    colors: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """Draw N discs into ``canvas`` (H, W, 3) in place, nearer ones over farther ones; returns the depth (H, W).

    ``pixels`` (N, 2) = (u, v), ``radius`` (N,) in pixels, ``colors`` (N, 3). The depth is inf where nothing was drawn.
    """
    if len(colors) != len(pixels):
        raise InputError(f"picture: {len(pixels)} points but {len(colors)} colours; give one per point")
    height, width = canvas.shape[:2]
    flat, buffer = canvas.reshape(-1, 3), np.full(height * width, np.inf, np.float32)
    reach = np.ceil(radius.max(initial=0)) + 1
    u, v = pixels[:, 0], pixels[:, 1]
    near_picture = (u > -reach) & (u < width + reach) & (v > -reach) & (v < height + reach)
    order = np.flatnonzero(near_picture)
    order = order[np.argsort(-depth[order], kind="stable")]
    for group in np.array_split(order, GROUPS):
        if not len(group):
            continue
        side = np.arange(-int(radius[group].max()) - 1, int(radius[group].max()) + 2)
        dv, du = (offset.ravel() for offset in np.meshgrid(side, side, indexing="ij"))
        left, top = np.rint(u[group]), np.rint(v[group])
        # distance of every pixel around from the true centre, not from the rounded one: discs then look round
        across = (left - u[group])[:, None] + du
        down = (top - v[group])[:, None] + dv
        inside = across**2 + down**2 <= np.maximum(radius[group], 0.5)[:, None] ** 2
        inside |= (du == 0) & (dv == 0)
        # row-major: a nearer point's pixels come after a farther one's, and numpy keeps the last value assigned
        which, offset = np.nonzero(inside)
        x, y = left[which].astype(np.int64) + du[offset], top[which].astype(np.int64) + dv[offset]
        kept = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        cells = y[kept] * width + x[kept]
        source = group[which[kept]]
        flat[cells] = colors[source]
        buffer[cells] = depth[source]
    return buffer.reshape(height, width)


def _dome(depth: NDArray[np.float32], strength: float = 1.1, reach: int = 2) -> NDArray[np.float32]:
    """Light (H, W) in (0, 1]: darker where a pixel lies behind its neighbours ``reach`` pixels away."""
    log = np.log(np.where(np.isfinite(depth), depth, 1e4)).astype(np.float32)
    padded = np.pad(log, reach, mode="edge")
    height, width = log.shape
    drop = np.zeros_like(log)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        y, x = reach * (1 + dy), reach * (1 + dx)
        # gaps between scan lines are not edges: only so much darkness per neighbour
        drop += np.clip(log - padded[y : y + height, x : x + width], 0, 0.25)
    light: NDArray[np.float32] = np.where(np.isfinite(depth), np.exp(-strength * drop), 1).astype(np.float32)
    return light


def _no_picture() -> NoReturn:
    raise InputError("a virtual camera took no picture; draw the cloud with render_cloud")
