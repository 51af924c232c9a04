"""The doctor's test of the calibration: what is right passes, what is wrong is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import lidistill
from doctors import GROSS, Changed, examined, views
from lidistill.apps.doctor import DoctorReport, summary
from lidistill.datasets.source import Source, open_source
from lidistill.sensing.examine.alignment import rotation
from lidistill.sensing.frame import CameraView, Distortion, Frame


@pytest.fixture(scope="module")
def rig(tiny_rig: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes on a plane, 16 beams, three cameras."""
    return tiny_rig(tmp_path_factory.mktemp("doctor") / "rig", frames=6, cameras=3, height=144, width=288)


@pytest.mark.parametrize("code", GROSS)
def test_gross_fault_is_named(rig: Path, code: str) -> None:
    report = examined(Changed(open_source(str(rig)), GROSS[code]))
    faults = [finding.code for finding in report.findings if finding.severity == "fault"]
    assert code in faults
    assert report.exit_code == 1
    assert all(finding.fix for finding in report.findings if finding.severity == "fault")


def test_suggested_matrix_is_the_right_one(rig: Path) -> None:
    source = open_source(str(rig))
    report = examined(Changed(source, GROSS["inverted-matrix"]))
    for view in source[0].views:
        assert np.allclose(report.figures["cameras"][view.name]["after"]["from_lidar"], view.from_lidar, atol=1e-5)


@pytest.mark.parametrize("whole", [False, True], ids=["from_lidar", "all"])
def test_exchanged_cameras_of_different_lenses(tmp_path: Path, tiny_rig: Callable[..., Path], whole: bool) -> None:
    """Whether the intrinsics were exchanged too is told apart: the wrong half of the advice would break them."""
    root = tiny_rig(tmp_path / "rig", frames=6, cameras=3, height=144, width=288)
    record = yaml.safe_load((root / "rig.yaml").read_text())
    front, left = (record["cameras"][name] for name in ("front", "left"))
    crop(root / "images/front", 0.6)  # a longer lens: the middle of the picture, enlarged
    front["intrinsics"] = (zoom(0.6) @ np.array(front["intrinsics"])).tolist()
    for key in ("from_lidar", "intrinsics") if whole else ("from_lidar",):
        front[key], left[key] = left[key], front[key]
    (root / "rig.yaml").write_text(yaml.safe_dump(record))
    found = [finding for finding in examined(open_source(str(root))).findings if finding.code == "swapped-cameras"]
    assert [finding.camera for finding in found] == ["front", "left"]
    assert all(("leave their intrinsics" in finding.fix) is not whole for finding in found)
    assert all(("the whole calibrations" in finding.fix) is whole for finding in found)


def zoom(share: float, height: int = 144, width: int = 288) -> np.ndarray:
    """From pixels of a picture to those of its middle ``share``, enlarged to the same size."""
    middle = np.array([width / 2 - 0.5, height / 2 - 0.5])
    return np.array(
        [[1 / share, 0, middle[0] * (1 - 1 / share)], [0, 1 / share, middle[1] * (1 - 1 / share)], [0, 0, 1]]
    )


def crop(folder: Path, share: float) -> None:
    for path in folder.iterdir():
        image = Image.open(path).convert("RGB")
        width, height = image.size
        box = tuple(size * (1 + sign * share) / 2 for sign in (-1, 1) for size in (width, height))
        image.resize((width, height), Image.Resampling.BICUBIC, box=box).save(path)


