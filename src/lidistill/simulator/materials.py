"""What surfaces are made of, for the lidar and for the eye, and the raw class ids they carry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lidistill import taxonomy


@dataclass(frozen=True)
class Material:
    """``reflectivity`` of lidar light in [0, 1]; ``retro`` returns it to the sender at any angle;

    ``loss`` is the share of pulses that never come back (glass lets them through, wet paint mirrors them away);
    ``gloss`` is how much of the sky the eye sees in it at grazing angles.
    """

    reflectivity: float
    retro: bool = False
    loss: float = 0.0
    gloss: float = 0.0


MATERIALS: dict[str, Material] = {
    "matte": Material(0.35),
    "asphalt": Material(0.13, gloss=0.05),
    "marking": Material(0.70),
    "concrete": Material(0.33),
    "stone": Material(0.38),
    "grass": Material(0.50),
    "soil": Material(0.25),
    "plaster": Material(0.50),
    "brick": Material(0.40),
    "glass": Material(0.10, loss=0.45, gloss=0.75),
    "tile": Material(0.30),
    "wood": Material(0.40),
    "leaf": Material(0.45, loss=0.06),
    "bark": Material(0.28),
    "metal": Material(0.45, loss=0.02, gloss=0.15),
    "paint": Material(0.45, loss=0.04, gloss=0.35),
    "dark-paint": Material(0.08, loss=0.18, gloss=0.35),
    "rubber": Material(0.06, loss=0.03),
    "cloth": Material(0.42),
    "skin": Material(0.50),
    "reflector": Material(0.95, retro=True),
    "lamp": Material(0.30, loss=0.10, gloss=0.30),
}

MATERIAL = {name: index for index, name in enumerate(MATERIALS)}
"""Material id by name."""


def material_column(field: str) -> NDArray[np.float32]:
    """One property of all materials, in the order of their ids: (len(MATERIALS),) float32."""
    return np.array([getattr(material, field) for material in MATERIALS.values()], np.float32)


@cache
def raw_ids() -> dict[str, int]:
    """Raw class id by raw name, read from the taxonomy ``city-16`` so that the two can never disagree."""
    return {name: number for number, name in taxonomy.raw_names("city-16").items()}


def raw_id(name: str) -> int:
    """Raw class id of one raw name of ``city-16``."""
    return raw_ids()[name]
