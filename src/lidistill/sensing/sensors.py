"""The registry of lidar models: what is known of each, and the grids students use (``docs/reference/sensors.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Sensor

DATA = Path(__file__).parent / "sensors.yaml"
USES = ("pretraining", "probing", "finetuning", "supervised")
"""What a grid is for; ``supervised`` is WaffleIron's own training, the others are steps of ScaLR."""

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Grid:
    """What a student sees: ``box`` = lowest and highest x, y and z; ``cell`` = edge of the 2D cells; metres."""

    box: Box = ((-64.0, 64.0), (-64.0, 64.0), (-8.0, 8.0))
    cell: float = 0.5


@dataclass(frozen=True)
class LidarModel:
    """A lidar of the registry: ``title`` names its maker, ``grids`` those of the ``USES`` that are not the default."""

    title: str
    sensor: Sensor
    grids: Mapping[str, Grid]

    def grid(self, use: str = "pretraining") -> Grid:
        """The published grid for one of ``USES``, or the default one."""
        if use not in USES:
            raise InputError(f"there is no grid for {use!r}{nearest(use, USES)}")
        return self.grids.get(use, Grid())


def names() -> tuple[str, ...]:
    """Names of the lidar models, those of the data sets first."""
    return tuple(_registry())


def model(name: str) -> LidarModel:
    """A lidar model by name; raises ``InputError`` with the nearest one for an unknown name."""
    if name not in _registry():
        raise InputError(f"there is no lidar model {name!r} in the registry{nearest(name, _registry())}")
    return _registry()[name]


def sensor(name: str) -> Sensor:
    """The sensor record of a lidar model: field of view, rate, range, intensity statistics where known."""
    return model(name).sensor


@cache
def _registry() -> dict[str, LidarModel]:
    rows: dict[str, dict[str, Any]] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return {name: _model(name, **row) for name, row in rows.items()}


def _model(name: str, *, title: str, grids: Mapping[str, Any] | None = None, **known: Any) -> LidarModel:
    for key in ("fov", "intensity"):
        if key in known:
            low, high = known[key]
            known[key] = (float(low), float(high))
    for key in ("rate", "max_range"):
        if key in known:
            known[key] = float(known[key])
    return LidarModel(title, Sensor(name, **known), {use: _grid(**grid) for use, grid in (grids or {}).items()})


def _grid(box: list[list[float]], cell: float) -> Grid:
    (x0, x1), (y0, y1), (z0, z1) = box
    return Grid(((float(x0), float(x1)), (float(y0), float(y1)), (float(z0), float(z1))), float(cell))
