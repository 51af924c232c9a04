from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from lidistill import taxonomy
from lidistill.errors import InputError
from lidistill.taxonomy import document

# fixture key -> (built-in list, source)
PARITY = {
    "nuscenes_16": ("nuscenes-16", "nuscenes"),
    "semantic_kitti_19": ("semantic-kitti-19", "semantic-kitti"),
    "cosmix_semantickitti_19": ("semantic-kitti-19", "semantic-kitti"),
    "saluda_kitti_side_syn_to_kitti_19": ("semantic-kitti-19", "semantic-kitti"),
    "saluda_synlidar_side_syn_to_kitti_19": ("semantic-kitti-19", "synlidar"),
    "cosmix_synlidar_to_kitti_19": ("semantic-kitti-19", "synlidar-cosmix"),
    "pandaset_17": ("pandaset-17", "pandaset"),
    "cosmix_semanticposs_13": ("poss-13", "semantic-poss"),
    "saluda_poss_side_syn_to_poss_13": ("poss-13", "semantic-poss"),
    "cosmix_synlidar_to_poss_13": ("poss-13", "synlidar"),
    "saluda_synlidar_side_syn_to_poss_13": ("poss-13", "synlidar"),
    "saluda_nuscenes_side_ns_to_kitti_10": ("kitti-10", "nuscenes"),
    "saluda_kitti_side_ns_to_kitti_10": ("kitti-10", "semantic-kitti"),
    "saluda_nuscenes_side_ns_to_poss_6": ("poss-6", "nuscenes"),
    "saluda_poss_side_ns_to_poss_6": ("poss-6", "semantic-poss"),
    "ttyd_nuscenes_side_ns_to_pandaset_8": ("pandaset-8", "nuscenes"),
    "ttyd_pandaset_side_ns_to_pandaset_8": ("pandaset-8", "pandaset"),
    "ttyd_nuscenes_side_ns_to_waymo_10": ("waymo-10", "nuscenes"),
    "ttyd_waymo_side_ns_to_waymo_10": ("waymo-10", "waymo"),
}


def ours(train, ignore):
    """Published train ids in our convention: 0-based, 255 = ignore."""
    train = np.asarray(train, np.int64)
    return np.where(train == ignore, 255, train - (ignore == 0))


@pytest.mark.parametrize("key", PARITY)
def test_tables_equal_the_published_ones(parity, key):
    published = json.loads(parity("06_label_maps/label_maps.json").read_text())[key]
    loaded = taxonomy.load(*PARITY[key])
    raw = np.array([int(i) for i in published["raw_to_train"]])
    np.testing.assert_array_equal(
        loaded.apply(raw), ours(list(published["raw_to_train"].values()), published["ignore_value"])
    )
    assert list(loaded.classes) == published["class_names"]
    unlisted = np.setdiff1d(np.arange(70_000), raw)
    assert (loaded.apply(unlisted) == 255).all()


@pytest.mark.parametrize("key", PARITY)
def test_lookups_equal_the_published_ones(parity, key):
    examples = np.load(parity("06_label_maps/lookup_examples.npz"))
    ignore = json.loads(parity("06_label_maps/label_maps.json").read_text())[key]["ignore_value"]
    np.testing.assert_array_equal(
        taxonomy.load(*PARITY[key]).apply(examples[f"{key}__raw"]), ours(examples[f"{key}__train"], ignore)
    )


def test_every_published_map_is_covered(parity):
    published = json.loads(parity("06_label_maps/label_maps.json").read_text())
    assert set(PARITY) == {key for key in published if not key.startswith("_")}


@pytest.mark.parametrize("name", taxonomy.names())
def test_builtin_is_well_formed(name):
    for source in taxonomy.sources(name):
        loaded = taxonomy.load(name, source)
        assert loaded.name == name
        assert loaded.source == source
        assert loaded.colors.shape == (len(loaded.classes), 3)
        assert loaded.colors.dtype == np.uint8
        assert len(np.unique(loaded.colors, axis=0)) == len(loaded.classes)
        used = set(loaded.table.tolist()) - {255}
        assert used <= set(range(len(loaded.classes)))
        if source == taxonomy.sources(name)[0]:
            assert used == set(range(len(loaded.classes))), "every class of the default table occurs"


