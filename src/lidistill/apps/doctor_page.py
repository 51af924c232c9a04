"""The doctor's page: the verdict, overlays before and after the suggested correction, curves, figures."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lidistill import __version__
from lidistill.apps.charts import Series, chart
from lidistill.apps.doctor_findings import bad_files
from lidistill.apps.report_page import figure, narrow, page, section, tiles
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.evaluation.palette import depth_colors
from lidistill.evaluation.pictures import overlay, stack
from lidistill.evaluation.render import Picture, from_above, render_cloud
from lidistill.sensing.examine.search import STEPS
from lidistill.sensing.examine.verdict import CameraTest
from lidistill.sensing.files import write_atomically
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.pairing import pair

if TYPE_CHECKING:
    from lidistill.apps.doctor import DoctorReport

AXES = ("x (right): up and down", "y (down): left and right", "z (forward): roll")


def write_page(report: DoctorReport, source: Source, path: Path) -> Path:
    """Write the page as one HTML file; raises ``InputError`` when that cannot be done."""
    text = render(report, source)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the page cannot be written ({error.strerror}); choose another --out") from None
    return path


def render(report: DoctorReport, source: Source) -> str:
    """The page as HTML."""
    frame = _frame(report, source)
    parts = [
        _header(report),
        section("Findings", _findings(report)),
        section("Cameras", "\n".join(_camera(report, test, frame) for test in report.cameras)),
        section("Other cameras", _untested(report, frame)),
        section("Scans", _scans(report, frame)),
        section("Labels", _labels(report.figures["labels"])),
        section("Bad files", _list(bad_files(report.frames))),
        section("All figures", f"<details><summary>as JSON</summary><pre>{_json(report)}</pre></details>"),
        f"<footer>Written by lidistill {__version__}. This file is complete in itself.</footer>",
    ]
    return page(f"doctor: {report.spec}", "\n".join(part for part in parts if part))


def _json(report: DoctorReport) -> str:
    return html.escape(json.dumps(report.as_dict(), indent=1))


def _header(report: DoctorReport) -> str:
    figures, measured = report.figures, report.measured
    shown = [("healthy" if report.healthy else "not healthy", "verdict"), (f"{figures['opened']:,}", "frames opened")]
    if measured is not None and measured.fov is not None:
        shown += [
            (f"{measured.rings}", "beams, about"),
            (f"{measured.fov[0]:g} to {measured.fov[1]:g}", "degrees of elevation"),
            (f"{figures['points'][1]:,}", "points per scan"),
            (f"{measured.max_range:g} m", "longest range"),
        ]
    if figures["ground"]["height"] is not None:
        shown.append((f"{figures['ground']['height']:.2f} m", "sensor above ground"))
    lead = html.escape(f"{report.spec} · sensor {measured.name if measured else 'unknown'}")
    return f'<header>\n<h1>Doctor</h1>\n<p class="lead">{lead}</p>\n{tiles(shown)}\n</header>'


def _findings(report: DoctorReport) -> str:
    if not report.findings:
        return "<p>Nothing found.</p>"
    rows = []
    for finding in report.findings:
        where = html.escape(finding.camera or "")
        says, fix = html.escape(finding.says), html.escape(finding.fix)
        rows.append(f"<tr><td><b>{finding.code}</b><br>{finding.severity}</td><td>{where}</td>"
                    f"<td>{says}<br><b>{fix}</b></td></tr>")  # fmt: skip
    head = "<tr><th>finding</th><th>camera</th><th>what, and what to do</th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _camera(report: DoctorReport, test: CameraTest, frame: Frame | None) -> str:
    figures = report.figures["cameras"][test.camera]
    badge = f'<span class="badge">{test.verdict}</span>'
    lines = [
        f"<h3>{html.escape(test.camera)} {badge}</h3>",
        f"<p>{html.escape(test.says)}. Over {test.frames} pictures, {test.agreement.edges} edges of the scans meet "
        f"gradients {test.agreement.ratio:.2f} times as strong as around them (chance: 1; z {test.agreement.z:.1f})."
        f" It sees {figures['seen']:.1%} of the points.</p>",
    ]
    lines += _overlays(report, test, frame)
    if test.search is not None:
        lines.append(f'<div class="charts">{_curves(test)}</div>')
    if "after" in figures:
        matrix = ", ".join(str(row) for row in figures["after"]["from_lidar"])
        intrinsics = ", ".join(str(row) for row in figures["after"]["intrinsics"])
        lines.append(f"<pre>intrinsics: [{intrinsics}]\nfrom_lidar: [{matrix}]</pre>")
    return "\n".join(lines)


def _overlays(report: DoctorReport, test: CameraTest, frame: Frame | None) -> list[str]:
    view = None if frame is None else next((view for view in frame.views if view.name == test.camera), None)
    if frame is None or view is None:
        return []
    image = view.image()
    pictures, captions = [_overlay(frame, view, image)], ["as given"]
    if test.change is not None:
        look = report.looks[test.camera][0]
        others = {v.name: v for v in frame.views if v.name != view.name}
        fixed = test.change(replace(look, view=view, others=others))
        mended = replace(view, from_lidar=fixed.from_lidar, intrinsics=fixed.intrinsics)
        pictures.append(_overlay(frame, mended, image))
        captions.append(f"after: {test.fix}")
    return [figure(stack(pictures, captions), f"{frame.token}, points coloured by distance (yellow near, violet far)")]


def _overlay(frame: Frame, view: CameraView, image: Picture) -> Picture:
    pairs = pair(frame, view, occlusion=bool(np.linalg.det(view.from_lidar[:3, :3]) > 0))
    return narrow(overlay(image, pairs, radius=max(image.shape[1] / 900, 1.0)))


def _curves(test: CameraTest) -> str:
    assert test.search is not None
    steps = STEPS["rotation"]
    return "".join(
        chart(f"agreement, turned about {axis}", [Series("", steps, curve)], x_label="degrees")
        for axis, curve in zip(AXES, test.search.curves, strict=True)
    )


def _untested(report: DoctorReport, frame: Frame | None) -> str:
    """Cameras without a usable picture; overlays of those not tested, such as when pictures and scans are shifted."""
    cameras = report.figures["cameras"].items()
    lost = [f"{name}: {figures['says']}" for name, figures in cameras if not figures["pictures"]]
    tested = {test.camera for test in report.cameras}
    views = [view for view in (frame.views if frame is not None else ()) if view.name not in tested]
    shown = [figure(_overlay(frame, view, view.image()), view.name) for view in views if frame is not None]
    return "\n".join([_list(lost), *shown])


def _scans(report: DoctorReport, frame: Frame | None) -> str:
    ranges = report.figures["ranges"]
    counts = np.asarray(ranges["counts"], np.float64)
    parts = []
    if counts.sum():
        widths = np.diff([*ranges["edges"], ranges["edges"][-1] + 10])
        share = 100 * counts / counts.sum() / widths
        parts.append(chart("points per metre of range, %", [Series("", ranges["edges"], share)], x_label="m"))
    if frame is not None:
        from_top = from_above(frame.sensor.forward, size=(540, 540))
        colors = depth_colors(np.linalg.norm(frame.points, axis=1))
        parts.append(figure(render_cloud(frame.points, colors, from_top), f"{frame.token} from above"))
    return f'<div class="charts">{"".join(parts)}</div>' if parts else ""


def _labels(labels: dict[str, int]) -> str:
    total = sum(labels.values())
    if not total:
        return ""
    most = max(labels.values())
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{count / total:.2%}</td>'
        f'<td class="bar"><i style="width:{100 * count / most:.1f}%"></i></td></tr>'
        for name, count in labels.items()
    )
    return f"<table>{rows}</table>"


def _list(faults: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(fault)}</li>' for fault in faults)}</ul>" if faults else ""


def _frame(report: DoctorReport, source: Source) -> Frame | None:
    """The middle one of the frames that could be read, with as many usable pictures as any, and only those."""
    whole = [frame for frame in report.frames if frame.scan is not None]
    if not whole:
        return None
    most = max(len(frame.views) for frame in whole)
    fit = [frame for frame in whole if len(frame.views) == most]
    chosen = fit[len(fit) // 2]
    frame = source[chosen.index]
    return replace(frame, views=tuple(view for view in frame.views if view.name in chosen.views))
