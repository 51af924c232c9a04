"""What a run asks of a GPU, by arithmetic: an order of magnitude to plan with, not a measurement.

Multiply-adds of a WaffleIron per point: ``2 C^2 + 20 C`` a layer (both mixes), ``(K + 3) C^2`` in the embedding of K
neighbours (``reference-facts`` 1.8: 1.36 T for 20 000 points at C = 768, K = 16; the formula gives 1.38 T). Training
costs three forward passes. A vision transformer: ``12 D^2`` a token and layer, ``2 T D`` for attention over T tokens.
Time = arithmetic at ``RATE`` + memory traffic of the student at ``BANDWIDTH`` (narrow students are bound by it).
Memory = what the backward pass keeps of every layer (counted, see ``PER_POINT``), weights with AdamW's state, the
teacher; for the whole batch, which several devices share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lidistill.apps.recipes import ADAPT, DISTIL, overrides
from lidistill.apps.reproduce.plan import Job
from lidistill.apps.segment import default_recipe
from lidistill.students.config import StudentConfig
from lidistill.students.registry import VOXEL_KINDS
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.recipe import AdaptRecipe, AnyRecipe, DistilRecipe, SegmentRecipe, load_recipe
from lidistill.training.run import Pretraining

RATE = 100e12
"""Sustained FLOP/s of a data-centre GPU in bf16, a third of its peak."""
BANDWIDTH = 1.5e12
"""Sustained bytes/s of its memory."""
PER_POINT, PER_CELL, PER_GELU = 6.0, 1.6, 1.0
"""Values of C channels (bf16) that training keeps in each layer, per point and per cell of the layer's plane; one more
of each for a GELU, which unlike a ReLU is not computed in place. Counted with ``saved_tensors_hooks`` under autocast: a
width of 96, 20 000 points, cells of 0.25, 0.5 and 2 m. Each is written and read about three times in training."""
EMBEDDED = 6
"""The same for the embedding, per point; the neighbours' values are made again when they are needed."""
VOXELS = {18: (1.0e6, 2300), 34: (1.2e6, 2500)}
"""Multiply-adds of a MinkUNet per voxel, and values that its convolutions read and write, for a width of 96; counted on
a scan of SemanticKITTI with cubes of 0.1 m (48 000 voxels, each meeting 7 others), alike on cylindrical ones."""
TRANSFORMERS = {"s": (12, 384), "b": (12, 768), "l": (24, 1024), "g": (40, 1536), "h": (32, 1280)}
"""Depth and width by size."""
CAMERAS = 6
"""Pictures that a teacher is shown for a scan when it is shown all."""
LARGEST_SCAN = 60_000
"""Voxels of 5 to 10 cm in a large scan: no more are seen, whatever the recipe allows."""
SCANS = {
    "nuscenes": 28_130,
    "nuscenes?split=slidr": 24_109,
    "semantic-kitti": 19_130,
    "pandaset-64": 3_920,
    "pandaset-gt": 3_920,
    "pandaset-64?split=temporal": 3_800,
    "semantic-poss": 2_488,
    "synlidar": 19_840,
    "waymo": 23_691,
}
"""Training scans of the data sets (ScaLR: 55 100 in all; SLidR: the 600 scenes of its mini-train; SynLiDAR: the whole
sub-set; Waymo: frames with labels)."""


@dataclass(frozen=True)
class Cost:
    """``hours`` on one GPU, ``memory`` in GB; ``scans`` one training pass reads."""

    hours: float
    memory: float
    scans: int


def cost(job: Job) -> Cost:
    """What a training job costs; evaluation is not counted."""
    recipe = recipe_of(job)
    assert not isinstance(recipe, ImageRecipe)  # no table has a step of it
    student = _student(job)
    if isinstance(recipe, SegmentRecipe) and recipe.fov is not None:
        student = student.model_copy(update={"fov": recipe.fov})
    # a pass of adaptation is over the target, whichever of the two a scan is drawn from
    scans = sum(_scans(source) for source in (job.sources[1:] if isinstance(recipe, AdaptRecipe) else job.sources))
    if isinstance(recipe, SegmentRecipe):
        scans = max(round(scans * float(dict(job.options).get("fraction", recipe.fraction))), 1)
    trained = 3 if isinstance(recipe, DistilRecipe) or not recipe.frozen else 1
    points = min(recipe.points, LARGEST_SCAN)
    load = (_minkunet if student.kind in VOXEL_KINDS else _waffleiron)(student, points, trained == 3)
    passes = trained + (trained == 3 and student.checkpointing)  # checkpointing computes every layer twice
    once = 2 * load.multiply_adds / RATE + load.traffic / BANDWIDTH
    seconds = passes * once
    memory = load.kept * recipe.batch_size + 16.0 * load.weights
    if isinstance(recipe, DistilRecipe):
        for teacher in recipe.teachers:
            arithmetic, weights = _transformer(teacher.name, teacher.image_size)
            seconds += arithmetic * (CAMERAS if recipe.cameras == "all" else 1) / RATE
            memory += weights
    seconds *= recipe.epochs
    if isinstance(recipe, AdaptRecipe):  # every round asks for pseudo-labels of the whole target first
        seconds = recipe.rounds * (seconds + once)
    return Cost(scans * seconds / 3600, memory / 1e9, scans)