ALIASES = {"synlidar-19": "semantic-kitti-19", "synlidar-13": "poss-13", "city-16": "nuscenes-16"}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("saluda_synlidar_side_syn_to_kitti_19", "synlidar-19"),
        ("saluda_synlidar_side_syn_to_poss_13", "synlidar-13"),
    ],
)
def test_lists_of_synlidar_by_their_own_names(parity, key, name):
    published = json.loads(parity("06_label_maps/label_maps.json").read_text())[key]
    raw = np.array([int(i) for i in published["raw_to_train"]])
    np.testing.assert_array_equal(
        taxonomy.load(name).apply(raw), ours(list(published["raw_to_train"].values()), published["ignore_value"])
    )


@pytest.mark.parametrize(("name", "base"), ALIASES.items())
def test_a_list_that_refers_to_another_has_its_classes_and_sources(name, base):
    own, other = taxonomy.load(name), taxonomy.load(base, taxonomy.load(name).source)
    assert (own.name, own.classes) == (name, other.classes)
    np.testing.assert_array_equal(own.table, other.table)
    assert set(taxonomy.sources(name)) == set(taxonomy.sources(base))


def test_the_22_classes_of_synlidar():
    loaded = taxonomy.load("synlidar-22")
    assert loaded.source == "synlidar"
    expected = [255, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10, 11, 12, 13, 255, 14, 15, 16, 17, 18, 19, 20, 21]
    assert loaded.apply(np.arange(40)).tolist() == expected + [255] * 12


# (predicted list, target list, source of both, raw ids where merging after the network differs from the direct table)
MERGES = [
    ("nuscenes-16", "kitti-10", "nuscenes", {5, 19, 20}),  # mobility devices and emergency vehicles have no class there
    ("nuscenes-16", "poss-6", "nuscenes", set()),
    ("nuscenes-16", "pandaset-8", "nuscenes", set()),
    ("nuscenes-16", "waymo-10", "nuscenes", set()),
    ("nuscenes-16", "nuimages-11", "nuscenes", set()),
    ("semantic-kitti-19", "kitti-10", "semantic-kitti", {16, 256}),  # trams are other vehicles among the 19 only
    ("synlidar-22", "semantic-kitti-19", "synlidar", set()),
    ("synlidar-22", "poss-13", "synlidar", set()),
]


@pytest.mark.parametrize(("fine", "coarse", "source", "differ"), MERGES)
def test_merging_predictions_agrees_with_the_direct_table(fine, coarse, source, differ):
    raw = np.arange(300)
    merged = taxonomy.load(coarse, fine).apply(taxonomy.load(fine, source).apply(raw))
    direct = taxonomy.load(coarse, source).apply(raw)
    assert set(np.flatnonzero(merged != direct).tolist()) == differ


def test_merging_16_predictions_to_10_and_6():
    predicted = np.arange(17).reshape(17, 1)
    ten = [255, 1, 4, 0, 4, 2, 5, 255, 4, 3, 6, 255, 7, 8, 255, 9, 255]
    six = [5, 1, 2, 2, 2, 1, 0, 5, 2, 2, 3, 3, 3, 3, 5, 4, 255]
    assert taxonomy.load("kitti-10", "nuscenes-16").apply(predicted)[:, 0].tolist() == ten
    assert taxonomy.load("poss-6", "nuscenes-16").apply(predicted)[:, 0].tolist() == six
    assert taxonomy.load("poss-6", "city-16").apply(predicted)[:, 0].tolist() == six


def test_rows_of_another_list_bear_its_names():
    """A source that is a class list reads train ids: the row of id i must be about class i."""
    for name in taxonomy.names():
        for source in set(taxonomy.sources(name)) & set(taxonomy.names()):
            assert tuple(taxonomy.raw_names(name, source).values()) == taxonomy.load(source).classes


def test_raw_names_of_a_data_set_are_the_same_in_every_list():
    found = {}
    for name in taxonomy.names():
        for source in taxonomy.sources(name):
            names = found.setdefault(source.removesuffix("-cosmix"), taxonomy.raw_names(name, source))
            assert taxonomy.raw_names(name, source) == names, (name, source)
    assert found["nuscenes"][17] == "vehicle.car"


def test_points_that_a_corruption_made_are_ignored():
    """Robo3D marks fog, snow and crosstalk by raw ids of its own."""
    for name in taxonomy.names():
        for source, made in (("semantic-kitti", [21, 22, 23]), ("nuscenes", [41, 42, 43])):
            if source in taxonomy.sources(name):
                assert taxonomy.load(name, source).apply(np.array(made)).tolist() == [255] * 3


