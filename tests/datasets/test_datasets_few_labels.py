"""A folder of a few label files beside a rig: which scans are used, what is held out, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from lidistill.datasets.few_labels import count_labels, label_files, labelled_splits
from lidistill.datasets.rig import Rig, labels_spec
from lidistill.datasets.source import open_source
from lidistill.errors import InputError


@pytest.fixture
def rig(tmp_path: Path, tiny_rig: Callable[..., Path]) -> Path:
    """A rig of eight scans without labels; ``labels`` beside it has those of scans 1, 3, 4, 5, 6 and 7."""
    folder = tiny_rig(tmp_path / "rig", frames=8, images=False, splits=False)
    (folder / "labels").rename(tmp_path / "labels")
    for number in (0, 2):
        (tmp_path / "labels" / f"{number:06d}.label").unlink()
    return folder


def opened(rig: Path, labels: str = "labels", classes: str | None = None) -> Rig:
    source = open_source(labels_spec(str(rig), str(rig.parent / labels)), classes)
    assert isinstance(source, Rig)
    return source


def test_only_scans_with_a_label_file_are_used(rig: Path) -> None:
    source = opened(rig)
    assert len(source) == 8
    assert (source.splits["train"], source.splits["val"]) == ((1, 3, 4, 5, 7), (6,))
    assert source.splits["train-50"] == (1, 4, 7)
    assert source[0].labels is None
    raw = np.fromfile(rig.parent / "labels/000003.label", np.uint32)
    assert source.taxonomy is not None
    np.testing.assert_array_equal(source[3].labels, source.taxonomy.apply(raw))
    # the rig itself is as it was
    assert open_source(str(rig))[3].labels is None
    assert open_source(source.spec).splits == source.splits


def test_a_folder_with_a_strange_name(rig: Path) -> None:
    (rig.parent / "labels").rename(rig.parent / "my labels & more?")
    assert opened(rig, "my labels & more?")[3].labels is not None


@pytest.mark.parametrize(
    ("splits", "labelled", "expected"),
    [
        ({"train": range(20)}, range(10), {"train": (0, 1, 2, 3, 5, 6, 7, 8), "val": (4, 9)}),
        ({"train": range(20)}, range(5), {"train": (0, 1, 2, 3), "val": (4,)}),
        ({"train": range(20)}, range(4), {"train": (0, 1, 2, 3)}),
        ({"train": (0, 1), "val": (2, 3)}, (0, 2, 5), {"train": (0, 5), "val": (2,)}),
        ({"train": (0, 1), "val": (7,)}, range(5), {"train": (0, 1, 2, 3), "val": (4,)}),
        ({"train": (0, 1), "test": (4, 5)}, range(6), {"train": (0, 1, 2, 3), "test": (4, 5)}),
        ({"train": (0, 1), "train-50": (0,)}, (1,), {"train": (1,)}),
    ],
)
def test_what_is_held_out(splits: dict[str, range], labelled: range, expected: dict[str, tuple[int, ...]]) -> None:
    assert labelled_splits({name: tuple(rows) for name, rows in splits.items()}, tuple(labelled)) == expected


def test_points_of_each_class_are_counted(rig: Path) -> None:
    source = opened(rig)
    counts = count_labels(source)
    labels = np.concatenate([source[row].labels for row in (1, 3, 4, 5, 6, 7)])
    assert counts.tolist() == [(labels == label).sum() for label in range(16)]


def test_255_is_no_class(rig: Path) -> None:
    file = rig.parent / "labels/000003.label"
    raw = np.fromfile(file, np.uint32)
    raw[10:] = 255
    raw[:10] |= 7 << 16  # an instance number
    raw.tofile(file)
    assert count_labels(opened(rig)).sum() > 0
    assert (opened(rig)[3].labels != 255).sum() <= 10


def names(rig: Path) -> None:
    """The class list becomes a list of names."""
    values = yaml.safe_load((rig / "rig.yaml").read_text())
    (rig / "rig.yaml").write_text(yaml.safe_dump(values | {"classes": ["ground", "thing"]}))


def change(row: int, value: int) -> Callable[[Path], None]:
    def act(rig: Path) -> None:
        file = rig.parent / "labels/000003.label"
        raw = np.fromfile(file, np.uint32)
        raw[: row or None] = value
        raw.tofile(file)

    return act


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change(5, 47), "5 points have the id 47, which the class list 'city-16' does not know (ids 0-"),
        (change(5, 254), "have the id 254"),
        (change(0, 255), "none of its"),
        (change(0, 0), "none of its"),
        (names, "which the class list 'rig' does not know (ids 0-1; 255 = no class)"),
        (lambda rig: np.zeros(3, np.uint32).tofile(rig.parent / "labels/000003.label"), "3 labels, expected"),
        (lambda rig: (rig.parent / "labels/000003.label").write_bytes(b"12345"), "000003.label: 5 bytes"),
        (lambda rig: (rig / "scans/000003.bin").write_bytes(b""), "000003.bin"),
    ],
)
def test_labels_that_cannot_be_used_are_a_sentence(rig: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(rig)
    with pytest.raises(InputError) as error:
        count_labels(opened(rig))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_used_is_a_sentence(rig: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: does not exist, expected a folder of \.label files"):
        opened(rig, "nowhere")
    (rig.parent / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no label file, .*; found nothing"):
        opened(rig, "empty")
    (rig.parent / "labels/00003.label").touch()
    with pytest.raises(InputError, match=r"00003\.label: no scan is called '00003'; did you mean '000003'"):
        opened(rig)


def test_label_files_come_in_the_order_of_the_scans(tmp_path: Path) -> None:
    for name in ("c.label", "a.label", "b.txt"):
        (tmp_path / name).touch()
    assert label_files(tmp_path, ("a", "b", "c")) == (0, 2)
