from __future__ import annotations

import json

import kitti_folders as make
import numpy as np
import pytest

from lidistill.datasets.source import open_source
from lidistill.errors import InputError

RAW = (0, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 21, 22, 3, 30)


def make_tree(root, sequences=("00", "03", "05"), numbers=(1, 2), instance=9):
    raw = np.resize(np.array(RAW, np.uint32), 20)
    for sequence in sequences:
        for number in numbers:
            make.scan(root / sequence / f"velodyne/{number:06d}.bin", seed=number)
            make.labels(root / sequence / f"labels/{number:06d}.label", raw + (instance << 16))
            make.write_text(root / sequence / f"tag/{number:06d}.tag", "not read")
    return root


@pytest.mark.parametrize("below", ["dataset/sequences", "sequences", "."])
def test_frames_and_splits(tmp_path, below):
    make_tree(tmp_path / below)
    source = open_source(f"semantic-poss:{tmp_path}")
    assert {name: rows for name, rows in source.splits.items() if "-" not in name} == {
        "train": (0, 1, 4, 5),
        "val": (2, 3),
    }
    assert source.splits["train-50"] == (0, 4)
    assert source.sensor.rings == 40
    assert source.taxonomy.name == "poss-13"
    frame = source[2]
    assert frame.token == "semantic-poss/03/000001"
    assert frame.views == ()
    classes = [source.taxonomy.classes[i] if i < 255 else "-" for i in frame.labels[: len(RAW)].tolist()]
    assert classes == [
        *("-", "person", "person", "rider", "car", "trunk", "plants", "traffic sign", "pole", "garbage-can"),
        *("building", "cone/stone", "fence", "bike", "ground", "-", "-"),
    ]


def test_labels_equal_the_reference(tmp_path, parity):
    maps = json.loads(parity("06_label_maps/label_maps.json").read_text())
    published = maps["cosmix_semanticposs_13"]
    raw = np.array([int(key) for key in published["raw_to_train"]], np.uint32)
    expected = np.array([train % 256 for train in published["raw_to_train"].values()])  # -1 is ignore there
    make.scan(tmp_path / "01/velodyne/000001.bin", len(raw))
    make.labels(tmp_path / "01/labels/000001.label", raw)
    assert open_source(f"semantic-poss:{tmp_path}")[0].labels.tolist() == expected.tolist()
    six = maps["saluda_poss_side_ns_to_poss_6"]["raw_to_train"]
    found = open_source(f"semantic-poss:{tmp_path}", classes="poss-6")[0].labels
    assert found.tolist() == [(six[str(value)] - 1) % 256 for value in raw]  # 0 is ignore there


def test_damage(tmp_path):
    source = open_source(f"semantic-poss:{make_tree(tmp_path, ('00',), (1, 2, 3, 7))}")
    (tmp_path / "00/velodyne/000001.bin").write_bytes(b"0" * 100)
    make.labels(tmp_path / "00/labels/000002.label", np.zeros(19, np.uint32))
    (tmp_path / "00/labels/000003.label").unlink()
    make.scan(tmp_path / "00/velodyne/000007.bin", 100).astype("<f8").tofile(tmp_path / "00/velodyne/000007.bin")
    for index, message in ((0, "100 bytes, expected"), (1, "19 labels, expected 20"), (3, "values are float64")):
        with pytest.raises(InputError, match=message):
            source[index]
    assert source[2].labels is None
    (tmp_path / "00/labels/000002.label").write_bytes(b"0" * 30)
    with pytest.raises(InputError, match="30 bytes, expected a multiple of 4"):
        source[1]


def test_nothing_there(tmp_path):
    make_tree(tmp_path, ("06",))
    with pytest.raises(InputError, match=r"no scan found, expected SemanticPOSS: .*found 06"):
        open_source(f"semantic-poss:{tmp_path}")
    make_tree(tmp_path, ("03",))
    with pytest.raises(InputError, match=r"no split 'train'; there are: val \(2 frames\)"):
        open_source(f"semantic-poss:{tmp_path}").split("train")
    with pytest.raises(InputError, match="no table for the raw ids of 'semantic-poss'"):
        open_source(f"semantic-poss:{tmp_path}", classes="waymo-10")