def test_every_list_reads_the_city():
    for name in ("kitti-10", "nuscenes-16", "pandaset-17", "pandaset-8", "poss-13", "poss-6", "semantic-kitti-19"):
        loaded = taxonomy.load(name, "city")
        car, noise = loaded.apply(np.array([21, 0])).tolist()
        assert loaded.classes[car] in ("car", "4-wheeled")
        assert noise == 255
    assert taxonomy.load("waymo-10", "city").apply(np.array([31])).tolist() == [5]


def test_cityscapes_ids():
    loaded = taxonomy.load("cityscapes-19")
    assert loaded.apply(np.array([[7, 8], [33, 0]], np.uint8)).tolist() == [[0, 1], [18, 255]]
    by_train = taxonomy.load("cityscapes-19", "cityscapes-train").apply(loaded.apply(np.arange(34)))
    np.testing.assert_array_equal(by_train, loaded.apply(np.arange(34)))
    assert taxonomy.load("nuscenes-16", "cityscapes").apply(np.array([26, 25, 23])).tolist() == [3, 255, 255]


def test_city_is_finer_than_the_nuscenes_classes():
    city, nuscenes = taxonomy.load("city-16"), taxonomy.load("nuscenes-16")
    assert city.classes == nuscenes.classes
    assert city.apply(np.array([0, 1, 2, 28, 36])).tolist() == [255, 10, 10, 1, 14]


def test_ids_outside_the_table_are_ignored():
    loaded = taxonomy.load("nuscenes-16")
    raw = np.array([-1, -(2**31), 32, 41, 2**31 - 1], np.int32)
    assert (loaded.apply(raw) == 255).all()
    assert (loaded.apply(np.array([2**32 - 1], np.uint32)) == 255).all()
    assert loaded.apply(np.array([17], np.uint8)).tolist() == [3]
    last = taxonomy.from_names(["a", "b"])
    assert last.apply(np.array([0, 1, 2])).tolist() == [0, 1, 255]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("name", ["semantic-kitti-19", "poss-6"])
def test_every_type_of_integer_gives_the_same(name, kind):
    """Tables of 260 and of 23 rows, types with fewer and with more values."""
    loaded = taxonomy.load(name)
    raw = np.arange(min(np.iinfo(kind).max, 69_999) + 1).astype(kind).reshape(-1, 2)
    expected = np.append(loaded.table, [255] * 70_000).astype(np.uint8)[raw]
    found = loaded.apply(raw)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_predictions_are_written_as_the_published_raw_ids(parity):
    published = json.loads(parity("06_label_maps/label_maps.json").read_text())["semantic_kitti_19"]
    expected = published["train_to_raw_for_submission"]
    assert taxonomy.load("semantic-kitti-19").inverse.tolist() == [expected[str(i)] for i in range(19)]


def test_a_class_is_written_as_the_id_of_its_name_else_the_smallest():
    loaded = taxonomy.load("nuscenes-16")
    found = dict(zip(loaded.classes, loaded.inverse.tolist(), strict=True))
    assert (found["pedestrian"], found["bus"], found["car"]) == (2, 15, 17)  # adult, bendy bus
    assert taxonomy.load("semantic-kitti-19", "synlidar").inverse[3] == 3  # truck, though a pick-up has the id 2
    assert taxonomy.load("nuscenes-16", "cityscapes").inverse[7] == 0  # no traffic cone there


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        taxonomy.load("city-16").table[0] = 1


def test_unknown_names_get_the_nearest():
    with pytest.raises(InputError, match="did you mean 'nuscenes-16'"):
        taxonomy.load("nuscenes16")
    with pytest.raises(InputError, match="did you mean 'nuscenes'"):
        taxonomy.load("kitti-10", "nuscene")
    with pytest.raises(InputError, match="different class names"):
        taxonomy.from_names(["a", "a"])


