"""The doctor on recordings that are unusual and not wrong: no false alarm, and figures that may be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from doctors import Changed, examined, exchanged
from lidistill.apps.doctor import statistics_text, summary
from lidistill.apps.doctor_page import render
from lidistill.datasets.rig_file import read_rig_file
from lidistill.datasets.source import Source, open_source
from lidistill.sensing.examine.scan import count_beams, scan_figures
from lidistill.sensing.frame import Frame


@pytest.fixture(scope="module")
def rig(tiny_rig: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source(str(tiny_rig(tmp_path_factory.mktemp("odd") / "rig", 6, 3, height=144, width=288)))


def first(frame: Frame) -> bool:
    return frame.token.endswith("000000")


def test_a_lidar_of_one_beam_and_no_record_is_no_fault(rig: Source) -> None:
    """A dozen edges fit many a mistake by chance."""
    known = replace(rig.sensor, intensity=None, rate=None, rings=None, fov=None)
    report = examined(Changed(rig, lambda frame: frame.select(frame.ring == 5)))
    assert [f for f in report.findings if f.severity == "fault"] == []
    assert {test.verdict for test in report.cameras} == {"undecided"}
    none = examined(Changed(replace(rig, sensor=known), lambda frame: replace(frame, views=(), sensor=known)))
    assert none.healthy
    assert [finding.code for finding in none.findings if finding.code == "no-pictures"]
    assert "no-pictures" not in [finding.code for finding in report.findings]
    assert "no pictures: no calibration was tested" in summary(none)
    assert "no pictures: no calibration was tested" in render(none, rig)
    for found in (report, none):
        json.loads(json.dumps(found.as_dict(), allow_nan=False))
        summary(found)


def test_exchanged_cameras_are_named_when_the_first_frame_lacks_a_picture(rig: Source) -> None:
    def change(frame: Frame) -> Frame:
        frame = exchanged(frame)
        return replace(frame, views=frame.views[1:]) if first(frame) else frame

    one, other = (view.name for view in rig[0].views[:2])
    report = examined(Changed(rig, change))
    named = {finding.camera for finding in report.findings if finding.code == "swapped-cameras"}
    assert named == {one, other}


def test_returns_of_the_own_vehicle_are_no_elevations(rig: Source) -> None:
    frame = rig[0]
    below = np.tile(np.float32([[0.3, 0.1, -0.9]]), (len(frame) // 20, 1))
    points = np.concatenate([frame.points, below])
    dirty = Frame(points, np.zeros(len(points), np.float32), frame.sensor, "dirty")
    assert scan_figures(dirty).fov == pytest.approx((-25, 8), abs=0.5)


def test_waves_are_no_beams() -> None:
    """A prism lidar has no rings; what its scan lines leave in the elevations is shallow."""
    rng = np.random.default_rng(0)
    prism = rng.uniform(-10, 10, 600_000)
    prism = prism[rng.random(600_000) < 0.8 + 0.2 * np.sin(prism * 2)]
    assert count_beams(prism) == 0
    assert count_beams(np.repeat(np.linspace(-15, 15, 16), 1000) + rng.normal(0, 0.02, 16_000)) == 16
    assert count_beams(np.repeat(np.linspace(-24, 2, 64), 1000) + rng.normal(0, 0.05, 64_000)) == pytest.approx(64, 0.1)


def test_estimated_beams_are_not_pasted(rig: Source) -> None:
    assert "\n  rings: 16\n" in statistics_text(examined(rig))
    text = statistics_text(examined(Changed(rig, lambda frame: replace(frame, ring=None))))
    assert "\n  # rings: about 16, estimated" in text
    flat = examined(Changed(rig, lambda frame: replace(frame.select(np.arange(99)), ring=None)))
    assert "rings" not in statistics_text(flat)
    assert "beams not told apart" in summary(flat)


@pytest.mark.parametrize(("recorded", "measured"), [(20.0, 20.0), (None, 2.0), (1.0, 2.0)])
def test_key_frames_do_not_slow_the_lidar_down(rig: Source, recorded: float | None, measured: float) -> None:
    """nuScenes: scans at 20 Hz, two of them a second in the data set."""
    sensor = replace(rig.sensor, rate=recorded)
    source = replace(rig, sensor=sensor)
    report = examined(Changed(source, lambda f: replace(f, timestamp=0.5 * int(f.token[-6:]), sensor=sensor, views=())))
    assert report.measured is not None
    assert report.measured.rate == pytest.approx(measured)
    (line,) = (line for line in statistics_text(report).splitlines() if "rate:" in line)
    assert ("(not measured)" in line) is (recorded == measured)


def test_statistics_of_odd_lidars_can_be_pasted(rig: Source, tmp_path: Path) -> None:
    """No intensity, one elevation, a name that YAML would take for a number."""
    sensor = replace(rig.sensor, name="0128", intensity=None, rings=None)

    def flat(frame: Frame) -> Frame:
        points = frame.points * np.float32([1, 1, 0])
        return replace(frame, points=points, intensity=frame.intensity * 0, sensor=sensor, views=())

    for change in (flat, lambda frame: replace(flat(frame), points=frame.points)):
        text = statistics_text(examined(Changed(replace(rig, sensor=sensor), change)))
        (tmp_path / "rig.yaml").write_text(text)
        pasted = read_rig_file(tmp_path / "rig.yaml").lidar
        assert (pasted.name, pasted.intensity) == ("0128", [0, 1])
    assert pasted.fov == pytest.approx([-25, 8], abs=0.5)


def test_what_was_not_measured_is_marked(rig: Source) -> None:
    lines = statistics_text(examined(rig)).splitlines()
    marked = {line.split(":")[0].strip() for line in lines if line.endswith("# (not measured)")}
    assert marked == {"name", "rate", "forward"}
    assert yaml.safe_load("\n".join(lines))["lidar"]["forward"] == rig.sensor.forward


def test_scans_put_together_have_no_turn(rig: Source) -> None:
    """Ten scans of nuScenes span half a second: that is not the time of a turn."""
    frame = rig[0]
    ages = np.repeat(np.float32([0, 0.05, 0.1, 0.45]), -(-len(frame) // 4))[: len(frame)]
    turning = np.linspace(0, 0.1, len(frame), dtype=np.float32)
    assert scan_figures(replace(frame, time=ages)).span is None
    assert scan_figures(replace(frame, time=turning)).span == pytest.approx(0.1)
