from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lidistill import taxonomy
from lidistill.datasets import fractions
from lidistill.datasets.fractions import PERCENTS, by_scene, listed, scene_strided, strided, with_fractions
from lidistill.datasets.semantic_kitti import SPLITS, TRAIN_SCANS, SemanticKitti, open_semantic_kitti
from lidistill.errors import InputError

LENGTHS = {"00": 4541, "01": 1101, "02": 4661, "03": 801, "04": 271, "05": 2761, "06": 1101, "07": 1101}
LENGTHS |= {"08": 4071, "09": 1591, "10": 1201}


@pytest.fixture
def whole(tmp_path):
    """SemanticKITTI's labelled part, by names alone."""
    frames = tuple((sequence, f"{i:06d}") for sequence in sorted(LENGTHS) for i in range(LENGTHS[sequence]))
    return SemanticKitti("semantic-kitti:x", tmp_path, taxonomy.load("semantic-kitti-19"), {}, frames)


@pytest.mark.parametrize(("percent", "step"), [(1, 100), (5, 20), (10, 10), (25, 4), (50, 2)])
def test_rules(percent, step):
    rows = tuple(range(3, 5003))
    assert strided(rows, percent) == tuple(range(3, 5003, step))
    scenes = np.repeat(np.arange(700)[::-1], 3).tolist()  # scene 699 first, three frames each
    kept = scene_strided(scenes, percent)
    assert len(kept) == 3 * (700 // step)
    counted = [1 + i // 3 for i in kept]  # SLidR counts scenes from 1
    assert all(count % step == 0 for count in counted)
    assert kept == tuple(sorted(kept))


def test_scenes_counted_by_slidr(parity):
    published = json.loads(parity("08_splits/splits.json").read_text())["nuscenes_fraction_subsets"][
        "slidr_and_stslidr"
    ]
    counts = [i + 1 for i in scene_strided(range(700), 1)]
    assert counts == published["kept_counts_for_step_100_of_700"]
    assert len(scene_strided(range(700), 10)) == published["n_scenes_step_10"]


def test_scenes_of_a_mixed_order():
    """A scene counts where it first appears, and takes all of its frames along."""
    scenes = ["b", "a", "b", "c", "a", "d"]
    assert scene_strided(scenes, 50) == (1, 4, 5)  # a and d are the 2nd and the 4th
    assert by_scene(["x", *scenes])((1, 2, 3, 4, 5, 6), 50) == (2, 5, 6)
    assert scene_strided(["only"] * 9, 1) == ()
    assert scene_strided([], 50) == ()


def test_fractions_are_added_to_the_splits():
    splits = with_fractions({"train": tuple(range(7)), "val": (7,)}, strided)
    assert list(splits) == ["train", "val", *(f"train-{percent}" for percent in PERCENTS)]
    assert splits["train-25"] == (0, 4)
    assert splits["train-1"] == (0,)
    assert splits["val"] == (7,)
    assert with_fractions({"val": (1,)}, strided) == {"val": (1,)}
    assert set(with_fractions({"train": (0, 1, 2)}, by_scene("aab"))) == {"train", "train-50"}


def test_semantic_kitti_1_percent_equals_the_published_list(parity, whole):
    published = json.loads(parity("08_splits/splits.json").read_text())["semantic_kitti_fraction_subset"]
    published = published["scalr_1_percent"]
    assert {s: n for s, n in LENGTHS.items() if s != "08"} == published["sequence_lengths"]
    splits = whole.splits
    assert len(splits["train"]) == TRAIN_SCANS == published["n_train_scans"]
    assert ["/".join(whole.frames[row]) for row in splits["train-1"]] == published["selected"]


@pytest.mark.parametrize("percent", PERCENTS)
def test_stored_lists_follow_the_rule(whole, percent):
    rows = whole.splits["train"]
    by_rule = strided(rows, percent)
    assert whole.splits[f"train-{percent}"] == by_rule
    assert listed("semantic-kitti", percent) == {whole.frames[row] for row in by_rule}
    assert len(by_rule) == -(-TRAIN_SCANS * percent // 100)


def test_a_whole_data_set_takes_the_stored_list(whole, monkeypatch):
    monkeypatch.setattr("lidistill.datasets.semantic_kitti.listed", lambda name, percent: {("00", "000007")})
    assert whole.splits["train-1"] == (7,)
    part = replace(whole, frames=whole.frames[1:])
    assert part.splits["train-1"] == strided(part.splits["train"], 1)


def test_a_part_of_the_data_set_takes_the_rule(tmp_path):
    for sequence in ("00", "04", "08"):
        folder = tmp_path / "sequences" / sequence / "velodyne"
        folder.mkdir(parents=True)
        for i in range(3):
            (folder / f"{i:06d}.bin").touch()
    splits = open_semantic_kitti(tmp_path).splits
    assert {"train-1", "train-50"} < set(splits)
    assert (splits["train"], splits["train-50"], splits["train-25"], splits["train-1"]) == (
        (0, 1, 2, 3, 4, 5),
        (0, 2, 4),
        (0, 4),
        (0,),
    )
    assert len(open_semantic_kitti(tmp_path).split("train-50")) == 3
    assert "08" in SPLITS["val"]


def test_a_changed_list_is_refused(tmp_path, monkeypatch):
    for file in fractions.DATA.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(fractions, "DATA", tmp_path)
    listed.cache_clear()
    file = tmp_path / "semantic-kitti-fractions.json"
    file.write_text(file.read_text().replace("[0,100,", "[1,100,"))
    with pytest.raises(InputError, match=r"semantic-kitti-fractions\.json: expected the sha256"):
        listed("semantic-kitti", 1)
    (tmp_path / "CHECKSUMS.sha256").unlink()
    with pytest.raises(InputError, match=r"CHECKSUMS\.sha256: cannot be read"):
        listed("semantic-kitti", 1)
    listed.cache_clear()
