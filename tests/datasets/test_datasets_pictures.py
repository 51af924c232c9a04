"""Picture sources: Cityscapes, a user's folder, run-length masks, and what is said about damage."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import yaml
from PIL import Image
from run_length_text import encode, runs_of

from lidistill.datasets.pictures.pictures import open_pictures, read_mask
from lidistill.datasets.pictures.run_length import decode_runs, pixels_of
from lidistill.errors import InputError

RNG = np.random.default_rng(0)


def image(path, height=6, width=8, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(array).save(path)
    return array


def mask(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(ids)).save(path)


# ---- run-length masks


def test_a_text_worked_out_by_hand():
    """Runs 7 2 3 40 5: 7; 2; 3; 40 - 2 = 38 = 6 + 1 * 32; 5 - 3 = 2 (codes + 48, 32 more where it goes on)."""
    text = bytes([48 + 7, 48 + 2, 48 + 3, 48 + 32 + 6, 48 + 1, 48 + 2])
    assert decode_runs(text).tolist() == [7, 2, 3, 40, 5]
    assert encode([7, 2, 3, 40, 5]) == text
    # a run that is 20 shorter than the one before the last: -20 = 12 - 32, and -1 follows for the sign
    assert decode_runs(bytes([48 + 1, 48 + 32 + 21, 48, 48 + 1, 48 + 32 + 12, 48 + 31])).tolist() == [1, 21, 1, 1]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (90, 160)])
def test_masks_come_back(share, shape):
    binary = (np.random.default_rng(1).uniform(size=shape) < share).astype(np.uint8)
    runs = runs_of(binary)
    found = decode_runs(encode(runs))
    assert found.tolist() == runs
    painted = np.zeros(binary.size, np.uint8)
    painted[pixels_of(found, *shape)] = 1
    np.testing.assert_array_equal(painted.reshape(shape), binary)


def test_large_runs_come_back():
    runs = [0, 1, 1_439_000, 3, 2, 994, 0, 2**40]
    assert decode_runs(encode(runs)).tolist() == runs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "ends within a number"),
        (b"0o", "ends within a number"),
        (b"0 1", "character 2 is 32, expected 48 to 111"),
        (b"\xff0", "character 1 is 255"),
        (b"0" + b"P" * 12 + b"1", "a number has 13 characters"),
        (b"01O0", "run 3 has the length -1"),
    ],
)
def test_damaged_texts(text, message):
    with pytest.raises(ValueError, match=message):
        decode_runs(text)


def test_a_mask_of_another_size():
    with pytest.raises(ValueError, match=r"cover 12 pixels, expected 3 x 5 = 15"):
        pixels_of(np.array([5, 7]), 3, 5)


# ---- Cityscapes


@pytest.fixture
def cityscapes(tmp_path):
    root = tmp_path / "cityscapes"
    for split, city, number in (("train", "aachen", 19), ("train", "bochum", 1), ("val", "lindau", 7)):
        stem = f"{city}_000000_{number:06d}"
        image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        ids = np.full((6, 8), 7, np.uint8)
        ids[0] = 23
        ids[1] = 0
        ids[:, 0] = number
        mask(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids)
    image(root / "leftImg8bit" / "test" / "berlin" / "berlin_000000_000000_leftImg8bit.png")
    return root


def test_cityscapes(cityscapes):
    source = open_pictures(f"cityscapes:{cityscapes}")
    assert (source.name, len(source)) == ("cityscapes", 4)
    assert {split: len(rows) for split, rows in source.splits.items()} == {"test": 1, "train": 2, "val": 1}
    picture = source.split("train")[0]
    assert picture.token == "cityscapes/train/aachen_000000_000019"
    assert picture.image().shape == (6, 8, 3)
    classes = source.taxonomy.classes
    assert picture.classes.dtype == np.uint8
    assert [classes[i] if i != 255 else "-" for i in picture.classes[:3, 1]] == ["sky", "-", "road"]
    assert classes[picture.classes[3, 0]] == "traffic-light"
    assert source.split("test")[0].classes is None
    assert source.split("val").split("val")[0].token.endswith("lindau_000000_000007")


def test_the_spec_opens_the_same_masks(cityscapes):
    (cityscapes / "gtFine").rename(cityscapes / "gtCoarse")
    for mask in (cityscapes / "gtCoarse").rglob("*_gtFine_labelIds.png"):
        mask.rename(mask.with_name(mask.name.replace("gtFine", "gtCoarse")))
    source = open_pictures(f"cityscapes:{cityscapes}?labels=gtCoarse")
    again = open_pictures(source.spec)
    assert again.files == source.files
    assert any(mask for *_, mask in again.files)


def test_cityscapes_in_other_classes(cityscapes):
    source = open_pictures(f"cityscapes:{cityscapes}", classes="nuscenes-16")
    column = source.split("train")[0].classes[:, 1]
    assert [source.taxonomy.classes[i] for i in column[2:]] == ["driveable_surface"] * 4
    assert column[0] == 255
    with pytest.raises(InputError, match="no table for the raw ids of 'cityscapes'"):
        open_pictures(f"cityscapes:{cityscapes}", classes="poss-6")


def test_cityscapes_without_fitting_masks(cityscapes):
    (cityscapes / "gtCoarse").mkdir()
    with pytest.raises(InputError, match=r"gtCoarse: no mask belongs to a picture; expected gtCoarse/val"):
        open_pictures(f"cityscapes:{cityscapes}?labels=gtCoarse")
    with pytest.raises(InputError, match="labels=coarse: expected one of gtFine, gtCoarse"):
        open_pictures(f"cityscapes:{cityscapes}?labels=coarse")
    with pytest.raises(InputError, match="has no option 'label'; did you mean 'labels'"):
        open_pictures(f"cityscapes:{cityscapes}?label=gtFine")


# ---- a user's folder


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "yard"
    for split, stem in (("train", "a"), ("train", "b"), ("val", "c")):
        image(root / "images" / split / f"{stem}.jpg")
        mask(root / "masks" / split / f"{stem}.png", np.full((6, 8), 2, np.uint8))
    (root / "classes.yaml").write_text(yaml.safe_dump(["road", "car", "tree"]))
    return root


def test_a_folder(folder):
    source = open_pictures(str(folder))
    assert (source.name, source.taxonomy.classes) == ("yard", ("road", "car", "tree"))
    assert source.splits == {"train": (0, 1), "val": (2,)}
    assert source[2].token == "yard/val/c"
    assert (source[2].classes == 2).all()
    assert source[0].image().dtype == np.uint8


def test_a_folder_without_splits_and_with_a_class_list(tmp_path):
    image(tmp_path / "images" / "1.png")
    mask(tmp_path / "masks" / "1.png", np.full((6, 8), 700, np.uint16))
    content = {"name": "mine", "classes": "nuscenes-16", "default": "tool", "sources": {"tool": {700: ["auto", "car"]}}}
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(content))
    source = open_pictures(str(tmp_path))
    assert source.splits == {"train": (0,)}
    assert (source[0].classes == 3).all()
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump({"name": "x", "classes": "nuscenes-16", "default": "city"}))
    mask(tmp_path / "masks" / "1.png", np.full((6, 8), 22, np.uint8))
    assert (open_pictures(str(tmp_path), classes="kitti-10")[0].classes == 0).all()


def test_palette_masks_are_read_by_their_ids(folder):
    ids = Image.fromarray(np.full((6, 8), 1, np.uint8))
    ids.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    ids.convert("P").save(folder / "masks" / "train" / "a.png")
    assert (open_pictures(str(folder))[0].classes == 1).all()


def test_masks_of_one_bit_hold_the_ids_0_and_1(folder):
    path = next((folder / "masks").rglob("*.png"))
    with Image.open(path) as mask:
        ids = np.arange(mask.height * mask.width).reshape(mask.height, mask.width) % 3 == 0
    Image.fromarray(ids).save(path)
    np.testing.assert_array_equal(read_mask(path, *ids.shape), ids.astype(np.uint8))


def test_a_folder_without_masks(folder):
    for file in (folder / "masks").rglob("*.png"):
        file.unlink()
    (folder / "classes.yaml").unlink()
    source = open_pictures(str(folder))
    assert source.taxonomy is None
    assert source[0].classes is None


def test_one_mask_missing(folder):
    (folder / "masks" / "train" / "a.png").unlink()
    source = open_pictures(str(folder))
    assert source[0].classes is None
    assert source[1].classes is not None


def test_a_source_of_pictures_is_small(folder):
    source = pickle.loads(pickle.dumps(open_pictures(str(folder))))
    assert len(pickle.dumps(source)) < 3000
    np.testing.assert_array_equal(source[0].image(), open_pictures(str(folder))[0].image())


# ---- damage


def test_a_mask_that_does_not_fit(folder):
    path = folder / "masks" / "train" / "a.png"
    mask(path, np.zeros((8, 6), np.uint8))
    source = open_pictures(str(folder))
    with pytest.raises(InputError, match=r"a\.png: the mask is 8 x 6, its picture 6 x 8"):
        source[0]
    image(path)
    with pytest.raises(InputError, match=r"a\.png: the mask has mode RGB, expected one channel"):
        source[0]
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png: the mask cannot be read \(damaged"):
        source[0]
    path.unlink()
    with pytest.raises(InputError, match=r"a\.png: the mask cannot be read \(No such file"):
        source[0]


def test_a_picture_that_is_damaged(folder):
    path = folder / "images" / "train" / "a.jpg"
    content = path.read_bytes()
    source = open_pictures(str(folder))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.jpg: the image cannot be read"):
        source[0].image()
    path.unlink()
    with pytest.raises(InputError, match=r"a\.jpg: the image cannot be read \(No such file"):
        source[0]


def test_an_empty_split(folder):
    (folder / "images" / "test").mkdir()
    with pytest.raises(InputError, match=r"no split 'test'; there are: train \(2 pictures\), val \(1 pictures\)"):
        open_pictures(str(folder)).split("test")


def test_masks_without_classes(folder):
    path = folder / "classes.yaml"
    path.write_text("- road\n- [")
    with pytest.raises(InputError, match=r"classes\.yaml: not a YAML file"):
        open_pictures(str(folder))
    path.write_text(yaml.safe_dump(["road", "road"]))
    with pytest.raises(InputError, match="different class names"):
        open_pictures(str(folder))
    path.write_text(yaml.safe_dump(["road"]))
    with pytest.raises(InputError, match="a list of names has no map to 'kitti-10'"):
        open_pictures(str(folder), classes="kitti-10")
    path.unlink()
    with pytest.raises(InputError, match=r"classes\.yaml: cannot be read .* masks need it"):
        open_pictures(str(folder))


def test_names_that_do_not_fit(folder):
    image(folder / "images" / "train" / "a.png")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png have the same name"):
        open_pictures(str(folder))
    (folder / "images" / "train" / "a.png").unlink()
    for file in list((folder / "masks").rglob("*.png")):
        file.rename(file.with_name(f"mask_{file.name}"))
    with pytest.raises(InputError, match=r"no mask is named like a picture; expected train/a\.png, found"):
        open_pictures(str(folder))


@pytest.mark.parametrize("name", ["", "cityscapes:", "nuimages:"])
def test_wrong_folders(tmp_path, name):
    (tmp_path / "scans").mkdir()
    with pytest.raises(InputError, match=r"(picture|version) found, expected .*; found scans"):
        open_pictures(f"{name}{tmp_path}")
    with pytest.raises(InputError, match="does not exist, expected"):
        open_pictures(f"{name}{tmp_path}/absent")


def test_unknown_names(tmp_path):
    with pytest.raises(InputError, match="unknown pictures 'cityscape'; did you mean 'cityscapes'"):
        open_pictures(f"cityscape:{tmp_path}")
