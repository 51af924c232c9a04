"""The settings of adaptation by name, on small data in the layouts of the data sets: from a backbone to a card."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import kitti_folders as kitti
import numpy as np
import pandaset_folder
import pytest
import waymo_folder
from nuscenes_folder import make_nuscenes

import lidistill
from lidistill import taxonomy
from lidistill.cli import main
from lidistill.datasets.source import open_source
from lidistill.datasets.unlabelled import without_labels
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.evaluation.settings import load_setting, setting_names
from lidistill.training.run import Run

SMALL = ("workers=0", "points=400", "batch_size=2")
PUBLISHED = setting_names()[:6]
RAW = {
    "semantic-kitti": (10, 11, 15, 18, 13, 30, 40, 48, 72, 70, 50),
    "semantic-poss": tuple(range(4, 18)),
    "synlidar": tuple(range(33)),
}
SEQUENCES = {
    "semantic-kitti": ("dataset/sequences/00", "dataset/sequences/08"),
    "semantic-poss": ("sequences/00", "sequences/03"),
    "synlidar": ("00", "08"),
}
FAR = 5
"""Points of every scan at 60 m."""


def write_sequences(root: Path, name: str) -> None:
    for number, sequence in enumerate(SEQUENCES[name]):
        for frame in range(2):
            path = root / name / sequence / f"velodyne/{frame:06d}.bin"
            rows = kitti.scan(path, points=200, seed=10 * number + frame)
            rows[:FAR, 0] = 60
            rows.tofile(path)
            raw = np.random.default_rng(frame).choice(RAW[name], len(rows))
            kitti.labels(path.parent.parent / f"labels/{frame:06d}.label", raw)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_nuscenes(root / "nuscenes", version="v1.0-trainval", points=400)
    for name in SEQUENCES:
        write_sequences(root, name)
    pandaset_folder.make_sequence(root / "pandaset", frames=(0, 49, 50, 51), cameras=())
    waymo_folder.make_segment(root / "waymo/training", "20_000_40_000", frames=2, labelled=(0, 1), images=False)
    waymo_folder.make_segment(root / "waymo/validation", "30_000_50_000", frames=2, labelled=(1,), images=False)
    for seed, name in enumerate(("spinning-32", "uneven-64")):
        tiny_rig(root / name, frames=3, seed=seed)
    return root


@pytest.fixture(scope="module")
def backbone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distilled with instance norm, which saves it from statistics of any of these lidars."""
    student = ("student=waffleiron-1-8", "student.norm=instance", "teacher.image_size=[64, 128]")
    out = tmp_path_factory.mktemp("backbone") / "run"
    lidistill.pretrain([data / "spinning-32"], out=out, recipe="city", epochs=1, set=(*SMALL, *student))
    return out


@pytest.fixture(scope="module")
def heads() -> dict[str, Path]:
    """Of the sources whose head was trained already."""
    return {}


