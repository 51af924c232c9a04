"""Classes of a network and labels of other data meet in a common list: counted by hand, both forms, every fault."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill import taxonomy
from lidistill.errors import InputError
from lidistill.evaluation.class_map import class_map, maps_between
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import Scanned

SIXTEEN = taxonomy.load("nuscenes-16").classes
KITTI, CITY = taxonomy.load("semantic-kitti-19"), taxonomy.load("city-16")
TEN = {"bicycle": 1, "bus": 4, "car": 0, "construction_vehicle": 4, "motorcycle": 2, "pedestrian": 5, "trailer": 4}
TEN |= {"truck": 3, "driveable_surface": 6, "sidewalk": 7, "terrain": 8, "vegetation": 9}
SIX = {"barrier": 5, "traffic_cone": 5, "manmade": 5, "bicycle": 1, "motorcycle": 1, "pedestrian": 0, "vegetation": 4}
SIX |= dict.fromkeys(["bus", "car", "construction_vehicle", "trailer", "truck"], 2)
SIX |= dict.fromkeys(["driveable_surface", "other_flat", "sidewalk", "terrain"], 3)

OWN = """
name: two
classes:
  ground: [255, 0, 255]
  thing: [0, 175, 0]
default: my-rig
sources:
  my-rig:
    0: [road, ground]
    1: [lawn, ground]
    2: [tree, thing]
  nuscenes-16:
    10: [driveable_surface, ground]
    3: [car, thing]
