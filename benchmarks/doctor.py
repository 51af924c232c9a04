"""Does the doctor name what is wrong? Healthy recordings and injected faults -> ``benchmarks/results/doctor.json``.

Run: ``OMP_NUM_THREADS=1 python benchmarks/doctor.py [--real /work/shared/real] [--only NAME ...]``. Recordings: the
four sensors of the synthetic city (4 streets, 3 scans each; one of them in the other style) with every fault, the
same in the other style without faults, and the real pieces that lie in ``--real``. A fault counts as named when a
finding bears its code, and for turns also the camera, the axis and the sign, within 0.35 degrees; it counts as
flagged when the recordings are found unhealthy at all. The table in ``docs/how-to/doctor.md`` is rendered from the
JSON by ``--render``.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.apps.doctor import DoctorReport, diagnose, plan
from lidistill.apps.doctor_frames import examine_frames
from lidistill.datasets.source import Source, open_source
from lidistill.errors import InputError
from lidistill.sensing.examine.alignment import rotation
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.rigid import invert
from lidistill.simulator import simulate

RESULTS = Path(__file__).parent / "results" / "doctor.json"
PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "doctor.md"
CITIES = {
    "spinning-32": ("grid", "old-town"),
    "spinning-64": ("old-town", "grid"),
    "uneven-64": ("grid", "old-town"),
    "solid-state": ("old-town", "grid"),
}
"""Sensor -> style with faults, style without."""
REAL = {
    "SemanticKITTI": "semantic-kitti:{}/semantickitti/dataset",
    "nuScenes": "nuscenes:{}/nuscenes",
    "PandaSet Pandar64": "pandaset-64:{}/pandaset",
    "PandaSet PandarGT": "pandaset-gt:{}/pandaset",
    "KITTI raw": "kitti-raw:{}/kitti_raw",
    "KITTI object": "kitti-object:{}/kitti_object",
}
BODY = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From camera axes (x right, y down, z ahead) to those of a vehicle."""

Change = Callable[[Frame], Frame]


@dataclass(frozen=True)
class Fault:
    """``codes`` that name it; ``frame`` injects it into frames, ``files`` into a rig; ``turn`` = axis, sign."""

    title: str
    codes: tuple[str, ...]
    frame: Change | None = None
    files: Callable[[Path], None] | None = None
    shift: int = 0
    turn: tuple[int, int] | None = None
    gross: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Faulty:
    """A source with a fault in its frames."""

    source: Source
    fault: Fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        frame = self.source[index]
        if self.fault.shift:
            other = self.source[(index + self.fault.shift) % len(self.source)]
            pictures = {view.name: view for view in other.views}
            views = tuple(replace(v, load=pictures[v.name].load) for v in frame.views if v.name in pictures)
            return replace(frame, views=views)
        return frame if self.fault.frame is None else self.fault.frame(frame)


def each_view(change: Callable[[CameraView], CameraView]) -> Change:
    """Change every camera."""
    return lambda frame: replace(frame, views=tuple(change(view) for view in frame.views))


def first_view(change: Callable[[CameraView], CameraView]) -> Change:
    """Change the first camera."""
    return lambda frame: replace(frame, views=tuple(change(v) if i == 0 else v for i, v in enumerate(frame.views)))


def matrix(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[CameraView], CameraView]:
    """Change ``from_lidar``."""
    return lambda view: replace(view, from_lidar=change(view.from_lidar))


def transposed(pose: np.ndarray) -> np.ndarray:
    """The rotation transposed, the translation kept."""
    changed = pose.copy()
    changed[:3, :3] = pose[:3, :3].T
    return changed


def as_vehicle(pose: np.ndarray) -> np.ndarray:
    """To axes of the vehicle kind instead of a camera's."""
    return BODY @ pose


def turned(axis: int, sign: int) -> Callable[[np.ndarray], np.ndarray]:
    """One degree about an axis of the camera."""
    turn = np.eye(4)
    turn[:3, :3] = rotation((sign * np.eye(3)[axis]).tolist())
    return lambda pose: turn @ pose


def doubled(view: CameraView) -> CameraView:
    """Intrinsics of pictures of twice the size."""
    return replace(view, intrinsics=np.diag([2.0, 2, 1]) @ view.intrinsics)


def mirrored(view: CameraView) -> CameraView:
    """Pictures mirrored left to right."""
    return replace(view, load=lambda load=view.load: np.ascontiguousarray(load()[:, ::-1]))


def swapped(frame: Frame) -> Frame:
    """The calibrations of the first two cameras exchanged."""
    one, other, *rest = frame.views
    exchanged = [replace(a, from_lidar=b.from_lidar, intrinsics=b.intrinsics) for a, b in ((one, other), (other, one))]
    return replace(frame, views=(*exchanged, *rest))


def columns(order: list[int], factor: float = 1.0) -> Change:
    """Points with other columns, or in another unit."""
    return lambda frame: replace(frame, points=np.ascontiguousarray(frame.points[:, order] * np.float32(factor)))


