"""Triangles with everything the sensors ask of them, and templates that are placed many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        turn *= scale if isinstance(scale, float) else np.broadcast_to(scale, (3,))[:, None]
        vertices = self.vertices @ turn.astype(np.float32)
        vertices += np.asarray(position, np.float32)
        color = self.color
        if palette is not None:
            paint = np.concatenate([np.asarray(palette, np.float32).reshape(-1, 3), np.ones((1, 3), np.float32)])
            color = color * paint[self.slot]
        return Mesh(vertices, self.faces, self.label, self.material, color, self.texture, self.surface, self.slot)

    def repeated(self, positions: ArrayLike) -> Mesh:
        """As often as there are ``positions`` (K, 3), moved to each of them."""
        moves = np.asarray(positions, np.float32)
        shift = np.arange(len(moves), dtype=np.int32) * len(self.vertices)
        columns = {field.name: getattr(self, field.name) for field in fields(Mesh)}
        columns = {name: np.tile(rows, (len(moves), *[1] * (rows.ndim - 1))) for name, rows in columns.items()}
        columns["vertices"] = (self.vertices + moves[:, None]).reshape(-1, 3)
        columns["faces"] = (self.faces + shift[:, None, None]).reshape(-1, 3)
        return Mesh(**columns)


def join(parts: Sequence[Mesh]) -> Mesh:
    """All triangles of ``parts``, in their order."""
    shift = np.cumsum([0] + [len(part.vertices) for part in parts])
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Mesh)}
    columns["faces"] = columns["faces"] + np.repeat(shift[:-1], [len(part) for part in parts])[:, None].astype(np.int32)
    return Mesh(**columns)


@dataclass(frozen=True, eq=False)
class _Part:
    """A solid that is of one material all over."""

    solid: Solid
    color: ArrayLike
    label: int
    material: int
    texture: int
    surface: int
    slot: int


class Builder:
    """Collects solids into one mesh."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.meshes: list[Mesh] = []
        self.parts: list[_Part] = []

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
        self.parts.append(_Part(solid, color, raw_id(label or self.label), MATERIAL[material], texture, surface, slot))

    def include(self, mesh: Mesh) -> None:
        """Add a mesh that is finished."""
        self._finish()
        self.meshes.append(mesh)

    def mesh(self) -> Mesh:
        """Everything added so far."""
        self._finish()
        return join(self.meshes) if len(self.meshes) > 1 else self.meshes[0]

    def _finish(self) -> None:
        """Make one mesh of the solids at once: cities have thousands of small ones."""
        parts, self.parts = self.parts, []
        if not parts:
            return
        counts = [len(part.solid[1]) for part in parts]
        ends = np.cumsum(counts)
        color = np.empty((ends[-1], 3), np.float32)
        for part, end, count in zip(parts, ends.tolist(), counts, strict=True):
            color[end - count : end] = part.color
        shift = np.cumsum([0] + [len(part.solid[0]) for part in parts[:-1]])
        faces = np.concatenate([part.solid[1] for part in parts]) + np.repeat(shift, counts)[:, None]
        self.meshes.append(
            Mesh(
                vertices=np.concatenate([part.solid[0] for part in parts]).astype(np.float32),
                faces=faces.astype(np.int32),
                label=np.repeat(np.array([part.label for part in parts], np.uint8), counts),
                material=np.repeat(np.array([part.material for part in parts], np.uint8), counts),
                color=color,
                texture=np.repeat(np.array([part.texture for part in parts], np.uint8), counts),
                surface=np.repeat(np.array([part.surface for part in parts], np.int32), counts),
                slot=np.repeat(np.array([part.slot for part in parts], np.int8), counts),
            )
        )
