from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill import taxonomy
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.files import PointFile, read_points, write_points


def change(rig, edit):
    """Rewrite rig.yaml after ``edit`` of its content."""
    content = yaml.safe_load((rig / "rig.yaml").read_text())
    edit(content)
    (rig / "rig.yaml").write_text(yaml.safe_dump(content))
    return rig


def lists(source):
    """The splits without the fractions of train."""
    return {name: rows for name, rows in source.splits.items() if not name.startswith("train-")}


def test_a_rig_folder_is_read(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path / "rig", frames=3, cameras=4)
    source = open_source(str(rig))
    assert (source.name, source.spec, len(source)) == ("rig", str(rig), 3)
    assert lists(source) == {"train": (0, 1), "val": (2,)}
    assert source.taxonomy.name == "city-16"
    sensor = source.sensor
    assert (sensor.name, sensor.rate, sensor.rings, sensor.fov) == ("tiny-16", 10, 16, (-25, 8))
    assert (sensor.intensity, sensor.max_range, sensor.forward) == ((30, 20), 100, "+x")
    frame = source[1]
    written = np.fromfile(rig / "scans/000001.bin", np.float32).reshape(-1, 5)
    np.testing.assert_array_equal(frame.points, written[:, :3])
    np.testing.assert_array_equal(frame.intensity, written[:, 3])
    np.testing.assert_array_equal(frame.ring, written[:, 4])
    raw = np.fromfile(rig / "labels/000001.label", np.uint32)
    np.testing.assert_array_equal(frame.labels, taxonomy.load("city-16").apply(raw))
    assert frame.token == "rig/000001"
    assert frame.sensor == sensor
    assert [view.name for view in frame.views] == ["back", "front", "left", "right"]
    with Image.open(rig / "images/left/000001.png") as image:
        np.testing.assert_array_equal(frame.view("left").image(), np.asarray(image))
    assert frame.view("front").intrinsics.tolist() == [[96, 0, 96], [0, 96, 48], [0, 0, 1]]
    assert source.split("val")[0].token == "rig/000002"
    assert len(source.split("train")) == 2
    assert source[-1].token == "rig/000002"
    with pytest.raises(IndexError):
        source[3]


def test_the_calibration_of_the_tiny_rig_fits_its_pictures(tmp_path, tiny_rig):
    """Points on the red car fall on red pixels: the reader mixes up neither axes nor frames."""
    frame = open_source(str(tiny_rig(tmp_path)))[0]
    view = frame.view("front")
    car = frame.points[(frame.labels == 3) & (frame.points[:, 0] > 1)]
    camera = car @ view.from_lidar[:3, :3].T + view.from_lidar[:3, 3]
    u, v, w = (camera @ view.intrinsics.T).T
    pixels = view.image()[(v / w).astype(int), (u / w).astype(int)]
    assert len(car) > 20
    assert (pixels[:, 0] > 100).mean() > 0.9
    assert (pixels[:, 1] < 60).mean() > 0.9


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pcd", ".ply", ".las", ".laz"])
def test_scans_in_any_format(tmp_path, tiny_rig, suffix):
    rig = tiny_rig(tmp_path, frames=2)
    expected = open_source(str(rig))[0]
    path = rig / "scans/000000.bin"
    write_points(path.with_suffix(suffix), read_points(path, 5))
    path.unlink()
    found = open_source(str(rig))[0]
    np.testing.assert_allclose(found.points, expected.points, atol=6e-5)
    np.testing.assert_array_equal(found.intensity, expected.intensity)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_labels_inside_the_point_file(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path, labels=False)
    change(rig, lambda content: content.update(classes=["road", "thing"]))
    cloud = read_points(rig / "scans/000000.bin", 5)
    raw = (np.arange(len(cloud)) % 3 + (5 << 16)).astype(np.uint32)
    (rig / "scans/000000.bin").unlink()
    write_points(rig / "scans/000000.pcd", PointFile(cloud.points, cloud.intensity, labels=raw))
    source = open_source(str(rig))
    assert source.taxonomy.classes == ("road", "thing")
    np.testing.assert_array_equal(source[0].labels, np.array([0, 1, 255])[np.arange(len(cloud)) % 3])
    assert source[1].labels is None


