from __future__ import annotations

import kitti_folders as make
import numpy as np
import pytest
from nuscenes_folder import make_nuscenes

from lidistill.apps.doctor_frames import Job, examine_frame
from lidistill.datasets.source import open_source
from lidistill.errors import InputError

VERSION = "v1.0-trainval"


def make_kitti_c(root, parts=("fog/light", "fog/heavy", "snow/light"), numbers=(0, 5)):
    for part in parts:
        for number in numbers:
            make.scan(root / part / f"velodyne/{number:06d}.bin", 6, seed=number)
            make.labels(root / part / f"labels/{number:06d}.label", np.array([10, 40, 21, 22, 23, 50 + (3 << 16)]))
    return root


def test_one_corruption_in_one_severity(tmp_path):
    source = open_source(f"semantic-kitti-c:{make_kitti_c(tmp_path)}?corruption=fog&severity=heavy")
    assert source.splits == {"val": (0, 1)}
    assert source.spec == f"semantic-kitti-c:{tmp_path}?corruption=fog&severity=heavy"
    assert source.sensor.name == "hdl-64e"
    frame = source[1]
    assert frame.token == "semantic-kitti-c/fog/heavy/000005"
    assert frame.labels.tolist() == [0, 8, 255, 255, 255, 12]  # simulated points are ignored
    assert frame.views == ()
    ten = open_source(f"semantic-kitti-c:{tmp_path}?corruption=fog&severity=heavy", classes="kitti-10")
    assert ten[0].labels.tolist() == [0, 6, 255, 255, 255, 255]


OPTIONS = {
    "none": ("", r"the option 'corruption' is missing, .*found fog \(light, heavy\), snow \(light\)"),
    "no severity": ("?corruption=fog", r"the option 'severity' is missing, .*found fog \(light, heavy\)"),
    "no corruption": ("?severity=heavy", r"the option 'corruption' is missing"),
    "near": ("?corruption=snwo&severity=light", "no corruption 'snwo'; did you mean 'snow'"),
    "absent": ("?corruption=snow&severity=heavy", r"no severity 'heavy'; known: light; found fog \(light, heavy\)"),
    "typing": ("?corruption=fog&severity=heavi", "no severity 'heavi'; did you mean 'heavy'"),
    "unknown": ("?corruption=fog&level=heavy", "has no option 'level'"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(tmp_path, name):
    query, message = OPTIONS[name]
    with pytest.raises(InputError, match=message):
        open_source(f"semantic-kitti-c:{make_kitti_c(tmp_path)}{query}")


def test_damage(tmp_path):
    source = open_source(f"semantic-kitti-c:{make_kitti_c(tmp_path, numbers=(0, 1, 2))}?corruption=fog&severity=light")
    (tmp_path / "fog/light/velodyne/000000.bin").write_bytes(b"0" * 17)
    make.labels(tmp_path / "fog/light/labels/000001.label", np.zeros(5, np.uint32))
    (tmp_path / "fog/light/labels/000002.label").unlink()
    for index, message in ((0, "17 bytes, expected"), (1, "5 labels, expected 6")):
        with pytest.raises(InputError, match=message):
            source[index]
    assert source[2].labels is None


def test_nothing_there(tmp_path):
    (tmp_path / "fog").mkdir()
    for name in ("semantic-kitti-c", "nuscenes-c"):
        with pytest.raises(InputError, match=r"no scan found, expected (SemanticKITTI|nuScenes)-C: .*found fog"):
            open_source(f"{name}:{tmp_path}?corruption=fog&severity=light")
    (tmp_path / "fog/light/velodyne").mkdir(parents=True)
    with pytest.raises(InputError, match="no scan found"):
        open_source(f"semantic-kitti-c:{tmp_path}?corruption=fog&severity=light")


# ---- nuScenes-C


@pytest.fixture
def nuscenes_c(tmp_path):
    """A nuScenes folder and one corruption of its key frames: every second point gone, one made fog."""
    made = make_nuscenes(tmp_path / "nuscenes", version=VERSION)
    part = tmp_path / "nuScenes-C/fog/light"
    for folder in ("samples/LIDAR_TOP", f"lidarseg/{VERSION}"):
        (part / folder).mkdir(parents=True)
    for row in made.rows("LIDAR_TOP"):
        points = np.fromfile(made.root / row["filename"], "<f4").reshape(-1, 5)
        labels = f"lidarseg/{VERSION}/{row['token']}_lidarseg.bin"
        raw = np.fromfile(made.root / labels, np.uint8)
        raw[0] = 41
        points[::2].tofile(part / row["filename"])
        raw[::2].tofile(part / labels)
    return made, tmp_path / "nuScenes-C"


def spec_of(nuscenes_c):
    made, root = nuscenes_c
    return f"nuscenes-c:{root}?corruption=fog&severity=light&tables={made.root}"


def test_the_tables_say_which_labels(nuscenes_c):
    made, _ = nuscenes_c
    source, clean = open_source(spec_of(nuscenes_c)), open_source(f"nuscenes:{made.root}")
    assert source.spec == spec_of(nuscenes_c)
    assert len(source) == len(clean) == 4
    assert source.splits == {"val": (0, 1, 2, 3)}
    for frame, whole in zip(source, clean, strict=True):
        assert frame.token == f"nuscenes-c/fog/light/{whole.token.split('/')[-1]}"
        np.testing.assert_array_equal(frame.points, whole.points[::2])
        np.testing.assert_array_equal(frame.ring, whole.ring[::2])
        np.testing.assert_array_equal(frame.labels[1:], whole.labels[2::2])
        assert frame.labels[0] == 255
        assert frame.views == ()


def test_simulated_points_are_no_fault(nuscenes_c):
    """Their ids are of this data set's own: the doctor must not take them for those of another class list."""
    source = open_source(spec_of(nuscenes_c))
    figures = examine_frame(source, Job(0, tested=False, beside=False))
    assert max(figures.raw) < len(source.taxonomy.table)
    assert figures.raw[0] > 0
    assert source[0].labels[0] == 255


def test_part_of_the_scans(nuscenes_c):
    _, root = nuscenes_c
    scans = sorted((root / "fog/light/samples/LIDAR_TOP").iterdir())
    scans[0].unlink()
    source = open_source(spec_of(nuscenes_c))
    assert len(source) == 3
    for labels in (root / "fog/light/lidarseg" / VERSION).iterdir():
        labels.write_bytes(b"\1\2")
    with pytest.raises(InputError, match=r"2 labels .one byte each., expected 25 as there are points in"):
        source[0]
    for labels in (root / "fog/light/lidarseg" / VERSION).iterdir():
        labels.unlink()
    assert source[0].labels is None
    for scan in scans[1:]:
        scan.rename(scan.with_name(f"other-{scan.name}"))
    with pytest.raises(InputError, match=r"3 scans, such as other-.*, but none of them is in the tables"):
        open_source(spec_of(nuscenes_c))


def test_without_tables(nuscenes_c):
    made, root = nuscenes_c
    with pytest.raises(InputError, match=r"only the tables of nuScenes .*; add &tables=/path/to/nuscenes"):
        open_source(f"nuscenes-c:{root}?corruption=fog&severity=light")
    (made.root / VERSION / "scene.json").unlink()
    with pytest.raises(InputError, match=r"scene.json: "):
        open_source(spec_of(nuscenes_c))
