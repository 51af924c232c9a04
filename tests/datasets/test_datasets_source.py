from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from lidistill.datasets import source as module
from lidistill.datasets.concat import Concat
from lidistill.datasets.source import open_source
from lidistill.datasets.statistics import intensity_statistics
from lidistill.errors import InputError
from lidistill.sensing.frame import Frame, Sensor
from lidistill.taxonomy import from_names


class Fake:
    """Frame i has i + 1 points of intensity i; frames in ``broken`` cannot be read."""

    spec = name = "fake"
    sensor = Sensor("fake-1")
    splits = {"train": (0, 1), "val": (2,)}  # noqa: RUF012

    def __init__(self, length=3, classes=("a", "b"), broken=()):
        self.length, self.broken = length, broken
        self.taxonomy = from_names(classes) if classes else None

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        if i in self.broken:
            raise InputError(f"fake/{i} is damaged")
        n = range(self.length)[i] + 1
        labels = np.zeros(n, np.uint8)
        return Frame(
            np.zeros((n, 3), np.float32), np.full(n, n - 1, np.float32), self.sensor, f"fake/{n - 1}", labels=labels
        )

    def split(self, name):
        return module.take_split(self, name)


def fake(path, classes):
    return Fake()


# ---- by name


def test_third_parties_add_a_data_set(monkeypatch):
    point = EntryPoint("mine", f"{__name__}:fake", module.GROUP)
    monkeypatch.setattr(module, "entry_points", lambda group: [point] if group == module.GROUP else [])
    monkeypatch.setattr(EntryPoint, "load", lambda self: fake)
    assert open_source("mine:/data").name == "fake"


def test_a_plugin_that_does_not_import(monkeypatch):
    point = EntryPoint("mine", "no_such_module:thing", module.GROUP)
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    with pytest.raises(InputError, match="'mine': its plug-in no_such_module:thing cannot be loaded"):
        open_source("mine:/data")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match="unknown data set 'semantickitti'; did you mean 'semantic-kitti'"):
        open_source("semantickitti:/data")


def test_rig_by_name(tmp_path, tiny_rig):
    assert len(open_source(f"rig:{tiny_rig(tmp_path)}")) == 3


def test_paths_with_letters_of_specs(tmp_path, tiny_rig):
    """Blanks, plus signs and question marks occur in paths; what a source calls itself opens it again."""
    rig = tiny_rig(tmp_path / "what now?" / "c++ & co?labels=x")
    labels = tmp_path / "a+b %41?"
    labels.mkdir()
    (rig / "labels" / "000001.label").rename(labels / "000001.label")
    for spec in (str(rig), f"rig:{rig}", f"rig:{rig}?labels={labels_of(labels)}"):
        source = open_source(spec)
        assert source.root == rig
        again = open_source(source.spec)
        assert (again.root, again.labels, again.spec) == (source.root, source.labels, source.spec)
    assert source.labels == labels
    assert module.parse_spec("nuscenes:/absent?sweeps=10&split=slidr", "rig")[2] == {"sweeps": "10", "split": "slidr"}
    assert module.parse_spec("synlidar:/absent?frames=/c++/a.json", "rig")[2] == {"frames": "/c++/a.json"}


def labels_of(path):
    return str(path).replace("%", "%25")


# ---- splits


def test_split_views():
    view = Fake().split("val")
    assert (len(view), view.spec, view.name, view.sensor.name) == (1, "fake", "fake", "fake-1")
    assert view[0].token == "fake/2"
    assert view.splits == {"val": (0,)}
    assert view.split("val")[0].token == "fake/2"
    assert view.taxonomy.classes == ("a", "b")
    with pytest.raises(InputError, match=r"fake: no split 'tran'; there are: train \(2 frames\), val \(1 frames\)"):
        Fake().split("tran")


# ---- mixtures


def test_concat():
    both = Concat([Fake(), Fake(5)])
    assert len(both) == 8
    assert [frame.token for frame in both] == [f"fake/{i}" for i in (0, 1, 2, 0, 1, 2, 3, 4)]
    assert both[-1].token == "fake/4"
    assert both.splits == {"train": (0, 1, 3, 4), "val": (2, 5)}
    assert [frame.token for frame in both.split("val")] == ["fake/2", "fake/2"]
    assert both.taxonomy.classes == ("a", "b")
    assert both[0].labels is not None
    assert both.spec == "fake + fake"
    with pytest.raises(IndexError):
        both[8]


def test_concat_of_other_classes_has_no_labels():
    both = Concat([Fake(), Fake(classes=("a", "c"))])
    assert both.taxonomy is None
    assert both[0].labels is None
    assert both[4].labels is None
    assert Concat([Fake(classes=None), Fake()]).taxonomy.classes == ("a", "b")
    with pytest.raises(InputError, match="no data"):
        Concat([])


# ---- intensity


def test_intensity_statistics_weigh_points_and_skip_damaged_scans():
    values = np.concatenate([np.full(n, n - 1.0) for n in (1, 2, 4, 5)])
    found = intensity_statistics(Fake(5, broken=(2,)))
    np.testing.assert_allclose(found, (values.mean(), values.std()), rtol=1e-12)


def test_intensity_statistics_spread_over_the_source():
    source = Fake(101)
    read = []
    spy = type("Spy", (Fake,), {"__getitem__": lambda self, i: read.append(i) or Fake.__getitem__(self, i)})(101)
    assert intensity_statistics(spy, scans=3) == intensity_statistics(source, scans=3)
    assert sorted(set(read)) == [0, 50, 100]


def test_intensity_statistics_without_intensity_or_scans():
    assert intensity_statistics(Fake(1)) == (0.0, 1.0)
    with pytest.raises(InputError, match=r"fake: no scan to measure the intensity on .*fake/0 is damaged"):
        intensity_statistics(Fake(2, broken=(0, 1)))
    with pytest.raises(InputError, match="it has no frame"):
        intensity_statistics(Fake(0))


def test_frames_of_a_mixture_keep_their_sensor():
    other = Fake()
    other.sensor = replace(other.sensor, name="fake-2")
    both = Concat([Fake(), other])
    assert both.sensor.name == "fake-1"
    assert [both[i].sensor.name for i in (2, 3)] == ["fake-1", "fake-2"]
