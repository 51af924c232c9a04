"""``lidistill doctor``: open everything, measure it, test the calibration, say what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.apps.doctor_findings import Finding, bad_files, findings, intensity, scale
from lidistill.apps.doctor_frames import PAIRED, FrameFigures, Job, examine_frames
from lidistill.datasets.source import Source, open_source
from lidistill.errors import InputError
from lidistill.sensing.examine.alignment import Look
from lidistill.sensing.examine.edges import ScanEdges
from lidistill.sensing.examine.scan import RANGES, ScanFigures
from lidistill.sensing.examine.verdict import CameraTest, examine_cameras, shifted
from lidistill.sensing.frame import Sensor

TESTED = 10
"""Frames whose calibration is tested: what they say hardly changes with more."""


@dataclass(frozen=True, eq=False)
class DoctorReport:
    """What the doctor found; ``figures`` holds every number under plain keys, as ``--json`` prints it.

    ``cameras`` are the tests of the calibration, ``frames`` what was measured frame by frame, ``measured`` the sensor
    record by measurement; ``asked`` is ``--frames``. ``str()`` is what the command prints.
    """

    spec: str
    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]
    cameras: tuple[CameraTest, ...]
    frames: tuple[FrameFigures, ...]
    measured: Sensor | None
    looks: Mapping[str, Sequence[Look]] = field(repr=False)
    page: Path | None = None
    asked: int | None = None
    shown: str = "text"

    @property
    def healthy(self) -> bool:
        """Whether nothing has to be repaired."""
        return not any(finding.severity == "fault" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 = healthy, 1 = not."""
        return 0 if self.healthy else 1

    def as_dict(self) -> dict[str, Any]:
        """The machine-readable report."""
        return {
            "source": self.spec,
            "healthy": self.healthy,
            "asked": self.asked,
            "findings": [vars(finding) for finding in self.findings],
            **self.figures,
            "page": None if self.page is None else str(self.page),
        }

    def __str__(self) -> str:
        if self.shown == "json":
            return json.dumps(self.as_dict(), indent=1)
        if self.shown == "statistics":
            return statistics_text(self)
        return summary(self)


def doctor(
    source: str,
    *,
    frames: int | None = None,
    out: Path | None = None,
    page: bool = True,
    json: bool = False,
    statistics: bool = False,
    workers: int | None = None,
) -> DoctorReport:
    """Examine ``source``; see ``lidistill.verbs.doctor``."""
    if workers is not None and workers < 1:
        raise InputError(f"workers = {workers}: expected at least 1 process; leave it out for the machine's cores")
    opened = open_source(source)
    if len(opened) == 0:
        raise InputError(f"{source}: no frame to examine; check the path")
    figures = _examine(opened, frames, workers)
    shown = "json" if json else "statistics" if statistics else "text"
    report = replace(diagnose(opened, figures), asked=frames, shown=shown)
    if not page:
        return report
    from lidistill.apps.doctor_page import write_page

    return replace(report, page=write_page(report, opened, out or Path(f"doctor-{opened.name}.html")))


def _examine(source: Source, frames: int | None, workers: int | None) -> list[FrameFigures]:
    from tqdm import tqdm

    jobs = plan(len(source), frames)
    examined = examine_frames(source, jobs, workers)
    return list(tqdm(examined, total=len(jobs), desc=f"doctor {source.name}", unit="frame"))


def plan(total: int, frames: int | None) -> list[Job]:
    """Which frames to open: all, or ``frames`` evenly spread; those tested, and the neighbours of those."""
    if frames is not None and frames < 1:
        raise InputError(f"frames = {frames}: expected at least 1")
    chosen = _spread(range(total), total if frames is None else frames)
    tested = set(_spread(chosen, TESTED))
    beside = {index + step for index in tested for step in (-1, 1)} & set(range(total))
    return [Job(i, i in tested, i in beside) for i in sorted({*chosen, *beside})]


def _spread(indices: Sequence[int], count: int) -> list[int]:
    rows = np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int))
    return [indices[row] for row in rows.tolist()]