def test_a_frame_without_its_image_has_fewer_views(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path, cameras=2)
    (rig / "images/front/000001.png").unlink()
    source = open_source(str(rig))
    assert [[view.name for view in source[i].views] for i in range(3)] == [
        ["front", "left"],
        ["left"],
        ["front", "left"],
    ]


def test_a_rig_without_images_labels_splits(tmp_path, tiny_rig):
    source = open_source(str(tiny_rig(tmp_path, labels=False, images=False, splits=False)))
    frame = source[0]
    assert frame.views == ()
    assert frame.labels is None
    assert source.taxonomy is None
    assert lists(source) == {"train": (0, 1, 2)}
    with pytest.raises(InputError, match=r"no split 'val'; there are: train \(3 frames\)"):
        source.split("val")


def test_fractions_of_train_are_every_so_manieth_scan(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path, frames=12, images=False)
    splits = open_source(str(rig)).splits
    assert (splits["train-25"], splits["train-50"]) == ((0, 4, 8), (0, 2, 4, 6, 8, 10))
    assert splits["train-1"] == (0,)
    (rig / "splits.yaml").write_text("train: [000003, 000001]\ntrain-50: [000001]\n")
    splits = open_source(str(rig)).splits
    assert splits["train-50"] == (1,)  # the file's own
    assert splits["train-25"] == (3,)


def test_labels_without_a_class_list_are_not_read(tmp_path, tiny_rig):
    rig = change(tiny_rig(tmp_path), lambda content: content.pop("classes"))
    (rig / "labels/000000.label").write_bytes(b"123")
    assert open_source(str(rig))[0].labels is None
    with pytest.raises(InputError, match=r"000000\.label"):
        open_source(str(rig), classes="city-16")[0]


def test_another_class_list(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path)
    change(rig, lambda content: content.update(classes="kitti-10"))
    assert open_source(str(rig)).taxonomy.source == "semantic-kitti"
    assert open_source(str(rig), classes="semantic-kitti-19").taxonomy.source == "semantic-kitti"
    with pytest.raises(InputError, match="no table for the raw ids of 'semantic-kitti'"):
        open_source(str(rig), classes="waymo-10")
    change(rig, lambda content: content.update(classes=["a", "b"]))
    with pytest.raises(InputError, match=r"rig\.yaml: classes is a list of names"):
        open_source(str(rig), classes="kitti-10")


def test_a_class_list_beside_the_rig(tmp_path, tiny_rig):
    rig = change(tiny_rig(tmp_path), lambda content: content.update(classes="mine.yaml"))
    mine = {
        "name": "mine",
        "classes": {"ground": [9, 9, 9]},
        "default": "rig",
        "sources": {"rig": {1: ["road", "ground"]}},
    }
    (rig / "mine.yaml").write_text(yaml.safe_dump(mine))
    assert set(open_source(str(rig))[0].labels) == {0, 255}


def test_few_bad_points_are_dropped_with_their_labels(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path)
    before = open_source(str(rig))[0]
    rows = np.fromfile(rig / "scans/000000.bin", np.float32).reshape(-1, 5)
    rows[[3, 8], 0], rows[10, 3] = [np.nan, np.inf], np.nan
    rows.tofile(rig / "scans/000000.bin")
    after = open_source(str(rig))[0]
    kept = np.delete(np.arange(len(before)), [3, 8, 10])
    np.testing.assert_array_equal(after.points, before.points[kept])
    np.testing.assert_array_equal(after.labels, before.labels[kept])
    np.testing.assert_array_equal(after.ring, before.ring[kept])


