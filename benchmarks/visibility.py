"""Which points does a camera not see? Precision and recall of ``occluded`` on the four simulated rigs.

    python benchmarks/visibility.py [--scenes 3] [--seed 500]
    python benchmarks/visibility.py --table

Truth: a ray from the camera to each point that falls into the picture; the point is occluded when the ray meets a
surface more than 0.15 m + 0.5 % before it. A lidar samples the outline of an obstacle only as finely as its beams and
azimuth steps are apart, and nobody can decide about the points within that distance of an outline. Hence two scores:

- ``strict``: every point.
- ``2 px``: two pixels of leeway in pictures of the simulator's size (a seventh of a teacher's patch). Recall over the
  occluded points for which all rays within two pixels are blocked as well; for precision a removed point is right when
  any ray within two pixels is blocked.

``unseen %``: of the occluded points (2 px), those hidden by something outside the lidar's field of view or line of
sight, which no method can find. ``buffer`` is a plain depth buffer (nearest point per cell of half a degree), scored
with the same leeway. Writes ``results/visibility.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from lidistill.evaluation.table import markdown_table, text_table
from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView
from lidistill.sensing.rigid import invert, transform
from lidistill.sensing.visibility import visible
from lidistill.simulator import SimulatedFrame, scene, simulate_frame
from lidistill.simulator.sensors import RIGS, Lidar
from record import RESULTS, write_record

RESULT = RESULTS / "visibility.json"
PIXELS = 2

Mask = NDArray[np.bool_]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--table", action="store_true", help="only print the table of the committed result")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    rows = [row_of(sensor, args.scenes, args.seed) for sensor in RIGS]
    print(text_table(rows))
    result = {
        "scenes": args.scenes,
        "seed": args.seed,
        "rows": rows,
    }
    write_record("visibility", result)


def table() -> str:
    """The committed result as a markdown table."""
    rows = json.loads(RESULT.read_text())["rows"]
    shown = (
        "sensor",
        "occluded %",
        "2 px P",
        "2 px R",
        "strict P",
        "strict R",
        "buffer P",
        "buffer R",
        "unseen %",
        "ms",
    )
    return markdown_table([{key: row[key] for key in shown} for row in rows])


def row_of(sensor: str, scenes: int, seed: int) -> dict[str, object]:
    """One line of the table: all scores of a rig."""
    count: Counter[str] = Counter()
    seconds, points = [], []
    for style in ("grid", "old-town"):
        for index in range(scenes):
            frame = simulate_frame(scene(sensor, style, index, seed), 1, images=False)
            points.append(len(frame.points))
            for view in frame.views:
                pixels, depth = project(frame.points, view)
                rows = np.flatnonzero(in_image(pixels, depth, view.height, view.width))
                truth = blocked(frame, view, rows, RIGS[sensor].lidar)
                start = time.process_time()
                found = ~visible(frame.points, view.from_lidar, rows)
                seconds.append(time.process_time() - start)
                plain = plain_buffer(frame.points, view, rows)
                count += tally(truth, found, plain)

    def ratio(part: str, whole: str) -> float:
        return round(100 * count[part] / max(count[whole], 1), 1)

    return {
        "sensor": sensor,
        "points": int(np.mean(points)),
        "in image": count["asked"],
        "occluded %": ratio("occluded", "asked"),
        "strict P": ratio("right", "found"),
        "strict R": ratio("right", "occluded"),
        f"{PIXELS} px P": ratio("right nearly", "found"),
        f"{PIXELS} px R": ratio("right deep", "deep"),
        "unseen %": ratio("unseen", "deep"),
        "buffer P": ratio("plain right nearly", "plain found"),
        "buffer R": ratio("plain right deep", "deep"),
        "ms": round(1000 * float(np.median(seconds)), 1),
    }


def tally(truth: dict[str, Mask], found: Mask, plain: Mask) -> Counter[str]:
    """Counts of one picture."""
    occluded, nearly, deep = truth["occluded"], truth["nearly"], truth["deep"]
    masks = {
        "asked": np.ones_like(found),
        "occluded": occluded,
        "deep": deep,
        "found": found,
        "right": found & occluded,
        "right nearly": found & nearly,
        "right deep": found & deep,
        "unseen": truth["unseen"] & deep,
        "plain found": plain,
        "plain right nearly": plain & nearly,
        "plain right deep": plain & deep,
    }
    return Counter({name: int(mask.sum()) for name, mask in masks.items()})


def blocked(frame: SimulatedFrame, view: CameraView, rows: NDArray[np.int64], lidar: Lidar) -> dict[str, Mask]:
    """Per point (P,): is the ray to it blocked, is any ray ``PIXELS`` around, are all, is what blocks it unseen."""
    center = invert(view.from_lidar)[:3, 3]
    path = frame.points[rows] - center
    distance = np.linalg.norm(path, axis=1)
    ray = path / distance[:, None]
    aside = np.cross(ray, [0, 0, 1.0])
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    upward = np.cross(aside, ray)
    hits = []
    for pixels in (0, PIXELS / 2, PIXELS):
        for turn in np.arange(8) * np.pi / 4 if pixels else [0.0]:
            shift = pixels / view.intrinsics[0, 0] * (np.cos(turn) * aside + np.sin(turn) * upward)
            moved = ray + shift
            reach, _ = frame.cast(center, moved / np.linalg.norm(moved, axis=1, keepdims=True))
            hits.append(reach)
    around = np.stack(hits) < distance * 0.995 - 0.15
    hiding = center + ray * np.minimum(hits[0], distance)[:, None]
    return {
        "occluded": around[0],
        "nearly": around.any(0),
        "deep": around.all(0),
        "unseen": ~seen_by_lidar(frame, hiding, lidar),
    }


def seen_by_lidar(frame: SimulatedFrame, places: NDArray[np.float64], lidar: Lidar) -> Mask:
    """Whether places (P, 3) on surfaces, in the lidar frame, lie in the lidar's field of view and line of sight."""
    distance = np.linalg.norm(places, axis=1)
    rays = places / distance[:, None]
    ahead = rays @ (invert(lidar.mount.matrix()) @ lidar.to_vehicle())[:3, :3].T
    elevation = np.degrees(np.arcsin(ahead[:, 2]))
    azimuth = np.degrees(np.arctan2(ahead[:, 1], ahead[:, 0]))
    reach, _ = frame.cast(np.zeros(3), rays)
    seen: Mask = (elevation >= lidar.elevations[0]) & (elevation <= lidar.elevations[-1])
    return seen & (np.abs(azimuth) <= lidar.sweep / 2) & (reach > distance * 0.99 - 0.05) & (distance > 1.6)


def plain_buffer(points: NDArray[np.float32], view: CameraView, rows: NDArray[np.int64]) -> Mask:
    """Occluded: a tenth farther than the nearest point of the same cell of half a degree, and more than 0.3 m."""
    local = transform(points[rows].astype(np.float64), view.from_lidar)
    distance = np.linalg.norm(local, axis=1)
    cells = np.floor(np.arctan2(local[:, :2], local[:, 2:]) / np.radians(0.5)).astype(np.int64)
    cells -= cells.min(0)
    buffer = np.full(cells.max(0) + 1, np.inf)
    np.minimum.at(buffer, tuple(cells.T), distance)
    nearest: Mask = distance > buffer[tuple(cells.T)] * 1.1 + 0.3
    return nearest


if __name__ == "__main__":
    main()