def diagnose(source: Source, frames: Sequence[FrameFigures]) -> DoctorReport:
    """The report on ``source`` from its examined ``frames``."""
    scans = [frame.scan for frame in frames if frame.scan is not None]
    grounds = [scan.ground for scan in scans]
    ground = sum(g is not None and g.level for g in grounds) > len(grounds) / 2
    metres = scale(grounds)
    looks = _looks(frames, metres)
    shift = shifted(_pairings(frames, metres))
    tests = {} if shift else examine_cameras(looks, ground=ground)
    measured = _measured(source, frames, scans) if scans else None
    return DoctorReport(
        source.spec,
        tuple(findings(frames, list(tests.values()), shift, source.sensor, source.taxonomy)),
        _figures(source, frames, scans, tests, shift, measured, looks),
        tuple(tests.values()),
        tuple(frames),
        measured,
        looks,
    )


def _looks(frames: Sequence[FrameFigures], metres: float) -> dict[str, list[Look]]:
    """The pairs of scan and picture that test the calibration, by camera."""
    looks: dict[str, list[Look]] = {}
    for frame in frames:
        for name, figures in frame.views.items():
            if frame.edges is None or figures.edges is None:
                continue
            others = {other: v.view for other, v in frame.views.items() if other != name}
            looks.setdefault(name, []).append(Look(_metric(frame.edges, metres), figures.edges, figures.view, others))
    return looks


def _metric(edges: ScanEdges, metres: float) -> ScanEdges:
    return edges if metres == 1 else replace(edges, places=edges.places * np.float32(metres))


def _pairings(frames: Sequence[FrameFigures], metres: float) -> dict[int, list[Look]]:
    """The tested scans with their own pictures and with those of the frames before and after, of two cameras."""
    by_index = {frame.index: frame for frame in frames}
    looks: dict[int, list[Look]] = {-1: [], 0: [], 1: []}
    for frame in frames:
        for name in list(frame.views)[:PAIRED]:
            for step, found in looks.items():
                there = by_index.get(frame.index + step)
                other = there.views.get(name) if there is not None else None
                if frame.edges is not None and other is not None and other.edges is not None:
                    found.append(Look(_metric(frame.edges, metres), other.edges, frame.views[name].view))
    return looks


def _measured(source: Source, frames: Sequence[FrameFigures], scans: Sequence[ScanFigures]) -> Sensor:
    """The sensor's record by measurement; the name and the forward axis are as given."""
    mean, deviation = intensity(scans)
    return Sensor(
        source.sensor.name,
        rate=_rate(frames, source.sensor.rate),
        rings=int(np.median([scan.beams for scan in scans])) or None,
        fov=(
            round(float(np.median([scan.fov[0] for scan in scans])), 1),
            round(float(np.median([scan.fov[1] for scan in scans])), 1),
        ),
        max_range=float(np.ceil(max(scan.reach for scan in scans))),
        intensity=(float(f"{mean:.4g}"), float(f"{deviation:.4g}")),
        forward=source.sensor.forward,
    )


def _rate(frames: Sequence[FrameFigures], recorded: float | None) -> float | None:
    """Scans per second: as measured, but at least as recorded where only successive scans tell it.

    Recordings leave scans out (key frames), so those say no more than that the lidar is at least as fast.
    """
    return _turns(frames) or max(_successive(frames), recorded or 0.0) or None


def _turns(frames: Sequence[FrameFigures]) -> float | None:
    """Scans per second from the time that the points of one scan span."""
    spans = [frame.scan.span for frame in frames if frame.scan is not None and frame.scan.span]
    span = float(np.median(spans)) if spans else 0.0
    return float(np.round(1 / span)) if 0.02 < span < 1 else None


def _successive(frames: Sequence[FrameFigures]) -> float:
    """Scans per second in the recording; 0 = no times."""
    times = {frame.index: frame.timestamp for frame in frames if frame.timestamp is not None}
    steps = [times[i + 1] - times[i] for i in times if i + 1 in times and times[i + 1] > times[i]]
    return float(f"{1 / np.median(steps):.3g}") if steps else 0.0