def test_a_scan_without_intensity_counts_as_zero(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path)
    cloud = read_points(rig / "scans/000000.bin", 5)
    (rig / "scans/000000.bin").unlink()
    np.save(rig / "scans/000000.npy", cloud.points)
    assert not open_source(str(rig))[0].intensity.any()


def test_stems_that_yaml_would_read_as_numbers(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path, frames=11)
    (rig / "splits.yaml").write_text("train: [000007, 000009]\nval:\n - 000010\ntest: []\n")
    assert lists(open_source(str(rig))) == {"train": (7, 9), "val": (10,), "test": ()}


def test_exponents_without_a_dot(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path)
    text = (rig / "rig.yaml").read_text()
    (rig / "rig.yaml").write_text(text.replace("rate: 10", "rate: 1e1").replace("max_range: 100", "max_range: 1E+2"))
    assert open_source(str(rig)).sensor.rate == 10
    assert open_source(str(rig)).sensor.max_range == 100


def test_nuscenes_names_and_hidden_files(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path)
    for stem in ("000000", "000001"):
        (rig / f"scans/{stem}.bin").rename(rig / f"scans/{stem}.pcd.bin")
    (rig / "scans/.000002.bin").write_bytes(b"")
    (rig / "scans/readme.txt").write_text("hello")
    source = open_source(str(rig))
    assert source.stems == ("000000", "000001", "000002")
    assert len(source[0].views) == 1


def test_opening_reads_no_scan_and_pickles_small(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path, frames=3)
    for scan in (rig / "scans").iterdir():
        scan.write_bytes(b"")
    for i in range(3, 1000):
        (rig / f"scans/{i:06d}.bin").write_bytes(b"")
    (rig / "splits.yaml").unlink()
    source = open_source(str(rig))
    assert len(source) == 1000
    assert len(pickle.dumps(source)) < 60 * 1000
    with pytest.raises(InputError, match=r"000000\.bin: the file is empty"):
        source[0]


def test_sources_and_views_survive_pickling(tmp_path, tiny_rig):
    source = pickle.loads(pickle.dumps(open_source(str(tiny_rig(tmp_path))).split("val")))
    frame = pickle.loads(pickle.dumps(source[0]))
    assert frame.views[0].image().shape == (96, 192, 3)


def test_distortion_is_passed_on(tmp_path, tiny_rig):
    lens = {"model": "fisheye", "coefficients": [0.1, 0, 0, 0.5]}
    rig = change(tiny_rig(tmp_path), lambda content: content["cameras"]["front"].update(distortion=lens))
    distortion = open_source(str(rig))[0].views[0].distortion
    assert (distortion.model, distortion.coefficients) == ("fisheye", (0.1, 0, 0, 0.5))


def test_lenses_have_their_ros_names_too(tmp_path, tiny_rig):
    lens = {"model": "plumb_bob", "coefficients": [0.1, 0, 0, 0, 0]}
    rig = change(tiny_rig(tmp_path), lambda content: content["cameras"]["front"].update(distortion=lens))
    assert open_source(str(rig))[0].views[0].distortion.model == "radtan"


def test_a_matrix_in_one_row_is_one_sentence(tmp_path, tiny_rig):
    flat = [100.0, 0, 50, 0, 100, 50, 0, 0, 1]
    rig = change(tiny_rig(tmp_path), lambda content: content["cameras"]["front"].update(intrinsics=flat))
    with pytest.raises(InputError) as caught:
        open_source(str(rig))
    assert "expected rows, [[...], [...], ...], found 9 values in one list" in str(caught.value)
    assert str(caught.value).count("intrinsics") == 1


def test_relative_paths_and_a_dot(tmp_path, tiny_rig, monkeypatch):
    monkeypatch.chdir(tiny_rig(tmp_path / "my_rig"))
    assert open_source(".").name == "my_rig"
    shutil.copytree(tmp_path / "my_rig", tmp_path / "odd:name")
    assert open_source(str(tmp_path / "odd:name")).name == "odd:name"
