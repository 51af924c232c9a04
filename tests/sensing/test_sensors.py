from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lidistill.datasets.rig import open_rig
from lidistill.errors import InputError
from lidistill.sensing import sensors
from lidistill.sensing.frame import Sensor
from lidistill.simulator.sensors import RIGS
from lidistill.students.config import StudentConfig


@pytest.mark.parametrize("name", sensors.names())
def test_every_entry_is_plausible(name):
    model = sensors.model(name)
    sensor = model.sensor
    assert sensor.name == name
    assert model.title
    assert sensors.sensor(name) is sensor
    assert sensor.fov is None or -90 <= sensor.fov[0] < sensor.fov[1] <= 90
    assert sensor.rate in (None, 10.0, 20.0)
    assert sensor.rings is None or 16 <= sensor.rings <= 150
    assert sensor.max_range is None or 40 < sensor.max_range < 500
    assert sensor.intensity is None or sensor.intensity[1] > 0
    assert sensor.forward in ("+x", "-x", "+y", "-y")
    assert set(model.grids) <= set(sensors.USES)


def test_statistics_of_the_papers():
    """ScaLR's intensity statistics (reference facts 2.2)."""
    found = {name: sensors.sensor(name).intensity for name in sensors.names()}
    assert {name: value for name, value in found.items() if value} == {
        "hdl-64e": (0.28613698, 0.14090556),
        "hdl-32e": (18.742355, 22.04632),
        "pandar64": (18.23640649, 25.86983417),
        "pandargt": (23.06113565, 16.76273235),
    }


@pytest.mark.parametrize(
    ("name", "use", "cells"),
    [
        ("hdl-32e", "pretraining", (256, 256, 32)),
        ("hdl-64e", "finetuning", (256, 256, 32)),
        ("hdl-32e", "supervised", (166, 166, 16)),
        ("hdl-64e", "supervised", (250, 250, 12)),
        ("pandar64", "pretraining", (256, 256, 32)),
        ("pandar64", "probing", (512, 512, 32)),
        ("pandar64", "finetuning", (512, 512, 32)),
        ("pandargt", "probing", (512, 512, 32)),
        ("pandargt", "finetuning", (384, 384, 32)),
        ("livox-mid-360", "pretraining", (256, 256, 32)),
    ],
)
def test_grids_of_the_papers(name, use, cells):
    """Cells along x, y and z of the published configurations (reference facts 1.7)."""
    grid = sensors.model(name).grid(use)
    student = StudentConfig(depth=1, width=8, norm="batch", fov=grid.box, cell=grid.cell)
    assert student.cells_per_axis == cells


def test_default_grid_is_that_of_the_students():
    fields = StudentConfig.model_fields
    assert sensors.Grid() == sensors.Grid(fields["fov"].default, fields["cell"].default)


@pytest.mark.parametrize("rig", RIGS)
def test_city_sensors_are_those_of_the_simulator(rig):
    lidar = RIGS[rig].lidar
    assert sensors.sensor(lidar.name) == Sensor(
        lidar.name,
        rate=lidar.rate,
        rings=len(lidar.elevations),
        fov=(lidar.elevations[0], lidar.elevations[-1]),
        max_range=lidar.max_range,
        forward=lidar.forward,
    )


def test_unknown_names_get_the_nearest():
    with pytest.raises(InputError, match="did you mean 'hdl-64e'"):
        sensors.sensor("hdl64e")
    with pytest.raises(InputError, match="did you mean 'probing'"):
        sensors.model("hdl-64e").grid("probe")


def edit(root, **lidar):
    content = yaml.safe_load((root / "rig.yaml").read_text())
    (root / "rig.yaml").write_text(yaml.safe_dump(content | {"lidar": lidar}))


def test_a_rig_that_names_its_model(tiny_rig, tmp_path):
    root = tiny_rig(tmp_path / "yard")
    edit(root, model="vlp-32c", rate=20.0)
    known = sensors.sensor("vlp-32c")
    assert open_rig(root).sensor == replace(known, name="yard-vlp-32c", rate=20.0)
    edit(root, model="hdl-32e", name="roof", forward="-x", intensity=[1.0, 2.0])
    assert open_rig(root).sensor == replace(sensors.sensor("hdl-32e"), name="roof", forward="-x", intensity=(1.0, 2.0))


def test_a_model_gives_no_statistics_and_no_axis(tiny_rig, tmp_path):
    """Those of KITTI's HDL-64E are for values up to 1; a driver writes up to 255."""
    root = tiny_rig(tmp_path / "yard")
    edit(root, model="hdl-32e")
    found = open_rig(root).sensor
    assert (found.intensity, found.forward, found.fov) == (None, "+x", (-30.67, 10.67))


def test_a_rig_with_an_unknown_model(tiny_rig, tmp_path):
    root = tiny_rig(tmp_path / "yard")
    edit(root, model="vlp16")
    with pytest.raises(InputError, match=r"rig\.yaml: lidar\.model: .*'vlp16'.*did you mean 'vlp-16'"):
        open_rig(root)
    edit(root, model=16)
    with pytest.raises(InputError, match=r"lidar\.model = 16"):
        open_rig(root)


def test_page_of_the_registry():
    """``docs/reference/sensors.md`` lists every model with its numbers."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "sensors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 8]
    assert [row[0].strip(" `") for row in rows] == list(sensors.names())
    for name, title, rate, rings, fov, reach, intensity in ([cell.strip(" `") for cell in row] for row in rows):
        model = sensors.model(name)
        sensor = model.sensor
        assert title == model.title
        assert [float(cell) if cell else None for cell in (rate, rings, reach)] == [
            sensor.rate,
            sensor.rings,
            sensor.max_range,
        ]
        assert (tuple(map(float, fov.split(" to "))) if fov else None) == sensor.fov
        assert (tuple(map(float, intensity.split(" ± "))) if intensity else None) == (
            pytest.approx(sensor.intensity, rel=1e-3) if sensor.intensity else None
        )
