"""The settings of adaptation against what is published of them (reference facts 2.10, 4.2 to 4.4)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lidistill import taxonomy
from lidistill.errors import InputError
from lidistill.evaluation.class_map import merges
from lidistill.evaluation.settings import Setting, load_setting, setting_names
from lidistill.sensing.frame import IGNORE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"
CITY = {"spinning-32", "spinning-64", "uneven-64", "solid-state"}
RAW = {
    "semantic-kitti": "semantic-kitti",
    "semantic-poss": "semantic-poss",
    "pandaset-64": "pandaset",
    "waymo": "waymo",
}
"""Reader of a target -> the name of its raw ids in class lists."""
PUBLISHED = {
    # setting: classes; raw ids of the target by class from 1; learned classes of the source by class from 1
    "nuscenes-to-semantic-kitti": (
        10,
        "10,252|11|15|18,258|13,20,257,259|30,254|40,44,60|48|72|70,71",
        "car|bicycle|motorcycle|truck|bus,construction_vehicle,trailer|pedestrian|driveable_surface|sidewalk|terrain|"
        "vegetation",
    ),
    "nuscenes-to-semantic-poss": (
        6,
        "4,5|6,21|7|22|9|10,11,12,13,14,15,16,17",
        "pedestrian|bicycle,motorcycle|bus,car,construction_vehicle,trailer,truck|"
        "driveable_surface,other_flat,sidewalk,terrain|vegetation|barrier,manmade,traffic_cone",
    ),
    "nuscenes-to-pandaset": (
        8,
        "18,21,24,25,26|30,31|7,8,9,10,12|11|6|34,35,36,37,38,39,40,41,42|5|13,14,15,16,17,19,20,22,23",
        "bicycle,motorcycle|pedestrian|driveable_surface|sidewalk|other_flat,terrain|barrier,manmade,traffic_cone|"
        "vegetation|bus,car,construction_vehicle,trailer,truck",
    ),
    "nuscenes-to-waymo": (
        10,
        "1|12|13|2|3,4|7|18,19,20|17,22|21|15,16",
        "car|bicycle|motorcycle|truck|bus,construction_vehicle,trailer|pedestrian|driveable_surface|sidewalk|terrain|"
        "vegetation",
    ),
    "synlidar-to-semantic-kitti": (
        19,
        "10,252|11|15|18,258|13,16,20,256,257,259|30,254|31,253|32,255|40,60|44|48|49|50|51|70|71|72|80|81",
        "car|bicycle|motorcycle|truck|bus,other-vehicle|person|bicyclist|motorcyclist|road|parking|sidewalk|"
        "other-ground|building|fence|vegetation|trunk|terrain|pole|traffic-sign",
    ),
    "synlidar-to-semantic-poss": (
        13,
        "4,5|6|7|8|9|10,11,12|13|14|15|16|17|21|22",
        "person|bicyclist,motorcyclist|car|trunk|vegetation|traffic-sign|pole|garbage-can|building|traffic-cone|fence|"
        "bicycle|road",
    ),
}


def members(table: np.ndarray, names: list[str]) -> list[str]:
    """What goes to every class, in the form of ``PUBLISHED``."""
    classes = range(int(table[table != IGNORE].max()) + 1)
    return [",".join(names[row] for row in np.flatnonzero(table == number)) for number in classes]


def reader(setting: Setting, part: str) -> str:
    return setting.spec(part).partition(":")[0]


def test_the_published_settings_come_first() -> None:
    assert set(setting_names()[:6]) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_labels_of_the_target_go_where_they_are_published_to_go(name: str) -> None:
    setting, (count, raw, _) = load_setting(name), PUBLISHED[name]
    assert setting.compared is not None
    common = taxonomy.load(setting.compared, RAW[reader(setting, "target")])
    assert len(common.classes) == count
    assert members(common.table, [str(number) for number in range(len(common.table))]) == raw.split("|")


@pytest.mark.parametrize("name", PUBLISHED)
def test_predictions_are_merged_as_published(name: str) -> None:
    setting, (_, _, learned) = load_setting(name), PUBLISHED[name]
    assert setting.compared is not None
    fine = taxonomy.load(setting.learned)
    assert len(fine.classes) == {"nuscenes": 16, "synlidar": 22}[reader(setting, "source")]
    assert reader(setting, "source") in taxonomy.sources(setting.learned)
    table = merges(setting.compared, fine.classes, setting.learned, "the run")
    found = [",".join(sorted(names.split(","))) for names in members(table, list(fine.classes))]
    assert found == [",".join(sorted(names.split(","))) for names in learned.split("|")]


def test_options_of_the_data() -> None:
    def options(name: str, part: str) -> str:
        return load_setting(name).spec(part).partition("?")[2]

    assert {options(name, "source") for name in PUBLISHED if name.startswith("nuscenes")} == {""}
    assert {options(name, "source") for name in PUBLISHED if name.startswith("synlidar")} == {
        "split=pseudo-val&reach=50"
    }
    assert {options(name, "target") for name in PUBLISHED if name.endswith("kitti")} == {"reach=50"}
    assert {options(name, "target") for name in PUBLISHED if name.endswith("poss")} == {""}
    assert options("nuscenes-to-pandaset", "target") == "split=temporal"
    assert load_setting("nuscenes-to-pandaset").open("target", "/d") == "pandaset-64:/d/pandaset?split=temporal"


def test_every_pair_of_the_city_and_its_styles() -> None:
    pairs = {(one, other) for one in CITY for other in CITY if one != other}
    pairs |= {("spinning-32", "spinning-32-old-town"), ("spinning-32-old-town", "spinning-32")}
    settings = [load_setting(name) for name in setting_names()[6:]]
    assert {(setting.source, setting.target) for setting in settings} == pairs
    for setting in settings:
        assert setting.name == f"{setting.source}-to-{setting.target}"
        assert (setting.learned, setting.compared) == ("city-16", None)
        assert setting.open("target", "/d") == f"/d/{setting.target}"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'nuscenes-to-semantic-kitti'"):
        load_setting("nuscenes-to-kitti")


def test_the_page_lists_them() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| `([^`]+)` \| `([^`]+)` \| `([\w-]+)` \| `([\w-]+)` \((\d+)\) \|$", PAGE.read_text(), re.M
    )
    expected = []
    for name in PUBLISHED:
        setting = load_setting(name)
        common = setting.compared or setting.learned
        count = str(len(taxonomy.load(common).classes))
        specs = (setting.open(part, "/data") for part in ("source", "target"))
        expected.append((name, *specs, setting.learned, common, count))
    assert sorted(rows) == sorted(expected)
