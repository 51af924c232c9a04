"""The pictures of a run: what pairs with what, what the network finds alike, what it predicts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.datasets.concat import parts
from lidistill.datasets.source import Source
from lidistill.errors import InputError
from lidistill.evaluation.correlation import correlation, query_point
from lidistill.evaluation.inference import Scanned, look
from lidistill.evaluation.palette import class_colors, similarity_colors
from lidistill.evaluation.pca import fit_pca
from lidistill.evaluation.pictures import beside, heat, mark, mark_point, overlay, stack, write_picture
from lidistill.evaluation.render import Picture, from_behind, render_cloud
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.pairing import Pairs, pair
from lidistill.students.network import Network
from lidistill.teachers.colors import ColorMatch
from lidistill.teachers.images import prepare
from lidistill.teachers.joint import join
from lidistill.teachers.sampling import sample
from lidistill.teachers.teacher import Grid, Teacher
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run

log = logging.getLogger("lidistill")

QUERIES = 3
SIZE = (400, 720)


def draw_gallery(
    run: Run,
    network: Network,
    source: Source,
    teachers: Sequence[Teacher] = (),
    colors: Mapping[str, Sequence[ColorMatch | None]] | None = None,
) -> None:
    """Write ``pictures/`` and ``pictures/captions.json`` from the middle frame of ``source`` (a mixture's first part).

    With its ``teachers`` (and the ``colors`` of its training), a distilled network's pictures show both side by side.
    """
    part = parts(source)[0]
    found = _middle(part, network, run.config.model.voxel)
    if found is None:
        log.warning("no pictures: no frame of %s can be used", source.spec)
        return
    frame, seen = found
    view = frame.views[0] if frame.views else None
    pairs = pair(frame, view) if view is not None else None
    pictures: dict[str, tuple[Picture, str]] = {}
    if view is not None and pairs is not None:
        caption = f"{len(pairs.rows)} points that camera {view.name} sees, coloured by depth"
        pictures["overlay.jpg"] = overlay(view.image(), pairs), caption
    features = (seen.features if run.config.model.classes else seen.outputs).cpu().numpy()
    maps = None
    recipe = run.config.recipe
    # a space of its own, for points and pixels, is not the teacher's
    own_space = isinstance(recipe, DistilRecipe) and (recipe.image_head is not None or run.config.model.classes)
    if teachers and view is not None and isinstance(recipe, DistilRecipe) and not own_space:
        matches = (colors or {}).get(part.spec) or [None] * len(teachers)
        maps = _teacher_map(teachers, view, recipe, matches)
    pictures["pca.jpg"] = _pca(frame, view, features, seen, maps)
    alike = _correlations(frame, view, pairs, features, seen, maps)
    if alike is not None:
        pictures["correlation.jpg"] = alike
    known = run.config.model.class_list()
    if known is not None:
        camera = from_behind(frame.sensor.forward, size=SIZE)
        shown = [render_cloud(frame.points, class_colors(seen.prediction(), known), camera)]
        captions = ["prediction"]
        if frame.labels is not None and source.taxonomy is not None:
            shown.append(render_cloud(frame.points, class_colors(frame.labels, source.taxonomy), camera))
            captions.append("truth")
        pictures["prediction.jpg"] = beside(shown, captions), f"classes of {frame.token}"
    for name, (picture, _) in pictures.items():
        write_picture(picture, run.path / "pictures" / name)
    run.write_json("pictures/captions.json", {name: caption for name, (_, caption) in pictures.items()})


def _middle(source: Source, network: Network, voxel: float) -> tuple[Frame, Scanned] | None:
    """The frame in the middle of the source, or the next one that can be used, and what the network says of it."""
    middle = len(source) // 2
    for index in (*range(middle, len(source)), *range(middle)):
        try:
            frame = source[index]
            for view in frame.views[:1]:
                view.image()
            return frame, look(network, frame, voxel)
        except InputError:
            continue
    return None


def _teacher_map(
    teachers: Sequence[Teacher], view: CameraView, recipe: DistilRecipe, colors: Sequence[ColorMatch | None]
) -> NDArray[np.float32]:
    """(h, w, D): what the teachers say of the picture, asked as in training; several on the cells of the finest."""
    maps = []
    for teacher, said, color in zip(teachers, recipe.teachers, colors, strict=True):
        image = prepare(view.image(), said.image_size, antialias=said.antialias)
        image = image if color is None else color(image)
        with torch.inference_mode():
            maps.append(teacher.cpu()(image[None]).float())
    rows, columns = max((one.shape[-2:] for one in maps), key=math.prod)
    cells = [
        _at_cells(one, teacher.grid, said.image_size, rows, columns)
        for one, teacher, said in zip(maps, teachers, recipe.teachers, strict=True)
    ]
    joined: NDArray[np.float32] = join(cells, [said.weight for said in recipe.teachers]).numpy()
    return joined.reshape(rows, columns, -1)


def _at_cells(features: Tensor, grid: Grid, size: tuple[int, int], rows: int, columns: int) -> Tensor:
    """(rows * columns, D): the map (1, D, h, w) in the middle of ``rows`` x ``columns`` equal pieces of the picture."""
    if features.shape[-2:] == (rows, columns):
        return features[0].flatten(1).T
    v, u = torch.meshgrid(
        (torch.arange(rows) + 0.5) * size[0] / rows - 0.5,
        (torch.arange(columns) + 0.5) * size[1] / columns - 0.5,
        indexing="ij",
    )
    pixels = torch.stack([u.flatten(), v.flatten()], 1)
    return sample(features, torch.zeros(len(pixels), dtype=torch.long), pixels, size, grid)


def _pca(
    frame: Frame,
    view: CameraView | None,
    features: NDArray[np.float32],
    seen: Scanned,
    maps: NDArray[np.float32] | None,
) -> tuple[Picture, str]:
    """The cloud in the first three principal components of its features; beside it the teacher's, in the same axes."""
    axes = fit_pca(features if maps is None else maps.reshape(-1, maps.shape[-1]))
    colors = axes(features)[seen.rows.numpy()]
    cloud = render_cloud(frame.points, colors, from_behind(frame.sensor.forward, size=SIZE))
    if maps is None or view is None:
        return cloud, "student features in false colours: what has one colour is alike to the network"
    height, width = SIZE[0], round(SIZE[0] * view.width / view.height)
    grown = np.kron(axes(maps), np.ones((-(-height // maps.shape[0]), 1, 1), np.uint8))
    stretched = grown[np.arange(height) * len(grown) // height][:, np.arange(width) * maps.shape[1] // width]
    shown = beside([cloud, stretched, view.image()], ["student, lidar only", f"teacher, camera {view.name}", "image"])
    return shown, "features of student and teacher in the same false colours"


def _correlations(
    frame: Frame,
    view: CameraView | None,
    pairs: Pairs | None,
    features: NDArray[np.float32],
    seen: Scanned,
    maps: NDArray[np.float32] | None,
) -> tuple[Picture, str] | None:
    """Similarity of some query points with the whole cloud and, through the teacher, with the picture (figure 1)."""
    camera = from_behind(frame.sensor.forward, size=SIZE)
    rows = []
    for query in _queries(frame, pairs):
        wanted = features[int(seen.rows[query])]
        similar = similarity_colors(correlation(features, wanted)[seen.rows.numpy()])
        parts = [mark_point(render_cloud(frame.points, similar, camera), frame.points[query], camera)]
        if view is not None and pairs is not None and maps is not None:
            shown = heat(view.image(), correlation(maps, wanted))
            place = np.flatnonzero(pairs.rows == query)
            parts.append(mark(shown, pairs.pixels[place[0]]) if len(place) else shown)
        rows.append(beside(parts) if len(parts) > 1 else parts[0])
    if not rows:
        return None
    caption = "cosine similarity with the marked point: dark = unlike, bright = alike"
    return stack(rows), caption + ("; right: with the teacher's features of the picture" if maps is not None else "")


def _queries(frame: Frame, pairs: Pairs | None) -> list[int]:
    """Rows of a few points worth asking about, among those the camera sees if there is one.

    With labels: one of each of the three commonest classes but the ground's; without: one of each of three heights.
    """
    chosen = np.ones(len(frame), bool)
    if pairs is not None and len(pairs.rows):
        chosen = np.zeros(len(frame), bool)
        chosen[pairs.rows] = True
    if frame.labels is not None:
        present, counts = np.unique(frame.labels[chosen & (frame.labels != 255)], return_counts=True)
        masks = [chosen & (frame.labels == label) for label in present[np.argsort(-counts)][: QUERIES + 1]]
    else:
        height = frame.points[:, 2]
        edges = np.quantile(height[chosen], np.linspace(0, 1, QUERIES + 1))
        masks = [chosen & (height >= low) & (height <= high) for low, high in pairwise(edges)]
    found = [query_point(frame.points, mask) for mask in masks]
    return [row for row in found if row is not None][:QUERIES]
