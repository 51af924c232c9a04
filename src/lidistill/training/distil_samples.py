"""Samples of distillation: points of a scan, pictures, and which point is paired with which pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.errors import InputError
from lidistill.segmenters.store import Superpixels
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.pairing import Pairs, pair
from lidistill.students.batch import Cloud, PointBatch, Tokenizer
from lidistill.teachers.colors import ColorMatch
from lidistill.teachers.images import prepare
from lidistill.training.crops import Crop, cut_cuboid, draw_crop
from lidistill.training.recipe import DistilRecipe
from lidistill.training.sweeps import Sweep, second_sweep
from lidistill.transforms.augment import flip_xy, limit_points, rotate_z, scale
from lidistill.transforms.features import point_features
from lidistill.transforms.voxels import voxel_sample


@dataclass(frozen=True)
class DistilSample:
    """One scan and V of its pictures: pair p says that point ``rows[p]`` is seen in picture ``views[p]``.

    There is a stack of ``images`` (V, 3, h, w) float32 in [0, 1] for every different size or colouring that the
    teachers want, with ``pixels`` (P, 2) = (u, v) in each; teacher t is shown ``images[shown[t]]``. ``pictures`` names
    what is on the V: scan and camera. ``superpixels`` (V, h, w) int64 divide the first stack, -1 where there is none.
    """

    cloud: Cloud
    rows: Tensor
    views: Tensor
    images: tuple[Tensor, ...]
    pixels: tuple[Tensor, ...]
    shown: tuple[int, ...]
    pictures: tuple[str, ...]
    source: str = ""
    """Name of the data set, in a mixture of several."""
    superpixels: Tensor | None = None
    sweep: Sweep | None = None
    """A second sweep, for consistency in time."""


@dataclass(frozen=True)
class DistilBatch:
    """Pair p: packed point ``rows[p]``, picture ``image_index[p]``, ``pixels[k][p]`` of ``images[k]`` (B, 3, h, w).

    Teacher t is shown ``images[shown[t]]``. ``pictures`` names what the B are of, ``sources`` the data set of each;
    ``scans`` (B,) int64 is the cloud that each belongs to, ``superpixels`` (B, h, w) int64 those of ``images[0]``.
    ``segments`` (M,) int64 are those of all packed points, -1 = none, numbered below ``segment_count`` over the batch:
    the first ``own`` points are those of the scans, the rest, in the same order, of second sweeps.
    """

    points: PointBatch
    rows: Tensor
    images: tuple[Tensor, ...]
    image_index: Tensor
    pixels: tuple[Tensor, ...]
    shown: tuple[int, ...]
    pictures: tuple[str, ...]
    sources: tuple[str, ...]
    scans: tuple[int, ...]
    superpixels: Tensor | None = None
    segments: Tensor | None = None
    segment_count: int = 0
    own: int = 0

    def to(self, device: torch.device) -> DistilBatch:
        """Copy to ``device``."""
        return self._each(lambda t: t.to(device, non_blocking=True), self.points.to(device, non_blocking=True))

    def pin_memory(self) -> DistilBatch:
        """Copy to page-locked memory (called by torch's loader)."""
        return self._each(lambda t: t.pin_memory(), self.points.pin_memory())

    def _each(self, act: Callable[[Tensor], Tensor], points: PointBatch) -> DistilBatch:
        return replace(
            self,
            points=points,
            rows=act(self.rows),
            images=tuple(act(t) for t in self.images),
            image_index=act(self.image_index),
            pixels=tuple(act(t) for t in self.pixels),
            superpixels=None if self.superpixels is None else act(self.superpixels),
            segments=None if self.segments is None else act(self.segments),
        )


class PairMemory:
    """``pair`` that remembers, up to ``gigabytes``: which pixel a point has changes as little as the picture itself."""

    def __init__(self, occlusion: bool, gigabytes: float) -> None:
        self.occlusion, self.room = occlusion, gigabytes * 2**30
        self.known: dict[tuple[str, str], Pairs] = {}

    def __call__(self, frame: Frame, view: CameraView) -> Pairs:
        """See ``pair``."""
        key = frame.token, view.name
        if key in self.known:
            return self.known[key]
        found = pair(frame, view, occlusion=self.occlusion)
        size = found.rows.nbytes + found.pixels.nbytes + found.depth.nbytes
        if size <= self.room:
            self.room -= size
            self.known[key] = found
        return found


def distil_sample(
    frame: Frame,
    recipe: DistilRecipe,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    colors: Sequence[ColorMatch | None] | None = None,
    superpixels: Superpixels | None = None,
    second: Frame | None = None,
    pairs: PairMemory | None = None,
) -> DistilSample:
    """Pair pixels with the points that their cameras see, then augment the points.

    ``cameras: one`` (ScaLR, section 3.1): one random camera, and of the scan only what it sees. ``all`` (SLidR): every
    camera, and the whole scan. Voxels are sampled among the paired points first, so that none is lost to a
    representative that no camera sees; the coordinates are augmented after pairing and the features computed from them.
    ``colors``: how each teacher wants the pictures'; None = as they are. ``second``: another sweep of the drive.
    ``pairs`` remembers those of other passes over the data; None = nothing is remembered.

    Raises ``InputError`` when fewer than ``recipe.min_pairs`` pairs remain.
    """
    if not frame.views:
        raise InputError(f"{frame.token}: no camera image; distillation needs one for every scan")
    whole = recipe.cameras == "all"
    remembered = pairs or PairMemory(recipe.occlusion, 0)
    views = frame.views if whole else (_one_that_sees(frame, recipe.min_pairs, remembered, rng),)
    seen = [remembered(frame, view) for view in views]
    rows = np.arange(len(frame)) if whole else seen[0].rows
    points = frame.points[rows]
    order = rng.permutation(len(points))
    if whole:
        paired = np.zeros(len(frame), np.bool_)
        for found in seen:
            paired[found.rows] = True
        order = order[np.argsort(~paired[order], kind="stable")]
    kept = voxel_sample(points, recipe.voxel, order) if len(points) else np.zeros(0, np.int64)
    coords = scale(flip_xy(rotate_z(points[kept], rng), rng), rng)
    if recipe.drop_cuboid:
        left = cut_cuboid(coords, rng)
        kept, coords = kept[left], coords[left]
    chosen = visible_to_student(coords, recipe.points, tokenizer, rng)
    kept, coords = rows[kept[chosen]], coords[chosen]
    crops: list[Crop | None] = [None] * len(views)
    if recipe.crop:
        seen = [found.among(kept) for found in seen]
        crops = [draw_crop(found.pixels, view, rng) for found, view in zip(seen, views, strict=True)]
    place, view_of, pixels = _pairs(seen, kept, crops)
    if len(place) < recipe.min_pairs:
        raise InputError(
            f"{frame.token}: {_who(views)} {len(place)} points, fewer than min_pairs = {recipe.min_pairs}; "
            f"check the calibration with a projected overlay"
        )
    features = point_features(coords, frame.intensity[kept], frame.sensor)
    shown, images, at = _shown(views, crops, recipe, colors, view_of, pixels)
    sample = DistilSample(
        tokenizer(coords, features),
        torch.from_numpy(place),
        torch.from_numpy(view_of),
        images,
        at,
        shown,
        tuple(f"{frame.token}/{view.name}" for view in views),
        sweep=None if second is None else second_sweep(frame, kept, second, recipe, tokenizer, rng),
    )
    if superpixels is None:
        return sample
    ids = [_ids(superpixels, frame.token, view) for view in views]
    small = [_divided(one, recipe.teachers[0].image_size, crop) for one, crop in zip(ids, crops, strict=True)]
    stack = torch.from_numpy(np.stack(small))
    if superpixels.unassigned is not None:
        stack[stack == superpixels.unassigned] = -1
    return replace(sample, superpixels=stack)


def _one_that_sees(frame: Frame, least: int, pairs: PairMemory, rng: np.random.Generator) -> CameraView:
    """A random camera, or the next one where that sees fewer than ``least`` points: it may look at a wall."""
    first = rng.integers(len(frame.views))
    in_turn = (*frame.views[first:], *frame.views[:first])
    return next((view for view in in_turn if len(pairs(frame, view)) >= least), in_turn[0])


def visible_to_student(
    coords: NDArray[np.float32], limit: int, tokenizer: Tokenizer, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of at most ``limit`` points in the student's field of view, nearest to a random one of them.

    The field of view comes first: the published order would choose the points around a far one and then drop them all.
    """
    inside = np.flatnonzero(tokenizer.inside(coords))
    return inside[limit_points(coords.take(inside, axis=0), limit, rng)]


def collate_distil(samples: Sequence[DistilSample], tokenizer: Tokenizer) -> DistilBatch:
    """Pack samples."""
    sweeps = [s.sweep for s in samples if s.sweep is not None]
    points = tokenizer.collate([*(s.cloud for s in samples), *(sweep.cloud for sweep in sweeps)])
    counts = [len(s.pictures) for s in samples]
    first = np.concatenate([[0], np.cumsum(counts)]).tolist()
    starts = points.offsets.tolist()
    own = starts[len(samples)]
    segments, segment_count = _segments(samples, starts) if sweeps else (None, 0)
    ids = [s.superpixels for s in samples if s.superpixels is not None]
    return DistilBatch(
        points,
        torch.cat([s.rows + start for s, start in zip(samples, starts, strict=False)]),
        tuple(torch.cat(same) for same in zip(*(s.images for s in samples), strict=True)),
        torch.cat([s.views + start for s, start in zip(samples, first, strict=False)]),
        tuple(torch.cat(same) for same in zip(*(s.pixels for s in samples), strict=True)),
        samples[0].shown,
        tuple(name for s in samples for name in s.pictures),
        tuple(s.source for s in samples for _ in s.pictures),
        tuple(number for number, count in enumerate(counts) for _ in range(count)),
        torch.cat(ids) if ids else None,
        segments,
        segment_count,
        own,
    )


def _segments(samples: Sequence[DistilSample], starts: Sequence[int]) -> tuple[Tensor, int]:
    """Segments (M,) of all packed points, told apart between samples, and how many there are; ``starts`` of clouds."""
    here, there, count = [], [], 0
    for number, sample in enumerate(samples):
        sweep = sample.sweep
        if sweep is None:
            here.append(torch.full((starts[number + 1] - starts[number],), -1))
            continue
        here.append(torch.where(sweep.here < 0, -1, sweep.here + count))
        there.append(torch.where(sweep.there < 0, -1, sweep.there + count))
        count += sweep.count
    return torch.cat([*here, *there]), count


def _pairs(
    seen: Sequence[Pairs], kept: NDArray[np.int64], crops: Sequence[Crop | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Place in ``kept``, number of the picture and recorded pixel (P, 2) of every pair, in the order of the points."""
    place = np.full(max(rows.max(initial=-1) for rows in (kept, *(p.rows for p in seen))) + 1, -1)
    place[kept] = np.arange(len(kept))
    found = []
    for number, (pairs, crop) in enumerate(zip(seen, crops, strict=True)):
        there = place[pairs.rows] >= 0
        if crop is not None:
            there &= crop.holds(pairs.pixels)
        mine = pairs.select(there)
        found.append((place[mine.rows], np.full(len(mine), number), mine.pixels))
    rows, numbers, pixels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(rows, kind="stable")
    return rows[order], numbers[order], pixels[order]


def _shown(
    views: Sequence[CameraView],
    crops: Sequence[Crop | None],
    recipe: DistilRecipe,
    colors: Sequence[ColorMatch | None] | None,
    view_of: NDArray[np.int64],
    pixels: NDArray[np.float64],
) -> tuple[tuple[int, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Which stack every teacher is shown, the stacks (V, 3, h, w), and the pixel (P, 2) of every pair in each."""
    matches = [None] * len(recipe.teachers) if colors is None else colors
    wanted = [(t.image_size, t.antialias, color) for t, color in zip(recipe.teachers, matches, strict=True)]
    different = list(dict.fromkeys(wanted))
    boxes = [crop or Crop(0, 0, view.width, view.height) for view, crop in zip(views, crops, strict=True)]
    recorded = [box.cut(view.image()) for box, view in zip(boxes, views, strict=True)]
    stacks, places = [], []
    for (height, width), antialias, color in different:
        images = [prepare(image, (height, width), antialias=antialias) for image in recorded]
        stacks.append(torch.stack([image if color is None else color(image) for image in images]))
        at = np.empty((len(pixels), 2), np.float32)
        for number, box in enumerate(boxes):
            mine = view_of == number
            at[mine] = box.pixels(pixels[mine], (height, width))
        places.append(torch.from_numpy(at))
    return tuple(different.index(one) for one in wanted), tuple(stacks), tuple(places)


def _ids(superpixels: Superpixels, token: str, view: CameraView) -> NDArray[np.int64]:
    """(H, W): the superpixels of a picture. Raises ``InputError`` when they were made of another size."""
    ids = superpixels.load(token, view.name).astype(np.int64)
    if ids.shape != (view.height, view.width):
        raise InputError(
            f"{token}, camera {view.name!r}: its superpixels were made of a picture of {ids.shape}, it has "
            f"{(view.height, view.width)}; delete their folder {superpixels.folders[0]} and make them again"
        )
    return ids


def _divided(ids: NDArray[np.int64], size: tuple[int, int], crop: Crop | None) -> NDArray[np.int64]:
    """The superpixels of what the teacher is shown: those at the middle of its pixels."""
    if crop is not None:
        ids = crop.cut(ids)
    rows, columns = (((np.arange(n) + 0.5) * have / n).astype(int) for n, have in zip(size, ids.shape, strict=True))
    small: NDArray[np.int64] = ids[rows[:, None], columns]
    return small


def _who(views: Sequence[CameraView]) -> str:
    return f"camera {views[0].name!r} sees" if len(views) == 1 else f"{len(views)} cameras see"
