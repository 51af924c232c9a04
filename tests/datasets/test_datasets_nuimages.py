"""nuImages: a miniature in the original layout, and ten kinds of damage."""

from __future__ import annotations

import base64
import json
import pickle

import numpy as np
import pytest
from PIL import Image
from run_length_text import encode, runs_of

from lidistill import taxonomy
from lidistill.datasets.pictures.pictures import open_pictures
from lidistill.errors import InputError

HEIGHT, WIDTH = 9, 16
CATEGORIES = ["vehicle.car", "human.pedestrian.adult", "flat.driveable_surface", "vehicle.ego", "animal"]


def box(top, bottom, left, right):
    binary = np.zeros((HEIGHT, WIDTH), np.uint8)
    binary[top:bottom, left:right] = 1
    return binary


def annotation(token, picture, category, binary, **more):
    found = None
    if binary is not None:
        found = {"size": list(binary.shape), "counts": base64.b64encode(encode(runs_of(binary))).decode()}
    row = {"category_token": f"c-{category}", "mask": found, "sample_data_token": picture, "token": token}
    return row | more


def write(root, version, name, rows, indent=0):
    (root / f"v1.0-{version}").mkdir(parents=True, exist_ok=True)
    (root / f"v1.0-{version}" / f"{name}.json").write_text(json.dumps(rows, indent=indent))


def change(root, version, name, edit):
    path = root / f"v1.0-{version}" / f"{name}.json"
    rows = json.loads(path.read_text())
    edit(rows)
    path.write_text(json.dumps(rows, indent=1))


def pictures(root, version, count):
    """``count`` samples with a key picture, another picture and a scan each."""
    samples, data = [], []
    for i in range(count):
        token, file = f"{version}-{i}", f"samples/CAM_FRONT/{version}-{i}.jpg"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 10 * i, np.uint8)).save(root / file)
        samples.append({"token": f"s-{token}", "timestamp": i, "key_camera_token": token, "log_token": "l"})
        size = {"height": HEIGHT, "width": WIDTH, "sample_token": f"s-{token}"}
        data.append({"token": token, "filename": file, "is_key_frame": True, "fileformat": "jpg", **size})
        data.append({"token": f"{token}-x", "filename": "sweeps/x.jpg", "is_key_frame": False, **size})
        scan = {"token": f"{token}-l", "filename": "samples/LIDAR_TOP/x.pcd.bin", "is_key_frame": True}
        data.append(scan | {"height": None, "width": None, "sample_token": f"s-{token}"})
    write(root, version, "sample", samples)
    write(root, version, "sample_data", data[::-1])
    write(root, version, "category", [{"token": f"c-{name}", "name": name, "description": ""} for name in CATEGORIES])


@pytest.fixture
def nuimages(tmp_path):
    root = tmp_path / "nuimages"
    pictures(root, "train", 3)
    road, ego = box(5, 9, 0, 16), box(8, 9, 4, 12)
    large, small = box(2, 7, 2, 10), box(3, 6, 4, 7)
    objects = [
        annotation("o1", "train-0", "human.pedestrian.adult", small, bbox=[4, 3, 7, 6], attribute_tokens=["a"]),
        annotation("o0", "train-1", "animal", box(0, 3, 0, 3), bbox=[0, 0, 3, 3], attribute_tokens=[]),
        annotation("o2", "train-0", "vehicle.car", large, bbox=[2, 2, 10, 7], attribute_tokens=["a", "b"]),
        annotation("o3", "train-0", "vehicle.car", None, bbox=[0, 0, 1, 1], attribute_tokens=[]),
    ]
    surfaces = [
        annotation("s1", "train-1", "flat.driveable_surface", road),
        annotation("s2", "train-0", "flat.driveable_surface", road),
        annotation("s0", "train-0", "vehicle.ego", ego),
    ]
    write(root, "train", "object_ann", objects)
    write(root, "train", "surface_ann", surfaces)
    pictures(root, "test", 1)
    write(root, "test", "object_ann", [])
    return root


