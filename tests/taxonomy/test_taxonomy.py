from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from lidistill import taxonomy
from lidistill.errors import InputError
from lidistill.taxonomy import taxonomy as module

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
    shutil.copytree(module.DATA, tmp_path / "data")
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    file = tmp_path / "data" / "kitti-10.yaml"
    file.write_text(file.read_text().replace("10: [car, car]", "10: [car, truck]"))
    module._read_builtin.cache_clear()
    with pytest.raises(InputError, match=r"kitti-10\.yaml: expected the sha256"):
        taxonomy.load("kitti-10")
    assert taxonomy.load("poss-6").name == "poss-6"
    module._read_builtin.cache_clear()


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
        ({"default": "other"}, "no table for the raw ids of 'other'"),
        ({"sources": {"mine": {3: ["road", "grund"]}}}, "did you mean 'ground'"),
        ({"sources": {"mine": {"x": ["road", "ground"]}}}, "expected `id:"),
        ({"sources": {"mine": {-1: ["road", "ground"]}}}, "expected `id:"),
        ({"sources": None}, "key 'sources' must be a dict"),
        ({"colours": 1}, "unknown key 'colours'"),
    ],
)
def test_a_wrong_file_of_the_users(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(InputError, match=message) as caught:
        taxonomy.load(str(path))
    assert "mine.yaml" in str(caught.value)


def test_a_file_that_is_no_yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe{[")
    with pytest.raises(InputError, match=r"mine\.yaml"):
        taxonomy.load(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        taxonomy.load(str(tmp_path / "absent.yaml"))
