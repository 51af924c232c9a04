"""From what was measured to what is wrong: one sentence each, with the next thing to try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lidistill.apps.doctor_frames import FrameFigures
from lidistill.sensing.examine.ground import UNITS, Ground, unit
from lidistill.sensing.examine.scan import ScanFigures
from lidistill.sensing.examine.verdict import CameraTest
from lidistill.sensing.frame import Sensor
from lidistill.taxonomy import Taxonomy

FAR_CAMERA = 15.0
"""Metres between lidar and camera that no vehicle has."""
LATE = 0.15
"""Seconds between scan and picture, typically, that are too many: 2 m at 50 km/h."""
CUT = 0.6
"""Share of the usual number of points below which a scan may be cut short."""


@dataclass(frozen=True)
class Finding:
    """``code`` for machines; a ``fault`` makes the source unhealthy, a ``note`` does not."""

    code: str
    says: str
    fix: str = ""
    severity: Literal["fault", "note"] = "fault"
    camera: str | None = None


def findings(
    frames: Sequence[FrameFigures],
    cameras: Sequence[CameraTest],
    shift: int,
    sensor: Sensor,
    taxonomy: Taxonomy | None,
) -> list[Finding]:
    """Everything that is wrong, gravest first."""
    scans = [frame for frame in frames if frame.scan is not None]
    found = [*_files(frames)]
    if scans:
        figures = [frame.scan for frame in scans if frame.scan is not None]
        found += [*_ground(figures), *_intensity(figures, sensor), *_cut(scans), *_labels(scans, taxonomy)]
    if shift:
        says = f"the pictures are shifted by {-shift:+d} frame against the scans: scan i fits picture i {shift:+d}"
        found.append(Finding("frames-shifted", says, "pair scans and pictures by their times again"))
    found += [*_cameras(cameras), *_views(scans), *_blind(scans)]
    return sorted(found, key=lambda finding: finding.severity != "fault")


def _files(frames: Sequence[FrameFigures]) -> Iterator[Finding]:
    sized = wrong_sizes(frames)
    for camera, wrong in sized.items():
        says = f"{len(wrong)} of its pictures are of another size than rig or data set say; the first: {wrong[0]}"
        yield Finding("picture-size", says, "correct height, width and intrinsics of this camera", "fault", camera)
    told = {fault for wrong in sized.values() for fault in wrong}
    bad = [rest for frame in frames if (rest := [fault for fault in frame.faults if fault not in told])]
    if bad:
        says = f"{len(bad)} of {len(frames)} frames have files that cannot be used; the first: {bad[0][0]}"
        yield Finding("bad-files", says, "repair or remove them; all are listed")


def wrong_sizes(frames: Sequence[FrameFigures]) -> dict[str, list[str]]:
    """Cameras most of whose pictures are of another size than is recorded, and the sentences about those."""
    found = {}
    for camera in dict.fromkeys(name for frame in frames for name in frame.lost):
        wrong = [frame.lost[camera] for frame in frames if "the calibration says" in frame.lost.get(camera, "")]
        if len(wrong) > sum(camera in frame.views or camera in frame.lost for frame in frames) / 2:
            found[camera] = wrong
    return found


def bad_files(frames: Sequence[FrameFigures]) -> list[str]:
    """A sentence for every file that cannot be used, and one for all pictures of a camera of the wrong size."""
    sized = wrong_sizes(frames)
    told = {fault for wrong in sized.values() for fault in wrong}
    groups = [f"{len(wrong)} pictures of camera {camera!r}, such as {wrong[0]}" for camera, wrong in sized.items()]
    return groups + [fault for frame in frames for fault in frame.faults if fault not in told]


def _ground(scans: Sequence[ScanFigures]) -> Iterator[Finding]:
    grounds = [scan.ground for scan in scans if scan.ground is not None]
    wrong = [ground for ground in grounds if not ground.level]
    if len(grounds) < 0.3 * len(scans):
        says = f"no ground below the sensor in {len(scans) - len(grounds)} of {len(scans)} scans"
        yield Finding("no-ground", says, "check that z is up and that lengths are metres", "note")
        return
    if len(wrong) > len(grounds) / 2:
        axis = Counter(ground.axis for ground in wrong).most_common(1)[0][0]
        says = f"the ground lies along the scan's {axis} axis: up is {axis}, not z"
        yield Finding("scan-up", says, f"turn the scans so that {axis} becomes z (and mirror nothing)")
        return
    level = [ground for ground in grounds if ground.level]
    measured = unit(height := float(np.median([ground.height for ground in level])))
    if measured is not None:
        says = f"the sensor would stand {height:.4g} m above the ground: lengths seem to be {measured}, not metres"
        yield Finding("units", says, "write the scans in metres")
        return
    tilt = float(np.median([ground.tilt for ground in level]))
    if tilt > 8:
        yield Finding("tilt", f"the ground is tilted by {tilt:.0f} degrees against z", "level the scans", "note")


def scale(scans: Sequence[Ground | None]) -> float:
    """Factor that makes metres of the scans' lengths, judged by the height above the ground."""
    heights = [ground.height for ground in scans if ground is not None and ground.level]
    return UNITS.get(unit(float(np.median(heights))) or "", 1.0) if heights else 1.0