def recipe_of(job: Job) -> AnyRecipe:
    """The recipe that a training job follows, its student included."""
    given = dict(job.options)
    # a student is named where its backbone was made; the recipes of adapt have none
    named = {"student": dict(job.chain()[0].options).get("student") if job.verb != "adapt" else None} | given
    said = {key: named.get(key) for key in ("teacher", "student", "epochs")}
    return load_recipe(_recipe_name(job, given), overrides(**said, seed=None, set=given.get("set", ())))


def _student(job: Job) -> StudentConfig:
    """Its network: that of the first run that led to it."""
    recipe = recipe_of(job.chain()[0])
    assert isinstance(recipe, DistilRecipe | SegmentRecipe)  # nothing adapts that was not trained
    return recipe.student


def _scans(source: str) -> int:
    name, _, place = source.partition(":")
    split = place.partition("?")[2]
    return SCANS[f"{name}?{split}" if f"{name}?{split}" in SCANS else name]


@dataclass(frozen=True)
class Load:
    """What a student asks for one cloud: ``multiply_adds`` and bytes of ``traffic`` of a forward pass, bytes that are
    ``kept`` of it, and its number of ``weights``.
    """

    multiply_adds: float
    traffic: float
    kept: float
    weights: float


def _waffleiron(student: StudentConfig, points: int, learning: bool) -> Load:
    width, depth, near = student.width, student.depth, student.neighbors
    value = width * 2  # bytes in bf16
    sizes = [(high - low) / student.cell for low, high in student.fov]
    cells = (sizes[0] * sizes[1] + sizes[0] * sizes[2] + sizes[1] * sizes[2]) / 3  # the mean of the three planes
    gelu = PER_GELU if student.activation == "gelu" else 0.0
    layer = value * ((PER_POINT + gelu) * points + (PER_CELL + gelu) * cells)
    entering = value * points * 2  # what goes into a layer, in full precision
    layers = layer if not learning else depth * entering + layer if student.checkpointing else depth * layer
    return Load(
        points * (depth * (2 * width**2 + 20 * width) + (near + 3) * width**2),
        depth * layer * 1.5 + value * points * 3 * near,
        layers + value * points * EMBEDDED,
        2 * depth * width**2,
    )


def _minkunet(student: StudentConfig, points: int, learning: bool) -> Load:
    multiply_adds, values = VOXELS[student.depth]
    size = student.width / 96
    # a convolution, a norm and an activation each read, write and keep them once, in bf16
    passed = 3 * 2 * values * size * points
    return Load(multiply_adds * size**2 * points, 2 * passed, passed if learning else passed / 10, 38e6 * size**2)


def _recipe_name(job: Job, given: Mapping[str, Any]) -> str:
    if "recipe" in given or job.verb in (defaults := {"pretrain": DISTIL, "adapt": ADAPT}):
        return str(given.get("recipe") or defaults[job.verb])
    origin = job.chain()[0]
    distilled = recipe_of(origin) if origin.verb == "pretrain" else None
    taught = Pretraining.by(distilled, origin.sources) if isinstance(distilled, DistilRecipe) else None
    return default_recipe(job.verb, taught, given.get("fraction"), few="labels" in given, first=job.parent is None)


def _transformer(name: str, size: tuple[int, int]) -> tuple[float, float]:
    """FLOPs of one picture and bytes of the weights (float32)."""
    found = re.search(r"-?vit([sblgh])\w*?(\d+)", name)
    if found is None:  # a ResNet-50 at stride 4
        return 2 * 4.1e9 * size[0] * size[1] / 224**2 * 4, 1e8
    depth, dim = TRANSFORMERS[found[1]]
    tokens = (size[0] // int(found[2])) * (size[1] // int(found[2]))
    return 2 * tokens * depth * (12 * dim**2 + 2 * tokens * dim), 4 * depth * 12 * dim**2