def test_a_changed_builtin_is_refused(tmp_path, monkeypatch):
    shutil.copytree(document.DATA, tmp_path / "data")
    monkeypatch.setattr(document, "DATA", tmp_path / "data")
    file = tmp_path / "data" / "kitti-10.yaml"
    file.write_text(file.read_text().replace("10: [car, car]", "10: [car, truck]"))
    document.read_builtin.cache_clear()
    with pytest.raises(InputError, match=r"kitti-10\.yaml: expected the sha256"):
        taxonomy.load("kitti-10")
    assert taxonomy.load("poss-6").name == "poss-6"
    (tmp_path / "data" / "unlisted.yaml").write_text(file.read_text())
    with pytest.raises(InputError, match=r"\(none listed\)"):
        taxonomy.load("unlisted")
    document.read_builtin.cache_clear()


GOOD = {
    "name": "mine",
    "classes": {"ground": [1, 2, 3], "thing": [4, 5, 6]},
    "default": "mine",
    "sources": {"mine": {3: ["road", "ground"], 7: ["car", "thing"], 9: ["rain", "ignore"]}},
}


def test_a_file_of_the_users(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    loaded = taxonomy.load(str(path))
    assert loaded.apply(np.array([0, 3, 7, 9, 100])).tolist() == [255, 0, 1, 255, 255]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": {"ground": [1, 2]}}, "expected a colour"),
        ({"classes": {"ground": [1, 2, 256], "thing": [0, 0, 0]}}, "expected a colour"),
        ({"classes": {}}, "1 to 255 classes"),
        ({"classes": {}, "sources": {}}, "1 to 255 classes"),
        ({"classes": {"ignore": [1, 2, 3]}}, "no class can be called 'ignore'"),
        ({"classes": {1: [1, 2, 3], "1": [4, 5, 6]}}, "read the same as text"),
        ({"classes": "nuscenes16"}, "did you mean 'nuscenes-16'"),
        ({"classes": ["ground"]}, "key 'classes' must be a mapping"),
        ({"name": 7}, "key 'name' must be text"),
        ({"default": "other"}, "default is 'other', no such source; known: mine"),
        ({"sources": {"mine": {}}}, "expected rows"),
        ({"sources": {"mine": {70_000: ["road", "ground"]}}}, "id from 0 to 65535"),
        ({"sources": {"mine": {True: ["road", "ground"]}}}, "expected `id:"),
        ({"sources": {"mine": {3: ["road", "grund"]}}}, "did you mean 'ground'"),
        ({"sources": {"mine": {"x": ["road", "ground"]}}}, "expected `id:"),
        ({"sources": {"mine": {-1: ["road", "ground"]}}}, "expected `id:"),
        ({"sources": None}, "key 'sources' must be a mapping"),
        ({"colours": 1}, "unknown key 'colours'"),
    ],
)
def test_a_wrong_file_of_the_users(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(InputError, match=message) as caught:
        taxonomy.load(str(path))
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize("key", ["name", "classes", "default", "sources"])
def test_a_file_without_a_key(tmp_path, key):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in GOOD.items() if name != key}))
    with pytest.raises(InputError, match=rf"mine\.yaml: key '{key}' is missing"):
        taxonomy.load(str(path))


def test_an_id_or_class_listed_twice(tmp_path):
    path = tmp_path / "mine.yaml"
    text = yaml.safe_dump(GOOD)
    path.write_text(text.replace("    7:\n", "    3:\n"))
    with pytest.raises(InputError, match=r"line \d+: 3 is listed twice"):
        taxonomy.load(str(path))
    path.write_text("name: a\nclasses: {road: [1, 2, 3], road: [4, 5, 6]}\ndefault: a\nsources: {a: {1: [x, road]}}\n")
    with pytest.raises(InputError, match="'road' is listed twice"):
        taxonomy.load(str(path))


def test_a_users_ids_for_the_classes_of_a_builtin_list(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"classes": "nuscenes-16", "sources": {"mine": {4: ["van", "car"]}}}))
    loaded = taxonomy.load(str(path))
    assert loaded.classes == taxonomy.load("nuscenes-16").classes
    assert loaded.apply(np.array([4, 17])).tolist() == [3, 255]
    assert taxonomy.load(str(path), "nuscenes").apply(np.array([4, 17])).tolist() == [6, 3]
    path.write_text(yaml.safe_dump({"name": "mine", "classes": "kitti-10", "default": "nuscenes"}))
    assert taxonomy.load(str(path)).source == "nuscenes"


def test_a_file_that_is_no_yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe{[")
    with pytest.raises(InputError, match=r"mine\.yaml"):
        taxonomy.load(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        taxonomy.load(str(tmp_path / "absent.yaml"))
