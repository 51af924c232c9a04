"""Speed of the synthetic city, in frames per second on one core, written to ``benchmarks/results/simulator.json``.

    OMP_NUM_THREADS=1 python benchmarks/simulator.py [--against COMMIT]

Times are processor time of one process (the cores may be shared), the median over scenes, and cover all that
``lidistill simulate`` does for a frame: actors moved, rays cast, noise, labels, pictures and the files written. A scene
(its city and ray structures) is built once for all its frames; the table gives frames per second without that, and
with it for 4 (the default) and 20 frames per scene.

With ``--against`` the simulator of another commit is measured in turn with this one, and the files that both write are
compared byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from lidistill.simulator import scene, simulate_frame
from lidistill.simulator.sensors import RIGS
from lidistill.simulator.simulate import write_frame

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "simulator.json"
SCENES, FRAMES, ROUNDS = 4, 4, 3
COMPARED = [("spinning-32", "grid", False), ("spinning-32", "old-town", False), ("spinning-32", "grid", True)]

Row = dict[str, Any]


def measure(sensor: str, style: str, images: bool) -> Row:
    """Seconds per scene and per frame, points per scan, and a digest of all files."""
    build, frame, points = [], [], []
    digest = hashlib.sha256()
    simulate_frame(scene(sensor, style), 0, images)  # templates, noise and pixel rays are made once per process
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("scans", "labels", *(f"images/{camera.name}" for camera in RIGS[sensor].cameras)):
            (out / name).mkdir(parents=True)
        for index in range(SCENES):
            start = time.process_time()
            place = scene(sensor, style, index, seed=1)
            place.world.ready()
            build.append(time.process_time() - start)
            for k in range(FRAMES):
                start = time.process_time()
                recorded = simulate_frame(place, k, images)
                write_frame(out, f"{index:04d}_{k:02d}", recorded)
                frame.append(time.process_time() - start)
                points.append(len(recorded.points))
        for path in sorted(out.rglob("*.*")):
            digest.update(path.read_bytes())
    row: Row = {"scene_s": median(build), "frame_s": median(frame), "points": median(points)}
    row |= {"frames_per_second": 1 / row["frame_s"]}
    row |= {f"with_scene_of_{n}": 1 / (row["frame_s"] + row["scene_s"] / n) for n in (4, 20)}
    cameras = len(RIGS[sensor].cameras) if images else 0
    return {"sensor": sensor, "style": style, "cameras": cameras, **row, "files": digest.hexdigest()[:16]}


def elsewhere(source: Path, sensor: str, style: str, images: bool) -> Row:
    """``measure`` in a process of its own, with the package below ``source``."""
    command = [sys.executable, __file__, "--row", sensor, style, str(int(images))]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    row: Row = json.loads(output)
    return row


def compare(commit: str) -> list[Row]:
    """The simulator of ``commit`` and this one in turn, the median of ``ROUNDS`` rounds each."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        print(f"\nagainst {commit}       frames/s/core, 4 per scene")
        for case in COMPARED:
            pairs = [[elsewhere(root / "src", *case) for root in (Path(folder), ROOT)] for _ in range(ROUNDS)]
            before, now = (median(pair[k]["with_scene_of_4"] for pair in pairs) for k in range(2))
            same = len({row["files"] for pair in pairs for row in pair}) == 1
            sensor, style, images = case
            ratio = now / before
            rows.append({"sensor": sensor, "style": style, "images": images, "against": commit, "before": before,
                         "now": now, "ratio": ratio, "same_files": same})  # fmt: skip
            print(f"{sensor:12} {style:9} {'images' if images else 'scans':7} {before:6.1f} -> {now:5.1f}  "
                  f"x {ratio:.2f}  {'same bytes' if same else 'OTHER BYTES'}")  # fmt: skip
    return rows


def main() -> None:
    """Measure every rig in both styles and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--against", metavar="COMMIT", help="measure the simulator of another commit in turn")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        sensor, style, images = arguments.row
        print(json.dumps(measure(sensor, style, images == "1")))
        return
    rows = []
    print("sensor       style     images   points  scene ms  frame ms  frames/s/core  4 per scene  20 per scene")
    for sensor in RIGS:
        for style in ("grid", "old-town"):
            for images in (False, True):
                row = measure(sensor, style, images)
                rows.append(row)
                print(
                    f"{sensor:12} {style:9} {row['cameras']:6d} {row['points']:8.0f} {1e3 * row['scene_s']:9.0f} "
                    f"{1e3 * row['frame_s']:9.1f} {row['frames_per_second']:14.1f} {row['with_scene_of_4']:12.1f} "
                    f"{row['with_scene_of_20']:13.1f}"
                )
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
               "load": os.getloadavg()[0], "python": platform.python_version()}  # fmt: skip
    results = {"benchmark": "simulator", "machine": machine, "rows": rows}
    if arguments.against:
        results["against"] = compare(arguments.against)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
