"""A rig folder with masks is a source of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill.datasets.pictures.pictures import open_pictures, with_masks
from lidistill.errors import InputError


@pytest.fixture
def rig(tmp_path: Path, tiny_rig: Callable[..., Path]) -> Path:
    return tiny_rig(tmp_path / "yard", frames=3, cameras=2, masks=True)


def test_pictures_of_all_cameras_with_the_splits_and_classes_of_the_rig(rig: Path) -> None:
    source = open_pictures(str(rig))
    assert {split: len(rows) for split, rows in source.splits.items()} == {"train": 4, "val": 2}
    assert source.taxonomy is not None
    assert source.taxonomy.name == "city-16"
    assert [picture.token for picture in source.split("val")] == ["yard/000002/front", "yard/000002/left"]
    picture = source.split("val")[0]
    raw = np.array(Image.open(rig / "masks/front/000002.png"))
    np.testing.assert_array_equal(picture.classes, source.taxonomy.apply(raw))
    assert (picture.classes[raw == 0] == 255).all()
    assert picture.image().shape == (96, 192, 3)
    assert open_pictures(f"rig:{rig}").splits == source.splits
    kitti = open_pictures(str(rig), "kitti-10").taxonomy
    assert kitti is not None
    assert kitti.name == "kitti-10"


def test_cameras_without_masks_are_left_out_of_what_is_learned(rig: Path) -> None:
    for mask in (rig / "masks/left").iterdir():
        mask.unlink()
    train = open_pictures(str(rig)).split("train")
    assert len(train) == 4
    assert [picture.token for picture in with_masks(train)] == ["yard/000000/front", "yard/000001/front"]


def test_pictures_of_no_split_are_left_out_and_fractions_count_once(rig: Path) -> None:
    (rig / "splits.yaml").write_text(yaml.safe_dump({"train": ["000000"], "train-1": ["000000"], "val": ["000002"]}))
    assert {split: len(rows) for split, rows in open_pictures(str(rig)).splits.items()} == {"train": 2, "val": 2}


def test_what_is_missing_is_said(rig: Path) -> None:
    text = (rig / "rig.yaml").read_text()
    (rig / "rig.yaml").write_text(text.replace("classes: city-16\n", ""))
    with pytest.raises(InputError, match=r"rig\.yaml: has no classes, which say what the ids in the masks mean"):
        open_pictures(str(rig))
    (rig / "rig.yaml").write_text(text)
    (rig / "masks").rename(rig / "other")
    with pytest.raises(InputError, match=r"no picture of this rig has a mask, expected masks/CAMERA/000000\.png"):
        open_pictures(str(rig))
