from __future__ import annotations

import json

import kitti_folders as make
import numpy as np
import pytest

from lidistill.datasets.source import open_source
from lidistill.errors import InputError


def make_tree(root, sequences=("00", "08", "12"), numbers=(0, 10)):
    for sequence in sequences:
        for number in numbers:
            make.scan(root / sequence / f"velodyne/{number:06d}.bin", 33, seed=number)
            make.labels(root / sequence / f"labels/{number:06d}.label", np.arange(33))
    return root


def official(source):
    return {name: rows for name, rows in source.splits.items() if "-" not in name}


@pytest.mark.parametrize("below", [".", "sequences", "SubDataset", "SubDataset/sequences"])
def test_frames_and_splits(tmp_path, below):
    make_tree(tmp_path / below)
    source = open_source(f"synlidar:{tmp_path}")
    assert official(source) == {"train": (0, 1, 2, 3, 4, 5)}
    assert source[3].token == "synlidar/08/000010"
    assert source[3].views == ()
    assert source.splits["train-50"] == (0, 2, 4)
    held = open_source(f"synlidar:{tmp_path}?split=pseudo-val")
    assert official(held) == {"train": (0, 1, 4, 5), "val": (2, 3)}
    assert held.spec == f"synlidar:{tmp_path}?split=pseudo-val"


@pytest.mark.parametrize(
    ("classes", "reference"),
    [(None, "saluda_synlidar_side_syn_to_kitti_19"), ("synlidar-13", "saluda_synlidar_side_syn_to_poss_13")],
)
def test_labels_equal_the_reference(tmp_path, parity, classes, reference):
    table = json.loads(parity("06_label_maps/label_maps.json").read_text())[reference]["raw_to_train"]
    labels = open_source(f"synlidar:{make_tree(tmp_path)}", classes=classes)[0].labels
    assert labels.tolist() == [(table.get(str(raw), 0) - 1) % 256 for raw in range(33)]  # 0 is ignore there


def test_a_list_of_frames(tmp_path):
    make_tree(tmp_path)
    file = make.write_text(
        tmp_path / "cosmix.json", json.dumps({"train": {"00": [10, 777], "12": [0]}, "validation": {"08": [0]}})
    )
    source = open_source(f"synlidar:{tmp_path}?frames={file}")
    assert official(source) == {"train": (1, 4), "val": (2,)}
    for content, message in (
        ("{", "not a list of scans"),
        ('{"train": {"00": [1]}}', "KeyError: 'validation'"),
        ('{"train": [1], "validation": {}}', "not a list of scans"),
        ('{"train": {"00": [1]}, "validation": {}}', "none of the scans it lists is here"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            open_source(f"synlidar:{tmp_path}?frames={file}")
    with pytest.raises(InputError, match="the list cannot be read"):
        open_source(f"synlidar:{tmp_path}?frames={tmp_path}/absent.json")


def test_the_spec_opens_the_same_frames(tmp_path):
    make_tree(tmp_path)
    file = tmp_path / "one & two+three%20.json"
    file.write_text('{"train": {"00": [10]}, "validation": {"08": [0]}}')
    source = open_source(f"synlidar:{tmp_path}?frames={tmp_path}/one %26 two+three%2520.json")
    assert official(source) == {"train": (1,), "val": (2,)}
    assert official(open_source(source.spec)) == official(source)


def test_the_list_of_cosmix(tmp_path, parity):
    """Sequence 00 of the published drawing, with empty files: opening reads no scan."""
    file = parity("08_splits/synlidar_cosmix_frames.json")
    folder = tmp_path / "00/velodyne"
    folder.mkdir(parents=True)
    for number in range(2930):
        (folder / f"{number:06d}.bin").touch()
    source = open_source(f"synlidar:{tmp_path}?frames={file}")
    assert {name: len(rows) for name, rows in official(source).items()} == {"train": 293, "val": 29}
    listed = json.loads(file.read_text())["validation"]["00"]
    assert [int(source.frames[row][1]) for row in source.splits["val"]] == sorted(listed)


def test_damage(tmp_path):
    source = open_source(f"synlidar:{make_tree(tmp_path)}")
    (tmp_path / "00/velodyne/000000.bin").write_bytes(b"")
    make.labels(tmp_path / "00/labels/000010.label", np.zeros(34, np.uint32))
    make.scan(tmp_path / "08/velodyne/000000.bin", 33).astype("<f8").tofile(tmp_path / "08/velodyne/000000.bin")
    (tmp_path / "08/labels/000010.label").unlink()
    for index, message in enumerate(("the file is empty", "34 labels, expected 33", "values are float64")):
        with pytest.raises(InputError, match=message):
            source[index]
    assert source[3].labels is None


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=r"no scan found, expected SynLiDAR: .*found nothing"):
        open_source(f"synlidar:{tmp_path}")
    make_tree(tmp_path)
    with pytest.raises(InputError, match="unknown split 'pseudoval'; did you mean 'pseudo-val'"):
        open_source(f"synlidar:{tmp_path}?split=pseudoval")