def _intensity(scans: Sequence[ScanFigures], sensor: Sensor) -> Iterator[Finding]:
    mean, deviation = intensity(scans)
    low, high = min(s.intensity[2] for s in scans), max(s.intensity[3] for s in scans)
    if high - low < 1e-9:
        expected = sensor.intensity is not None and sensor.intensity[1] > 1e-6 and sensor.intensity != (0.0, 1.0)
        says = f"the intensity is {low:g} everywhere"
        yield Finding(
            "intensity",
            says + (f", the sensor's record says {sensor.intensity[0]:.3g} on average" if expected else ""),  # type: ignore[index]
            "export the scans with their intensity column",
            "fault" if expected else "note",
        )
        return
    if low < -1e-6:
        yield Finding("intensity", f"intensities fall to {low:g}", "check the order of the columns")
    if sensor.intensity is None:
        return
    wanted, usual = sensor.intensity
    ratio = mean / wanted if wanted > 0 else 1.0
    if not (0.2 < ratio < 5) or not (0.15 < deviation / usual < 7):
        yield Finding(
            "intensity",
            f"intensities are {mean:.4g} on average (deviation {deviation:.3g}), {sensor.name} is recorded with "
            f"{wanted:.4g} (deviation {usual:.3g})",
            "bring the intensities to the sensor's range (0-255 or 0-1), or correct its record in rig.yaml",
        )


def intensity(scans: Sequence[ScanFigures]) -> tuple[float, float]:
    """Mean and standard deviation over all points."""
    count = sum(scan.points for scan in scans)
    mean = sum(scan.intensity[0] for scan in scans) / count
    return mean, max(sum(scan.intensity[1] for scan in scans) / count - mean * mean, 0.0) ** 0.5


def _cut(frames: Sequence[FrameFigures]) -> Iterator[Finding]:
    scans = [(frame.token, frame.scan) for frame in frames if frame.scan is not None]
    points, sectors, layers = (
        float(np.median([getattr(scan, name) for _, scan in scans])) for name in ("points", "sectors", "layers")
    )
    short = [
        f"{token} ({scan.points} points)"
        for token, scan in scans
        if scan.points < CUT * points and min(scan.sectors / sectors, scan.layers / layers) < 0.8
    ]
    if short:
        says = f"{len(short)} scans are cut short (usual: {points:.0f} points): {', '.join(short[:5])}"
        yield Finding("truncated-scans", says + (" ..." if len(short) > 5 else ""), "copy these scans again")


def _labels(frames: Sequence[FrameFigures], taxonomy: Taxonomy | None) -> Iterator[Finding]:
    raw: Counter[int] = Counter()
    for frame in frames:
        raw.update(frame.raw)
    if taxonomy is None or not raw:
        return
    total = sum(raw.values())
    outside = {key: count for key, count in raw.items() if key >= len(taxonomy.table) or key < 0}
    if sum(outside.values()) > 1e-4 * total:
        share = sum(outside.values()) / total
        yield Finding(
            "label-ids",
            f"{share:.2%} of the labels are ids that the class list {taxonomy.name!r} does not know: "
            f"{', '.join(str(key) for key in sorted(outside, key=lambda k: -outside[k])[:8])}",
            "name the right class list in rig.yaml, or write one with these ids",
        )
    elif all(taxonomy.apply(np.array([key]))[0] == 255 for key in raw):
        says = f"all labels are ignored by the class list {taxonomy.name!r}"
        yield Finding("label-ids", says, "name the class list that these labels were written with")


def _cameras(cameras: Sequence[CameraTest]) -> Iterator[Finding]:
    told: set[str] = set()
    for camera in cameras:
        if camera.verdict == "undecided":
            yield Finding("undecided", camera.says, "", "note", camera.camera)
            continue
        if camera.verdict == "good" or camera.says in told:
            continue
        alike = [other.camera for other in cameras if other.says == camera.says and other.code == camera.code]
        told.add(camera.says)
        everyone = len(alike) == len(cameras) and len(cameras) > 1
        where = None if everyone and camera.scans else "all cameras" if everyone else ", ".join(alike)
        yield Finding(camera.code or "wrong", camera.says, camera.fix, "fault", where)


def _blind(frames: Sequence[FrameFigures]) -> Iterator[Finding]:
    if frames and not any(frame.views for frame in frames):
        fix = "if there should be some, check that their folders are there (in a rig folder: named in rig.yaml)"
        yield Finding("no-pictures", "no pictures: no calibration was tested", fix, "note")


def _views(frames: Sequence[FrameFigures]) -> Iterator[Finding]:
    names = dict.fromkeys(name for frame in frames for name in frame.views)
    for name in names:
        views = [frame.views[name] for frame in frames if name in frame.views]
        distance = max(float(np.linalg.norm(np.linalg.inv(v.view.from_lidar)[:3, 3])) for v in views)
        if distance > FAR_CAMERA:
            says = f"the camera would be {distance:.0f} m away from the lidar"
            yield Finding("camera-units", says, "write the translation of from_lidar in metres", "fault", name)
        offsets = [v.offset for v in views if v.offset is not None]
        if offsets and abs(late := float(np.median(offsets))) > LATE:
            says = f"its pictures are taken {abs(late):.2f} s {'after' if late > 0 else 'before'} the scans"
            yield Finding("time-offset", says, "pair every scan with the picture nearest in time", "fault", name)
        dark = sum(v.spread < 2 for v in views)
        if dark:
            says = f"{dark} of {len(views)} pictures are blank"
            yield Finding("blank-pictures", says, "remove them", "fault" if dark > 0.05 * len(views) else "note", name)
