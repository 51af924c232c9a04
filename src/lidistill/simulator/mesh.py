"""Triangles with everything the sensors ask of them, and templates that are placed many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.simulator.materials import MATERIAL, raw_id
from lidistill.simulator.shapes import Solid

PLAIN, ROAD, BLOCK, ISLAND, FACADE, SIGN, BRICK, TILES = range(8)
"""How the look of a triangle is found: its own colour, or one of the procedural textures of ``textures``."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """F triangles over V vertices, and per triangle its raw class, material, colour and texture.

    ``vertices`` (V, 3) float32 metres; ``faces`` (F, 3) int32 rows of them; ``color`` (F, 3) float32 is linear
    reflectance in [0, 1]; ``texture`` names the procedural texture and ``surface`` its row in the city's table of
    textured surfaces (-1: none); ``slot`` >= 0 multiplies a colour of the palette given when the mesh is placed.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    label: NDArray[np.uint8]
    material: NDArray[np.uint8]
    color: NDArray[np.float32]
    texture: NDArray[np.uint8]
    surface: NDArray[np.int32]
    slot: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.faces)

    def placed(
        self,
        position: ArrayLike,
        heading: float = 0.0,
        scale: ArrayLike = 1.0,
        palette: ArrayLike | None = None,
    ) -> Mesh:
        """Scale, turn about z by ``heading`` (rad), move to ``position``; ``palette`` (k, 3) paints the slots."""
        c, s = np.cos(heading), np.sin(heading)
        turn = (np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) * np.broadcast_to(scale, (3,))[:, None]).astype(np.float32)
        vertices = self.vertices @ turn + np.asarray(position, np.float32)
        color = self.color
        if palette is not None:
            paint = np.concatenate([np.asarray(palette, np.float32).reshape(-1, 3), np.ones((1, 3), np.float32)])
            color = color * paint[self.slot]
        return replace(self, vertices=vertices, color=color)


def join(parts: Sequence[Mesh]) -> Mesh:
    """All triangles of ``parts``, in their order."""
    shift = np.cumsum([0] + [len(part.vertices) for part in parts])
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Mesh)}
    columns["faces"] = columns["faces"] + np.repeat(shift[:-1], [len(part) for part in parts])[:, None].astype(np.int32)
    return Mesh(**columns)


class Builder:
    """Collects solids into one mesh."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.parts: list[Mesh] = []

    def add(
        self,
        solid: Solid,
        material: str,
        color: ArrayLike = (1.0, 1.0, 1.0),
        *,
        slot: int = -1,
        label: str | None = None,
        texture: int = PLAIN,
        surface: int = -1,
    ) -> None:
        """Add a solid of one material; ``color`` (3,) or (F, 3) is its own, or multiplies palette colour ``slot``."""
        vertices, faces = solid
        n = len(faces)
        self.parts.append(
            Mesh(
                vertices=vertices.astype(np.float32),
                faces=faces.astype(np.int32),
                label=np.full(n, raw_id(label or self.label), np.uint8),
                material=np.full(n, MATERIAL[material], np.uint8),
                color=np.broadcast_to(np.asarray(color, np.float32), (n, 3)).copy(),
                texture=np.full(n, texture, np.uint8),
                surface=np.full(n, surface, np.int32),
                slot=np.full(n, slot, np.int8),
            )
        )

    def mesh(self) -> Mesh:
        """Everything added so far."""
        return join(self.parts)