def _figures(
    source: Source,
    frames: Sequence[FrameFigures],
    scans: Sequence[ScanFigures],
    tests: Mapping[str, CameraTest],
    shift: int,
    measured: Sensor | None,
    looks: Mapping[str, Sequence[Look]],
) -> dict[str, Any]:
    grounds = [scan.ground for scan in scans if scan.ground is not None and scan.ground.level]
    labels = sum((f.labels for f in frames if f.labels is not None), np.zeros(256, np.int64))
    classes = source.taxonomy.classes if source.taxonomy is not None else ()
    return {
        "frames": len(source),
        "opened": len(frames),
        "bad_files": [fault for frame in frames for fault in frame.faults],
        "sensor": vars(source.sensor),
        "measured": None if measured is None else vars(measured),
        "points": [
            min(s.points for s in scans),
            int(np.median([s.points for s in scans])),
            max(s.points for s in scans),
        ]
        if scans
        else [],
        "ground": {
            "found": len(grounds),
            "height": float(np.median([g.height for g in grounds])) if grounds else None,
            "tilt": float(np.median([g.tilt for g in grounds])) if grounds else None,
        },
        "ranges": {
            "edges": RANGES[:-1].tolist(),
            "counts": np.sum([s.ranges for s in scans], axis=0).tolist() if scans else [],
        },
        "intensity": [min(s.intensity[2] for s in scans), max(s.intensity[3] for s in scans)] if scans else [],
        "labels": {
            **{name: int(labels[i]) for i, name in enumerate(classes)},
            **({"(ignored)": int(labels[255])} if labels.any() else {}),
        },
        "raw_labels": {str(k): v for k, v in sorted(sum((Counter(f.raw) for f in frames), Counter[int]()).items())},
        "frame_shift": shift,
        "student": _student(scans) if scans else None,
        "cameras": {name: _camera(name, frames, tests.get(name), looks.get(name, ())) for name in _names(frames)},
    }


def _names(frames: Sequence[FrameFigures]) -> list[str]:
    return list(dict.fromkeys(name for frame in frames for name in (*frame.views, *frame.lost)))


def _camera(
    name: str, frames: Sequence[FrameFigures], test: CameraTest | None, looks: Sequence[Look]
) -> dict[str, Any]:
    views = [frame.views[name] for frame in frames if name in frame.views]
    lost = [frame.lost[name] for frame in frames if name in frame.lost]
    if not views:
        says = f"none of its {len(lost)} pictures can be used; the first: {lost[0]}"
        return {"pictures": 0, "unusable": len(lost), "verdict": "unusable", "says": says}
    hidden = [view.hidden for view in views if view.hidden is not None]
    offsets = [view.offset for view in views if view.offset is not None]
    figures: dict[str, Any] = {
        "pictures": len(views),
        "unusable": len(lost),
        "seen": float(np.mean([view.seen for view in views])),
        "hidden": float(np.mean(hidden)) if hidden else None,
        "offset_s": [float(np.median(offsets)), float(np.abs(offsets).max())] if offsets else None,
    }
    if test is None:
        return figures
    figures |= {"verdict": test.verdict, "code": test.code, "says": test.says, "fix": test.fix, "frames": test.frames}
    figures |= {"edges": test.agreement.edges, "agreement": test.agreement.ratio, "z": test.agreement.z}
    if test.after is not None and test.change is not None:
        fixed = test.change(looks[0])
        figures["after"] = {
            "agreement": test.after.ratio,
            "z": test.after.z,
            "from_lidar": np.round(fixed.from_lidar, 6).tolist(),
            "intrinsics": np.round(fixed.intrinsics, 4).tolist(),
        }
    if test.search is not None:
        figures["turn_degrees"] = test.search.offset.tolist()
    return figures


def _student(scans: Sequence[ScanFigures]) -> dict[str, Any]:
    """A box that holds 99 % of the points along each axis, in steps of 8 m (z: 1 m), its longest side in 256 cells."""
    low, high = (np.median([scan.box[:, side] for scan in scans], axis=0) for side in (0, 1))
    step, largest = np.array([8.0, 8.0, 1.0]), np.array([128.0, 128.0, 20.0])
    low = np.maximum(np.floor(low / step - (0, 0, 1)) * step, -largest)
    high = np.minimum(np.ceil(high / step + (0, 0, 1)) * step, largest)
    sides = (high - low)[:2]
    return {"fov": np.stack([low, high], 1).tolist(), "cell": float(f"{max(sides.max() / 256, 0.1):.2g}")}


def statistics_text(report: DoctorReport) -> str:
    """The measured record as YAML for ``rig.yaml``, and the student's grid as a comment."""
    measured = report.measured
    if measured is None or measured.fov is None or measured.intensity is None:
        return f"# {report.spec}: no scan could be read"
    student = report.figures["student"]
    low, high = measured.fov
    mean, deviation = measured.intensity
    lines = [
        f"# measured on {report.figures['opened']} frames of {report.spec}",
        "lidar:",
        f"  name: {json.dumps(measured.name)}  # (not measured)",
        _pasted_rate(report.frames, measured.rate),
        *_rings(report),
        f"  fov: [{low:g}, {high:g}]" if low < high else f"  # fov: one elevation, {low:g}",
        f"  max_range: {measured.max_range:g}",
        f"  intensity: [{mean:g}, {deviation or 1:g}]",  # the same everywhere: nothing to divide by
        f'  forward: "{measured.forward}"  # (not measured)',
        f"# a student's grid that fits: --set student.fov='{json.dumps(student['fov'])}' "
        f"--set student.cell={student['cell']:g}",
    ]
    return "\n".join(lines)