def other_intensity(frame: Frame) -> Frame:
    """0-1 instead of 0-255, or the reverse."""
    factor = 255 if (frame.sensor.intensity or (1, 1))[0] <= 1 else 1 / 255
    return replace(frame, intensity=frame.intensity * np.float32(factor))


def cut_scan(root: Path) -> None:
    """The second half of a scan's points is missing."""
    path = sorted((root / "scans").iterdir())[3]
    rows = np.fromfile(path, np.float32).reshape(-1, 5)
    rows[: len(rows) // 2].tofile(path)
    labels = root / "labels" / f"{path.stem}.label"
    np.fromfile(labels, np.uint32)[: len(rows) // 2].tofile(labels)


def cut_file(root: Path) -> None:
    """A scan file ends in the middle of a point."""
    path = sorted((root / "scans").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-6])


def cut_labels(root: Path) -> None:
    """A label too few."""
    path = sorted((root / "labels").iterdir())[5]
    path.write_bytes(path.read_bytes()[:-4])


def shifted_labels(root: Path) -> None:
    """Ids of another class list."""
    for path in sorted((root / "labels").iterdir()):
        (np.fromfile(path, np.uint32) + 500).astype(np.uint32).tofile(path)


def broken_image(root: Path) -> None:
    """Half a picture."""
    path = sorted(next(iter(sorted((root / "images").iterdir()))).iterdir())[2]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


TURN = ("rotation",)
FAULTS = {
    "axes": Fault("camera axes x ahead, y left, z up", ("camera-axes",), each_view(matrix(as_vehicle)), gross=True),
    "transposed": Fault("rotation transposed", ("transposed-rotation",), each_view(matrix(transposed)), gross=True),
    "inverted": Fault("matrix inverted", ("inverted-matrix",), each_view(matrix(invert)), gross=True),
    "swapped": Fault("two cameras exchanged", ("swapped-cameras",), swapped, gross=True, needs="cameras"),
    "mirrored": Fault("pictures mirrored", ("mirrored",), each_view(mirrored), gross=True),
    "picture size": Fault("intrinsics of larger pictures (2 x)", ("picture-size",), each_view(doubled), gross=True),
    "1 degree x": Fault("1 degree about the camera's x", TURN, first_view(matrix(turned(0, 1))), turn=(0, 1)),
    "1 degree y": Fault("1 degree about the camera's y", TURN, first_view(matrix(turned(1, -1))), turn=(1, -1)),
    "1 degree z": Fault("1 degree about the camera's z", TURN, first_view(matrix(turned(2, 1))), turn=(2, 1)),
    "frames": Fault("pictures one frame late", ("frames-shifted",), shift=-1, needs="sequence"),
    "millimetres": Fault("scans in millimetres", ("units",), columns([0, 1, 2], 1000.0)),
    "feet": Fault("scans in feet", ("units",), columns([0, 1, 2], 1 / 0.3048)),
    "x and y": Fault("scan columns x and y exchanged", ("mirrored", "scan-axes"), columns([1, 0, 2]), gross=True),
    "z not up": Fault("scan columns x and z exchanged", ("scan-up",), columns([2, 1, 0]), gross=True),
    "intensity": Fault("intensity in another range", ("intensity",), other_intensity),
    "cut scan": Fault("half the points of a scan missing", ("truncated-scans",), files=cut_scan),
    "cut file": Fault("a scan file cut in a point", ("bad-files",), files=cut_file),
    "broken image": Fault("a picture damaged", ("bad-files",), files=broken_image),
    "labels": Fault("a label file too short", ("bad-files",), files=cut_labels),
    "label ids": Fault("label ids of another list", ("label-ids",), files=shifted_labels),
}  # fmt: skip
WORDS = {(True, True): "named", (False, True): "flagged", (False, False): "missed", (True, False): "noted"}
"""(named, flagged) -> what the table says."""


def examine(source: Source) -> DoctorReport:
    """The report, without processes and pages."""
    return diagnose(source, list(examine_frames(source, plan(len(source), None), 1)))


def judged(report: DoctorReport, fault: Fault, first: str) -> dict[str, Any]:
    """Whether the fault was flagged and named."""
    codes = [finding.code for finding in report.findings if finding.severity == "fault"]
    named = any(code in fault.codes for code in codes)
    row: dict[str, Any] = {"flagged": not report.healthy, "codes": codes}
    if fault.turn is not None:
        axis, sign = fault.turn
        test = next((test for test in report.cameras if test.camera == first), None)
        found = np.zeros(3) if test is None or test.search is None else test.search.offset
        wanted = -sign * np.eye(3)[axis]
        named = named and test is not None and test.verdict == "wrong" and bool(np.abs(found - wanted).max() <= 0.35)
        row["correction"] = found.tolist()
        named = named and all(t.verdict != "wrong" for t in report.cameras if t.camera != first)
    return {"named": named, **row}


def measure(name: str, source: Source, faults: dict[str, Fault]) -> dict[str, Any]:
    """One recording: healthy, then with every fault that it can have."""
    start = time.process_time()
    healthy = examine(source)
    seconds = time.process_time() - start
    cameras = [test.camera for test in healthy.cameras]
    row: dict[str, Any] = {
        "name": name,
        "frames": len(source),
        "cameras": len(cameras),
        "healthy": healthy.healthy,
        "findings": [finding.code for finding in healthy.findings],
        "seconds": round(seconds, 1),
        "z": {test.camera: round(test.agreement.z, 1) for test in healthy.cameras},
        "correction": {t.camera: t.search.offset.tolist() for t in healthy.cameras if t.search is not None},
        "faults": {},
    }
    print(
        f"{name}: {'healthy' if healthy.healthy else 'NOT HEALTHY ' + str(row['findings'])} ({seconds:.0f} s)",
        flush=True,
    )
    for key, fault in faults.items():
        if (fault.needs == "cameras" and len(cameras) < 2) or (fault.needs == "sequence" and len(source) < 8):
            continue
        if fault.files is None:
            result = judged(examine(Faulty(source, fault)), fault, cameras[0] if cameras else "")
        else:
            with tempfile.TemporaryDirectory() as folder:
                damaged = Path(folder) / "rig"
                shutil.copytree(source.root, damaged)  # type: ignore[attr-defined]
                fault.files(damaged)
                result = judged(examine(open_source(str(damaged))), fault, "")
        row["faults"][key] = result
        print(
            f"  {key:14} {'named' if result['named'] else 'flagged' if result['flagged'] else 'MISSED'} {result}",
            flush=True,
        )
    return row


def main() -> None:
    """Measure, write, render."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--real", type=Path, default=Path("/work/shared/real"))
    options.add_argument("--only", nargs="*", default=[])
    options.add_argument("--render", action="store_true")
    chosen = options.parse_args()
    rows = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"]} if RESULTS.exists() else {}
    if not chosen.render:
        for name, row in recordings(chosen.real, set(chosen.only)):
            rows[name] = row
            machine = {"processor": platform.machine(), "python": platform.python_version()}
            titles = {key: fault.title for key, fault in FAULTS.items()}
            content = {"benchmark": "doctor", "machine": machine, "titles": titles, "rows": list(rows.values())}
            RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    render(list(rows.values()))


def recordings(real: Path, only: set[str]) -> Any:
    """(name, result) of every recording that is there."""
    for sensor, (faulty, healthy) in CITIES.items():
        for style, faults in ((faulty, FAULTS), (healthy, {})):
            name = f"city {sensor} {style}"
            if only and sensor not in only and name not in only:
                continue
            with tempfile.TemporaryDirectory() as folder:
                out = simulate(Path(folder) / "city", sensor=sensor, style=style, scenes=4, frames=3, seed=3)
                yield name, measure(name, open_source(str(out)), faults)
    frames = {key: fault for key, fault in FAULTS.items() if fault.files is None}
    for name, spec in REAL.items():
        if only and name not in only and "real" not in only:
            continue
        try:
            source = open_source(spec.format(real))
        except (InputError, ImportError) as error:
            print(f"{name}: left out ({error})")
            continue
        yield name, measure(name, source, frames)


def render(rows: list[dict[str, Any]]) -> None:
    """Put the tables between the marks of the page."""
    order = [f"city {sensor} {styles[which]}" for which in (0, 1) for sensor, styles in CITIES.items()]
    rows = sorted(rows, key=lambda row: [*order, *REAL].index(row["name"]))
    with_faults = [row for row in rows if row["faults"]]
    lines = [_row("fault", [row["name"] for row in with_faults]), "|---" * (len(with_faults) + 1) + "|"]
    for key, fault in FAULTS.items():
        cells = [
            WORDS[row["faults"][key]["named"], row["faults"][key]["flagged"]] if key in row["faults"] else "-"
            for row in with_faults
        ]
        lines.append(_row(fault.title, cells))
    cells = [f"{sum(f['named'] for f in row['faults'].values())} of {len(row['faults'])}" for row in with_faults]
    lines.append(_row("**named**", cells))
    gross = [[result for key, result in row["faults"].items() if FAULTS[key].gross] for row in with_faults]
    lines.append(_row("**gross flagged**", [f"{sum(r['flagged'] for r in found)} of {len(found)}" for found in gross]))
    lines.append(_row("**no fault**", ["healthy" if row["healthy"] else "unhealthy" for row in with_faults]))
    others = [row for row in rows if not row["faults"]]
    if others:
        told = ", ".join(f"{row['name']} ({'healthy' if row['healthy'] else 'unhealthy'})" for row in others)
        lines += ["", f"Also examined as recorded: {told}."]
    if PAGE.exists():
        text = PAGE.read_text(encoding="utf-8")
        start, end = "<!-- results -->\n", "<!-- end of results -->"
        before, after = text[: text.index(start) + len(start)], text[text.index(end) :]
        PAGE.write_text(before + "\n" + "\n".join(lines) + "\n\n" + after, encoding="utf-8")
    print("\n".join(lines))


def _row(title: str, cells: list[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