def names(source, classes):
    table = np.full(256, "", object)
    table[: len(source.taxonomy.classes)] = source.taxonomy.classes
    return table[classes]


def test_map_of_classes(nuimages):
    source = open_pictures(f"nuimages:{nuimages}")
    assert source.taxonomy.name == "nuscenes-16"
    picture = source[0]
    expected = np.full((HEIGHT, WIDTH), "", object)
    expected[5:9] = "driveable_surface"
    expected[8, 4:12] = ""  # the car itself, later in the table than the road
    expected[2:7, 2:10] = "car"
    expected[3:6, 4:7] = "pedestrian"  # smaller than the car, so in front of it, though earlier in the table
    assert (names(source, picture.classes) == expected).all()
    assert picture.classes.dtype == np.uint8
    assert picture.token == "nuimages/train/train-0"


def test_pictures_and_splits(nuimages):
    source = open_pictures(f"nuimages:{nuimages}")
    assert source.splits == {"train": (0, 1, 2), "test": (3,)}
    assert source[2].image().shape == (HEIGHT, WIDTH, 3)
    assert abs(int(source[2].image().mean()) - 20) <= 2
    assert (source[2].classes == 255).all(), "without an annotation nothing is said about the pixels"
    assert source.split("test")[0].classes is None
    top = source.split("train")[1].classes
    assert (top[:5] == 255).all(), "animals are no class"
    assert (top[5:] == source.taxonomy.classes.index("driveable_surface")).all()


def test_other_classes(nuimages):
    source = open_pictures(f"nuimages:{nuimages}", classes="nuimages-11")
    assert set(names(source, source[0].classes).flat) == {"", "driveable_surface", "car", "pedestrian"}
    merged = taxonomy.load("nuimages-11", "nuscenes-16")
    sixteen = open_pictures(f"nuimages:{nuimages}")[0].classes
    np.testing.assert_array_equal(merged.apply(sixteen), source[0].classes)


def test_equal_masks_are_ordered_by_token(nuimages):
    def same(rows):
        rows[0]["mask"] = rows[2]["mask"]

    change(nuimages, "train", "object_ann", same)
    source = open_pictures(f"nuimages:{nuimages}")
    assert names(source, source[0].classes)[4, 5] == "car"  # o2 comes after o1
    change(nuimages, "train", "object_ann", lambda rows: rows[0].update(token="o9"))
    source = open_pictures(f"nuimages:{nuimages}")
    assert names(source, source[0].classes)[4, 5] == "pedestrian"


def test_every_layout_of_the_tables(nuimages, monkeypatch):
    """Rows hold masks, which are objects: wherever a table is cut into pieces, and however it is written."""
    from lidistill.datasets import json_table

    expected = [open_pictures(f"nuimages:{nuimages}")[i].classes for i in range(3)]
    for indent, chunk in ((None, 50), (2, 77), (0, 20)):
        monkeypatch.setattr(json_table, "CHUNK", chunk)
        for name in ("object_ann", "surface_ann", "sample_data"):
            path = nuimages / "v1.0-train" / f"{name}.json"
            write(nuimages, "train", name, json.loads(path.read_text()), indent)
        source = open_pictures(f"nuimages:{nuimages}")
        for i in range(3):
            np.testing.assert_array_equal(source[i].classes, expected[i])


def test_workers_get_no_tables(nuimages):
    source = open_pictures(f"nuimages:{nuimages}")
    content = pickle.dumps(source)
    assert b"driveable" not in content.replace(b"driveable_surface", b"", 1)
    assert len(content) < 4000
    np.testing.assert_array_equal(pickle.loads(content)[0].classes, source[0].classes)


def test_pictures_that_are_missing_are_left_out(nuimages):
    (nuimages / "samples" / "CAM_FRONT" / "train-1.jpg").unlink()
    source = open_pictures(f"nuimages:{nuimages}")
    assert [picture.token for picture in (source[i] for i in range(len(source)))] == [
        "nuimages/train/train-0",
        "nuimages/train/train-2",
        "nuimages/test/test-0",
    ]
    for file in (nuimages / "samples" / "CAM_FRONT").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"no picture is there, expected samples/CAM_FRONT/train-0\.jpg"):
        open_pictures(f"nuimages:{nuimages}")