def _pasted_rate(frames: Sequence[FrameFigures], rate: float | None) -> str:
    if not rate:
        return "  # rate: not recorded"
    told = "" if rate in (_turns(frames), _successive(frames)) else "  # (not measured)"
    return f"  rate: {rate:g}{told}"


def _rings(report: DoctorReport) -> list[str]:
    """An estimate must not be pasted unseen: beams that wander are counted twice."""
    rings = report.measured.rings if report.measured is not None else None
    named = any(frame.scan.named for frame in report.frames if frame.scan is not None)
    if rings and not named:
        return [f"  # rings: about {rings}, estimated, at most twice too many: the scans have no column of rings"]
    return [f"  rings: {rings}"] if rings else []


def summary(report: DoctorReport) -> str:
    """What the terminal shows."""
    figures, measured = report.figures, report.measured
    lines = [f"{report.spec}: {figures['opened']} of {figures['frames']} frames opened{_beside(report)}"]
    if measured is not None and measured.fov is not None and measured.intensity is not None:
        ground = figures["ground"]
        height = "not found" if ground["height"] is None else f"{ground['height']:.2f} below the sensor"
        rate = "rate unknown" if measured.rate is None else f"{measured.rate:g} Hz"
        beams = "beams not told apart" if measured.rings is None else f"about {measured.rings} beams"
        lines += [
            f"  lidar     {measured.name}, {beams} from {measured.fov[0]:g} to "
            f"{measured.fov[1]:g} degrees, {rate}, up to {measured.max_range:g} m",
            f"  scan      {figures['points'][1]} points, intensity {figures['intensity'][0]:g} to "
            f"{figures['intensity'][1]:g} (mean {measured.intensity[0]:g}), ground {height}",
        ]
    lines += [_line(name, camera) for name, camera in figures["cameras"].items()]
    lines += [f"  bad file  {fault}" for fault in bad_files(report.frames)]
    for finding in report.findings:
        where = f"{finding.camera}: " if finding.camera else ""
        lines.append(f"{finding.severity:5} {finding.code}: {where}{finding.says}")
        if finding.fix:
            lines.append(f"      -> {finding.fix}")
    lines += [line for test in report.cameras for line in _corrected(test, figures["cameras"][test.camera])]
    if report.page is not None:
        lines.append(f"pictures: {report.page}")
    lines.append("healthy" if report.healthy else "not healthy")
    return "\n".join(lines)


def _beside(report: DoctorReport) -> str:
    """Why there are more frames than were asked for."""
    if report.asked is None or report.figures["opened"] <= report.asked:
        return ""
    return f" ({report.asked}, and those beside them to see whether pictures and scans are shifted)"


def _corrected(test: CameraTest, camera: Mapping[str, Any]) -> list[str]:
    """The matrix to write into ``rig.yaml``, unless it is the scans or the pictures that have to be corrected."""
    if "after" not in camera or test.scans or np.linalg.det(matrix := np.array(camera["after"]["from_lidar"])) < 0:
        return []
    rows = [f"        - [{', '.join(f'{value:.6g}' for value in row)}]" for row in matrix]
    return [f"      corrected, camera {test.camera}:", "      from_lidar:", *rows]


def _line(name: str, camera: Mapping[str, Any]) -> str:
    if not camera["pictures"]:
        return f"  camera    {name}: unusable, none of its {camera['unusable']} pictures can be used"
    hidden = "" if camera["hidden"] is None else f", {camera['hidden']:.0%} of them hidden"
    late = "" if camera["offset_s"] is None else f", {1000 * camera['offset_s'][0]:+.0f} ms from the scan"
    tested = ""
    if "z" in camera:
        tested = f"; edges agree {camera['agreement']:.2f} x chance (z {camera['z']:.1f}): {camera['verdict']}"
    return f"  camera    {name}: sees {camera['seen']:.1%} of the points{hidden}{late}{tested}"
