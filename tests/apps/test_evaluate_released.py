"""``lidistill evaluate --released``: mCE on the scans that Robo3D released; cards of parts and of namesakes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lidistill.cli import main
from lidistill.evaluation.card import read_card
from lidistill.evaluation.robustness import BASELINES

LEVELS = ("light", "moderate", "heavy")


def scan(folder: Path, seed: int, share: float = 1.0) -> None:
    """Road and cars, of which ``share`` is left; one scan in the form of SemanticKITTI."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-20, -20, -1, 0), (20, 20, 1, 1), (400, 4)).astype("<f4")
    raw = np.where(points[:, 2] < 0, 40, 10).astype("<u4")
    kept = rng.random(400) < share
    for name, values in (("velodyne/000000.bin", points[kept]), ("labels/000000.label", raw[kept])):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        values.tofile(folder / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SemanticKITTI, a released folder of two corruptions and a probed run."""
    folder = tmp_path_factory.mktemp("released")
    scan(folder / "kitti/sequences/00", 0)
    scan(folder / "kitti/sequences/08", 1)
    for name in ("fog", "wet_ground"):
        for severity, level in enumerate(LEVELS, 1):
            scan(folder / "c" / name / level, severity, 0.8 / severity)
    options = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "2", "--set", "workers=0"]
    assert main(["probe", "--data", f"semantic-kitti:{folder}/kitti", "--out", str(folder / "run"), *options]) == 0
    return folder


def evaluated(place: Path, data: str, *options: str, out: str = "out") -> int:
    return main(["evaluate", str(place / "run"), "--data", data, "--out", str(place / out), *options])


def test_released_scans_count_instead_of_made_ones(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["--corruptions", "fog,wet-ground", "--baseline", "semantic-kitti-c"]
    released = f"semantic-kitti-c:{place}/c"
    assert evaluated(place, f"semantic-kitti:{place}/kitti", *options, "--released", released) == 0
    found = read_card(place / "out/semantic-kitti-val-released-fog-wet-ground.json")
    errors = []
    for name in ("fog", "wet-ground"):
        scores = []
        for severity, level in enumerate(LEVELS, 1):
            part = f"corruption={name.replace('-', '_')}&severity={level}"
            assert evaluated(place, f"{released}?{part}", out="parts") == 0
            alone = read_card(place / f"parts/semantic-kitti-c-{part.split('=')[1][:-9]}-{level}-val.json")
            assert found.metrics[f"miou/{name}/{severity}"] == alone.metrics["miou"]
            scores.append(100 * (alone.metrics["miou"].mean or 0))
        errors.append((300 - sum(scores)) / (300 - 3 * BASELINES["semantic-kitti-c"].scores[name]))
    assert found.metrics["mce"].mean == pytest.approx(sum(errors) / 2)
    assert found.recipe["evaluation"]["released"] == released
    assert "seed" not in found.recipe["evaluation"]
    assert "baseline semantic-kitti-c" not in caplog.text
    assert evaluated(place, f"semantic-kitti:{place}/kitti", *options[:3], "nuscenes-c", "--released", released) == 0
    assert "baseline nuscenes-c: is published for nuscenes-c, not for semantic-kitti-c" in caplog.text


def test_a_part_that_is_not_there_is_named_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--corruptions", "all", "--released", f"semantic-kitti-c:{place}/c"]
    assert evaluated(place, f"semantic-kitti:{place}/kitti", *options, out="none") == 2
    assert "no corruption 'snow'" in capsys.readouterr().err
    assert not (place / "none").exists()


def test_classes_that_a_corruption_looks_for_in_vain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Known at the start, not after the seven corruptions that come before."""
    (tmp_path / "rig/scans").mkdir(parents=True)
    (tmp_path / "rig/rig.yaml").write_text("lidar: {name: tiny}\nclasses: [road, tree]\n")
    for number in range(2):
        scan(tmp_path / "made", number)
        shutil.copy(tmp_path / "made/velodyne/000000.bin", tmp_path / f"rig/scans/{number}.bin")
        (tmp_path / "rig/labels").mkdir(exist_ok=True)
        (np.arange(400) % 2).astype("<u4").tofile(tmp_path / f"rig/labels/{number}.label")
    (tmp_path / "rig/splits.yaml").write_text("train: ['0']\nval: ['1']\n")
    options = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "workers=0"]
    assert main(["probe", "--data", str(tmp_path / "rig"), "--out", str(tmp_path / "run"), *options]) == 0
    asked = ["--data", str(tmp_path / "rig"), "--out", str(tmp_path / "out"), "--corruptions", "all"]
    assert main(["evaluate", str(tmp_path / "run"), *asked]) == 2
    assert "none of the classes is known as vehicles (road, tree); leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_namesakes_do_not_replace_each_others_cards(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    first = tiny_rig(tmp_path / "a/rig", frames=3, images=False)
    (tmp_path / "b").mkdir()
    second = tmp_path / "b/rig"
    shutil.copytree(first, second)
    options = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "workers=0"]
    assert main(["probe", "--data", str(first), "--out", str(tmp_path / "run"), *options]) == 0
    for data in (first, second, first, second):
        assert main(["evaluate", str(tmp_path / "run"), "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    cards = sorted((tmp_path / "out").glob("*.json"))
    assert [card.name[:7] for card in cards] == ["rig-val", "rig-val"]
    assert {read_card(card).data.spec for card in cards} == {str(first), str(second)}