@pytest.mark.parametrize("name", [*PUBLISHED, "spinning-32-to-uneven-64"])
def test_a_setting_from_the_backbone_to_the_card(
    name: str, data: Path, backbone: Path, heads: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    setting = load_setting(name)
    out = tmp_path_factory.mktemp("adapted") / "run"
    run = lidistill.adapt(
        heads.get(setting.source, backbone),
        setting=name,
        data=data,
        out=out,
        recipe="city-muddos",
        set=("rounds=1", "epochs=1", *SMALL),
    )
    heads.setdefault(setting.source, Path(f"{out}-head"))
    config = Run.open(run).config
    assert config.sources == (setting.open("source", data), setting.open("target", data))
    assert config.model.taxonomy == setting.learned
    card = read_card(run / "card.json")
    classes = taxonomy.load(setting.compared or setting.learned).classes
    assert {key.removeprefix("iou/") for key in card.metrics if key.startswith("iou/")} <= set(classes)
    said = card.recipe.get("evaluation", {})
    assert (said.get("map"), said.get("outside")) == (setting.compared, "forbid" if setting.compared else None)
    assert card.data.spec == setting.open("target", data)
    assert (run / "source-only.json").is_file()
    assert (run / "rounds/1/model.safetensors").is_file()


def test_splits_of_the_settings(data: Path) -> None:
    pandaset = open_source(load_setting("nuscenes-to-pandaset").open("target", data))
    assert {split: len(pandaset.splits[split]) for split in ("train", "val")} == {"train": 2, "val": 2}
    synlidar = open_source(load_setting("synlidar-to-semantic-poss").open("source", data))
    assert [synlidar[row].token for row in synlidar.splits["val"]] == ["synlidar/08/000000", "synlidar/08/000001"]
    poss = open_source(load_setting("synlidar-to-semantic-poss").open("target", data))
    assert {poss[row].token.split("/")[1] for row in poss.splits["val"]} == {"03"}


@pytest.mark.parametrize("name", ["semantic-kitti", "synlidar"])
def test_reach_leaves_out_what_is_farther(name: str, data: Path) -> None:
    whole, near = (open_source(f"{name}:{data}/{name}{query}")[1] for query in ("", "?reach=50"))
    assert (len(whole), len(near)) == (200, 200 - FAR)
    assert whole.labels is not None
    assert near.labels is not None
    np.testing.assert_array_equal(near.points, whole.points[FAR:])
    np.testing.assert_array_equal(near.labels, whole.labels[FAR:])
    assert np.linalg.norm(near.points, axis=1).max() <= 50
    source = open_source(f"{name}:{data}/{name}?reach=50")
    assert len(open_source(source.spec)[1]) == len(near)


@pytest.mark.parametrize("name", ["semantic-kitti", "synlidar"])
@pytest.mark.parametrize("reach", ["far", "0", "-5", "nan"])
def test_a_reach_that_is_no_length(name: str, reach: str, data: Path) -> None:
    with pytest.raises(InputError, match=f"reach '{reach}' is no length; expected metres"):
        open_source(f"{name}:{data}/{name}?reach={reach}")


def test_nothing_within_reach(data: Path) -> None:
    with pytest.raises(InputError, match=r"semantic-kitti/00/000000: none of its 200 points lies within 0.5 m"):
        open_source(f"semantic-kitti:{data}/semantic-kitti?reach=0.5")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "adapt needs --source and --target, or a --setting that names both"),
        (["--source", "a"], "adapt needs --source and --target, or a --setting"),
        (["--source", "a", "--target", "b", "--data", "c"], "--data c: only a --setting looks for its data there"),
        (
            ["--setting", "nuscenes-to-waymo", "--map", "kitti-10"],
            "nuscenes-to-waymo says what --map is; leave out one",
        ),
        (["--setting", "nuscenes-to-waymo", "--source", "a"], "says what --source is; leave out one of them"),
        (["--setting", "nuscenes-to-vaymo"], "there is no setting 'nuscenes-to-vaymo'; did you mean"),
        (["--setting", "nuscenes-to-waymo", "--data", "nowhere"], "nowhere/nuscenes: does not exist"),
    ],
)
def test_what_does_not_fit_together(
    words: list[str], said: str, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adapt", str(backbone), *words, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("nuscenes", "nuscenes", "lidarseg/**/*.bin"),
        ("semantic-kitti", "semantic-kitti", "**/*.label"),
        ("semantic-poss", "semantic-poss", "**/*.label"),
        ("synlidar", "synlidar", "**/*.label"),
        ("pandaset-64", "pandaset", "*/annotations/semseg/*.pkl.gz"),
        ("waymo", "waymo", "training/lidar_segmentation/*.parquet"),
        ("rig", "spinning-32", "labels/*.label"),
    ],
)
def test_without_labels_no_label_file_is_opened(data: Path, tmp_path: Path, name: str, folder: str, files: str) -> None:
    """Damaged ones hurt whoever reads them, and nobody else."""
    shutil.copytree(data / folder, tmp_path / folder)
    source = open_source(f"{name}:{tmp_path / folder}").split("train")
    whole = source[0]
    found = list((tmp_path / folder).glob(files))
    assert found
    for file in found:
        file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(InputError):
        source[0]
    frame = without_labels(source)[0]
    assert whole.labels is not None
    assert frame.labels is None
    assert np.array_equal(frame.points, whole.points)
