"""Where the loader's time goes: processor milliseconds per stage of our samples."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lidistill.sensing.pairing import pair
from lidistill.sensing.visibility import visible
from lidistill.students.tokenizer import PlaneTokenizer, nearest_neighbors
from lidistill.teachers.images import prepare
from lidistill.training.recipe import DistilRecipe
from lidistill.transforms.augment import SegmentAugmentation, flip_xy, limit_points, rotate_z, scale
from lidistill.transforms.features import point_features
from lidistill.transforms.nearest import nearest_kept
from lidistill.transforms.voxels import voxel_sample
from loader_inputs import Input


class Stages:
    """Processor seconds of every run of the named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Note the time spent inside under ``name``."""
        start = time.process_time()
        yield
        self.seconds[name].append(time.process_time() - start)

    def milliseconds(self) -> dict[str, float]:
        """Median of every stage."""
        return {name: round(1000 * float(np.median(runs)), 2) for name, runs in self.seconds.items()}


def stages(data: Input, recipe: DistilRecipe, tokenizer: PlaneTokenizer, samples: int) -> dict[str, float]:
    """Milliseconds per stage; ``distil``, ``segment`` and ``whole`` name the kind of sample."""
    spent = Stages()
    for number in range(samples):
        rng = np.random.default_rng(number)
        index = number % len(data.source)
        with spent("read scan and labels"):
            frame = data.source[index]
        view = frame.views[rng.integers(len(frame.views))]
        with spent("distil: project"):
            pairs = pair(frame, view, occlusion=False)
        with spent("distil: visibility"):
            visible(frame.points, view.from_lidar, pairs.rows)
        seen = frame.points[pairs.rows]
        with spent("distil: voxels"):
            kept = voxel_sample(seen, recipe.voxel, rng.permutation(len(seen)))
        with spent("distil: augment, crop, features"):
            coords = scale(flip_xy(rotate_z(seen[kept], rng), rng), rng)
            inside = np.flatnonzero(tokenizer.inside(coords))
            inside = inside[limit_points(coords[inside], recipe.points, rng)]
            point_features(coords[inside], frame.intensity[pairs.rows[kept[inside]]], frame.sensor)
        with spent("distil: neighbours"):
            nearest_neighbors(coords[inside], tokenizer.neighbors)
        with spent("distil: decode picture"):
            image = view.image()
        with spent("distil: resize picture"):
            prepare(image, recipe.teacher.image_size, antialias=recipe.teacher.antialias)
        with spent("segment: voxels"):
            kept = voxel_sample(frame.points, recipe.voxel, rng.permutation(len(frame)))
        with spent("segment: augment, crop, limit"):
            coords = SegmentAugmentation.draw(rng).coords(frame.points.take(kept, axis=0))
            inside = np.flatnonzero(tokenizer.inside(coords))
            coords = coords.take(inside[limit_points(coords.take(inside, axis=0), recipe.points, rng)], axis=0)
        with spent("segment: neighbours"):
            neighbors = nearest_neighbors(coords, tokenizer.neighbors)
        cloud = {"coords": coords, "features": coords, "cells": tokenizer._cells(coords), "neighbors": neighbors}
        with spent("segment: collate"):
            tokenizer.collate([cloud])
        kept = voxel_sample(frame.points, recipe.voxel)
        kept = kept[tokenizer.inside(frame.points[kept])]
        with spent("whole: neighbours"):
            nearest_neighbors(frame.points[kept], tokenizer.neighbors)
        with spent("whole: nearest kept point"):
            nearest_kept(frame.points, kept)
    return spent.milliseconds()