# ---- damage


def runs(row, text):
    row["mask"]["counts"] = base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[2]["mask"].update(size=[9, 15]), "row 'o2': the mask is 9 x 15, its picture 9 x 16"),
        (lambda rows: runs(rows[2], encode([10, 5])), "row 'o2': the mask is damaged: the runs cover 15 pixels"),
        (lambda rows: runs(rows[2], b"\x00"), "row 'o2': the mask is damaged: character 1 is 0"),
        (lambda rows: runs(rows[2], b"o"), "row 'o2': the mask is damaged: it ends within a number"),
    ],
)
def test_damaged_masks_are_named_when_they_are_read(nuimages, edit, message):
    change(nuimages, "train", "object_ann", edit)
    source = open_pictures(f"nuimages:{nuimages}")
    with pytest.raises(InputError, match=rf"v1\.0-train/object_ann\.json: {message}"):
        source[0]
    assert source[1].classes is not None


@pytest.mark.parametrize(
    ("table", "edit", "message"),
    [
        ("object_ann", lambda rows: rows[0]["mask"].update(counts="no base64!"), "row 'o1': the mask is no base64"),
        ("object_ann", lambda rows: rows[0]["mask"].update(size=[9]), "row 'o1': not enough values"),
        ("object_ann", lambda rows: rows[0]["mask"].pop("counts"), "row 'o1' has no key 'counts'"),
        ("object_ann", lambda rows: rows[0].update(mask="x"), "row 'o1': string indices"),
        (
            "object_ann",
            lambda rows: rows[0].update(category_token="c"),
            "row 'o1' has category_token 'c', which is not",
        ),
        ("surface_ann", lambda rows: rows[0].update(sample_data_token="t"), "row 's1' has sample_data_token 't'"),
        ("surface_ann", lambda rows: rows[0].pop("token"), "has no key 'token'"),
        (
            "category",
            lambda rows: rows[0].update(name="vehicle.cart"),
            "'vehicle.cart' is none of nuScenes; did you mean",
        ),
        ("sample_data", lambda rows: rows.pop(), "no key picture 'train-0', which sample.json refers to"),
        ("sample_data", lambda rows: rows[2].pop("filename"), "row 'train-2' has no key 'filename'"),
        ("sample", lambda rows: rows[0].pop("key_camera_token"), "row 's-train-0' has no key 'key_camera_token'"),
    ],
)
def test_damaged_rows(nuimages, table, edit, message):
    change(nuimages, "train", table, edit)
    with pytest.raises(InputError, match=rf"v1\.0-train/{table}\.json: .*{message}"):
        open_pictures(f"nuimages:{nuimages}")


@pytest.mark.parametrize("table", ["sample", "sample_data", "category", "object_ann", "surface_ann"])
def test_missing_and_truncated_tables(nuimages, table):
    path = nuimages / "v1.0-train" / f"{table}.json"
    content = path.read_text()
    path.write_text(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{table}\.json: "):
        open_pictures(f"nuimages:{nuimages}")
    path.unlink()
    with pytest.raises(InputError, match=rf"{table}\.json: the file is missing"):
        open_pictures(f"nuimages:{nuimages}")


def test_a_picture_of_another_size(nuimages):
    source = open_pictures(f"nuimages:{nuimages}")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(nuimages / "samples" / "CAM_FRONT" / "train-0.jpg")
    with pytest.raises(InputError, match=r"train-0\.jpg: the image is 5 x 5"):
        source[0].image()


def test_a_version_that_is_not_there(nuimages):
    with pytest.raises(InputError, match=r"no split 'val'; there are: train \(3 pictures\), test \(1 pictures\)"):
        open_pictures(f"nuimages:{nuimages}").split("val")