# ---- small faults, on a finer scan


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Two streets of the synthetic city, 64 beams, one camera."""
    pytest.importorskip("embreex")
    out = tmp_path_factory.mktemp("doctor-city") / "city"
    return open_source(str(lidistill.simulate(out, sensor="spinning-64", scenes=2, frames=2, seed=5)))


def test_city_is_healthy_and_json_can_be_read(city: Source) -> None:
    report = examined(city)
    assert report.healthy, [finding.says for finding in report.findings]
    assert not report.findings
    told = json.loads(json.dumps(report.as_dict()))
    assert told["cameras"]["front"]["verdict"] == "good"
    assert np.abs(told["cameras"]["front"]["turn_degrees"]).max() <= 0.25


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (1, 1), (2, -1)])
def test_a_degree_is_named_with_axis_and_sign(city: Source, axis: int, sign: int) -> None:
    turn = np.eye(4)
    turn[:3, :3] = rotation((sign * np.eye(3)[axis]).tolist())
    report = examined(Changed(city, views(lambda view: replace(view, from_lidar=turn @ view.from_lidar))))
    (test,) = report.cameras
    assert test.code == "rotation"
    assert test.search is not None
    assert np.allclose(test.search.offset, -sign * np.eye(3)[axis], atol=0.3)
    assert f"degrees about {'xyz'[axis]}" in test.fix


@pytest.mark.parametrize(("axis", "value", "really"), [(2, -0.5, "0.5 m further back"), (0, 0.5, "m further right")])
def test_the_words_about_a_shift_repair_it(city: Source, axis: int, value: float, really: str) -> None:
    wrong = Changed(city, views(lambda view: replace(view, from_lidar=shift(axis, value) @ view.from_lidar)))
    report = examined(wrong)
    (test,) = report.cameras
    assert test.code == "translation"
    assert really in test.says
    told = re.findall(r"([+-][\d.]+) m to the (first|second|third) entry", test.fix)
    mend = np.eye(4)
    for number, entry in told:
        mend = shift(["first", "second", "third"].index(entry), float(number)) @ mend
    assert repaired(wrong, mend, report)


@pytest.mark.parametrize(("axis", "value", "really"), [(0, 1.0, "degrees upwards"), (1, -1.0, "degrees to the left")])
def test_the_words_about_a_turn_repair_it(city: Source, axis: int, value: float, really: str) -> None:
    turn = np.eye(4)
    turn[:3, :3] = rotation((value * np.eye(3)[axis]).tolist())
    wrong = Changed(city, views(lambda view: replace(view, from_lidar=turn @ view.from_lidar)))
    report = examined(wrong)
    (test,) = report.cameras
    assert really in test.says
    told = {name: float(number) for number, name in re.findall(r"([+-][\d.]+) degrees about ([xyz])", test.fix)}
    mend = np.eye(4)
    mend[:3, :3] = rotation([told.get(name, 0.0) for name in "xyz"])
    assert repaired(wrong, mend, report)


def shift(axis: int, value: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[axis, 3] = value
    return matrix


def repaired(wrong: Source, mend: np.ndarray, report: DoctorReport) -> bool:
    """Whether the recordings are healthy after ``mend``, and the matrix that is printed says the same."""
    _, printed = summary(report).split("from_lidar:\n", 1)
    matrix = np.array([yaml.safe_load(line)[0] for line in printed.splitlines()[:4]])
    assert np.allclose(matrix, mend @ wrong[0].views[0].from_lidar, atol=0.06)
    return examined(Changed(wrong, views(lambda view: replace(view, from_lidar=mend @ view.from_lidar)))).healthy


def test_a_lens_that_the_file_does_not_know_is_named(city: Source) -> None:
    """A missing distortion must not be mended by moving the camera."""
    wrong = Changed(city, views(lambda view: replace(view, load=lambda: through_lens(view, -0.2))))
    report = examined(wrong)
    (test,) = report.cameras
    assert test.code == "distortion"
    assert "the file has none, a radial k1 of about -0.2 fits" in test.says
    assert "from_lidar:" not in summary(report)
    known = Distortion("radtan", (-0.2, 0.0, 0.0, 0.0))
    assert examined(Changed(wrong, views(lambda view: replace(view, distortion=known)))).healthy


@pytest.mark.parametrize(
    "lens",
    [Distortion("radtan", (-0.3, 0, 0, 0)), Distortion("fisheye", (0.0, 0.0, 0.0, 0.0))],
    ids=["radial", "model"],
)
def test_a_lens_that_the_pictures_do_not_have_is_named(city: Source, lens: Distortion) -> None:
    (test,) = examined(Changed(city, views(lambda view: replace(view, distortion=lens)))).cameras
    assert test.code == "distortion"
    assert "the pictures have none" in test.says


def through_lens(view: CameraView, k1: float) -> np.ndarray:
    """The picture as a lens with radial distortion takes it."""
    image, matrix = view.image(), view.intrinsics
    v, u = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    seen = np.stack([(u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1]])
    plane = seen
    for _ in range(20):
        plane = seen / (1 + k1 * (plane**2).sum(0))
    column, row = (plane[i] * matrix[i, i] + matrix[i, 2] for i in (0, 1))
    height, width = row.shape
    return image[np.clip(row.round().astype(int), 0, height - 1), np.clip(column.round().astype(int), 0, width - 1)]


def test_pictures_of_the_frame_before_are_noticed(city: Source) -> None:
    @dataclass(frozen=True)
    class Late(Changed):
        def __getitem__(self, index: int) -> Frame:
            frame, before = self.source[index], self.source[max(index - 1, 0)]
            return replace(frame, views=(replace(frame.views[0], load=before.views[0].load),))

    report = examined(Late(city, lambda frame: frame))
    assert report.figures["frame_shift"] == 1
    assert "frames-shifted" in [finding.code for finding in report.findings]