"""


def scanned(outputs: list[list[float]], labels: list[int], rows: list[int] | None = None) -> Scanned:
    scores = torch.tensor(outputs)
    which = torch.arange(len(outputs)) if rows is None else torch.tensor(rows)
    return Scanned(0, "a", scores, scores, which, torch.tensor(labels))


@pytest.mark.parametrize(
    ("name", "data", "expected"), [("kitti-10", KITTI, TEN), ("poss-6", taxonomy.load("poss-13"), SIX)]
)
@pytest.mark.parametrize("learned", ["nuscenes-16", "city-16"])
def test_published_maps(name: str, data: taxonomy.Taxonomy, expected: dict[str, int], learned: str) -> None:
    """The table of ``reference-facts`` 2.10, also for the class list of the city, which is that of nuScenes."""
    found = class_map(name, SIXTEEN, learned, data)
    assert {SIXTEEN[i]: int(k) for i, k in enumerate(found.table) if k != 255} == expected
    assert found.labels is None
    assert found.classes == taxonomy.load(name).classes
    members = found.members(SIXTEEN)
    assert sorted(c for names in members.values() for c in names) == sorted(SIXTEEN)
    assert members["outside"] == [c for c in SIXTEEN if c not in expected]


def test_a_mapped_confusion_equals_one_counted_by_hand() -> None:
    rng = np.random.default_rng(0)
    outputs, truth = rng.normal(size=(500, 16)), rng.integers(0, 10, 700)
    rows = rng.integers(0, 500, 700)
    truth[:50] = 255
    found = Confusion(taxonomy.load("kitti-10").classes)
    mapped = class_map("kitti-10", SIXTEEN, "nuscenes-16", KITTI, "miss")
    found.add(*mapped.read(scanned(outputs.tolist(), truth.tolist(), rows.tolist())))
    matrix, missed = np.zeros((10, 10), int), np.zeros(10, int)
    for true, row in zip(truth, rows, strict=True):
        place = TEN.get(SIXTEEN[int(outputs[row].argmax())])
        if true == 255:
            continue
        if place is None:
            missed[true] += 1
        else:
            matrix[true, place] += 1
    assert np.array_equal(found.matrix, matrix)
    assert np.array_equal(found.missed, missed)
    assert missed.sum() > 50
    assert np.array_equal(found.truth(), np.bincount(truth[truth != 255], minlength=10))
    # a miss is a false negative of the truth, and a false positive of nothing
    iou = matrix.diagonal() / (matrix.sum(1) + missed + matrix.sum(0) - matrix.diagonal())
    assert np.allclose(found.iou(), iou)


def test_forbid_takes_the_best_class_that_is_inside_and_miss_does_not() -> None:
    # other_flat (outside) is best, driveable_surface second, car third
    scores = [0.0] * 16
    scores[SIXTEEN.index("other_flat")] = 3.0
    scores[SIXTEEN.index("driveable_surface")] = 2.0
    scores[SIXTEEN.index("car")] = 1.0
    item = scanned([scores], [6])  # the truth is the road
    forbid, miss = (
        class_map("kitti-10", SIXTEEN, "nuscenes-16", KITTI, form).read(item) for form in ("forbid", "miss")
    )
    assert forbid == (np.array([6]), np.array([6]))
    assert miss == (np.array([6]), np.array([255]))
    assert torch.equal(item.outputs[0], torch.tensor(scores))  # left as they are


def test_the_same_list_needs_no_map() -> None:
    found = class_map("kitti-10", taxonomy.load("kitti-10").classes, "whatever", KITTI)
    assert found.table.tolist() == list(range(10))


def test_a_list_of_the_users_for_the_run_and_for_the_data(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(OWN)
    rig = taxonomy.from_names(["road", "lawn", "tree", "sky"], "my-rig")
    found = class_map(str(path), SIXTEEN, "nuscenes-16", rig)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 255]
    scores = np.full((5, 16), -1.0)
    scores[:, 14] = 9  # manmade: outside
    scores[[0, 1], 10] = 5
    scores[[2, 3, 4], 3] = 5
    truth, predicted = found.read(scanned(scores.tolist(), [0, 1, 2, 3, 255]))
    assert truth.tolist() == [0, 0, 1, 255, 255]
    assert predicted.tolist() == [0, 0, 1, 1, 1]
    assert found.members(SIXTEEN)["ground"] == ["driveable_surface"]


@pytest.mark.parametrize(
    ("name", "learned", "message"),
    [
        ("kitti-11", "nuscenes-16", "unknown class list 'kitti-11'; did you mean 'kitti-10'"),
        ("kitti-10", "my-list", "add a source 'my-list' to the map"),
        ("two.yaml", "my-rig", "source 'my-rig' calls class 0 'road', but in the run it is 'barrier'"),
        ("kitti-10", None, "the run has the classes of 'unnamed'"),
    ],
)
def test_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, learned: str | None, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.yaml").write_text(OWN)
    with pytest.raises(InputError) as caught:
        class_map(name, SIXTEEN, learned, KITTI)
    assert message in str(caught.value)


def test_a_map_without_any_class_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    nowhere = OWN.replace("driveable_surface, ground", "driveable_surface, ignore")
    path.write_text(nowhere.replace("car, thing", "car, ignore"))
    with pytest.raises(InputError, match="none of the run's classes"):
        class_map(str(path), SIXTEEN, "nuscenes-16", CITY)


def test_maps_that_would_do() -> None:
    assert maps_between("nuscenes-16", KITTI) == ["kitti-10"]
    assert maps_between("city-16", taxonomy.load("poss-13")) == ["poss-6"]
    assert "semantic-kitti-19" in maps_between("synlidar-22", KITTI)
    assert maps_between("kitti-10", KITTI) == ["kitti-10"]
    assert maps_between(None, KITTI) == []


def test_page_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "evaluation.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "two.yaml"
    path.write_text(example)
    rig = taxonomy.from_names(["nothing", "street", "walk"], "my_rig")
    found = class_map(str(path), SIXTEEN, "city-16", rig)
    assert found.labels is not None
    assert found.labels.tolist() == [255, 0, 1]
    assert found.members(SIXTEEN)["walk"] == ["sidewalk"]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE))
    for name, outside in rows.items():
        if name in taxonomy.names() and "`" not in outside:
            members = class_map(name, SIXTEEN, "city-16", CITY).members(SIXTEEN)["outside"]
            assert outside == (", ".join(members) or "nothing")
    assert {"kitti-10", "poss-6", "pandaset-8", "waymo-10"} <= set(rows)
