"""The reference page of the rig folder is true: its examples open, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml

from lidistill.datasets.rig_file import Camera, Lidar
from lidistill.datasets.source import open_source
from lidistill.sensing.files import SUFFIXES
from lidistill.sensing.files.cloud import ALIASES

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/rig-folder.md").read_text()
RIG, CLASSES, SPLITS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_open(tmp_path):
    (tmp_path / "scans").mkdir()
    for i in range(4):
        np.ones((9, 5), np.float32).tofile(tmp_path / f"scans/{i:06d}.bin")
    (tmp_path / "rig.yaml").write_text(RIG)
    (tmp_path / "splits.yaml").write_text(SPLITS)
    source = open_source(str(tmp_path))
    assert (len(source.splits["train"]), len(source.splits["val"])) == (3, 1)
    assert source.cameras[0].distortion.model == "radtan"
    (tmp_path / "mine.yaml").write_text(CLASSES)
    (tmp_path / "rig.yaml").write_text(RIG.replace("nuscenes-16", "mine.yaml"))
    assert open_source(str(tmp_path)).taxonomy.classes == ("ground", "vehicle")


def test_every_key_is_in_the_example():
    example = yaml.safe_load(RIG)
    assert set(example["lidar"]) == set(Lidar.model_fields)
    assert set(example["cameras"]["front"]) == set(Camera.model_fields)


def test_the_lists_are_complete():
    for word in SUFFIXES:
        assert f"`{word}`" in PAGE, word
    for names in ALIASES.values():
        for name in names:
            assert name.startswith("scalar_") or name == "labels" or re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE), name
