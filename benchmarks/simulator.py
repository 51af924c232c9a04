"""Speed of the synthetic city, in frames per second on one core, written to ``benchmarks/results/simulator.json``.

Run: ``OMP_NUM_THREADS=1 python benchmarks/simulator.py``. Times are processor time of this process (the cores may be
shared), the median over scenes, and cover all that ``lidistill simulate`` does for a frame: actors moved, rays cast,
noise, labels, pictures and the files written. A scene (its city and ray structures) is built once for all its frames;
the table gives frames per second without that, and with it for 4 (the default) and 20 frames per scene.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

from lidistill.simulator import scene, simulate_frame
from lidistill.simulator.sensors import RIGS
from lidistill.simulator.simulate import write_frame

RESULTS = Path(__file__).parent / "results" / "simulator.json"
SCENES, FRAMES = 4, 4


def measure(sensor: str, style: str, images: bool) -> dict[str, float]:
    """Seconds per scene and per frame, and points per scan."""
    build, frame, points = [], [], []
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
    return {"scene_s": median(build), "frame_s": median(frame), "points": median(points)}


def main() -> None:
    """Measure every rig in both styles and print a table."""
    simulate_frame(scene("spinning-32"), 0)  # templates, noise and pixel rays are made once per process
    rows = []
    print("sensor       style     images   points  scene ms  frame ms  frames/s/core  4 per scene  20 per scene")
    for sensor, rig in RIGS.items():
        for style in ("grid", "old-town"):
            for images in (False, True):
                row: dict[str, float] = measure(sensor, style, images)
                rates = {n: 1 / (row["frame_s"] + row["scene_s"] / n) for n in (4, 20)}
                row |= {"frames_per_second": 1 / row["frame_s"], "with_scene_of_4": rates[4]}
                row |= {"with_scene_of_20": rates[20]}
                count = len(rig.cameras) if images else 0
                rows.append({"sensor": sensor, "style": style, "cameras": count, **row})
                rate = row["frames_per_second"]
                print(
                    f"{sensor:12} {style:9} {count:6d} {row['points']:8.0f} {1e3 * row['scene_s']:9.0f} "
                    f"{1e3 * row['frame_s']:9.1f} {rate:14.1f} {rates[4]:12.1f} {rates[20]:13.1f}"
                )
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
               "load": os.getloadavg()[0], "python": platform.python_version()}  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"benchmark": "simulator", "machine": machine, "rows": rows}, indent=1) + "\n")
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
