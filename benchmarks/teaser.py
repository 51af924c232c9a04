"""The picture of the front page, from a distilled run and its linear probe.

    lidistill demo demo/
    python benchmarks/teaser.py demo/city demo/distilled demo/probe

Shows a frame of the split val, which neither network has learnt from: features in false colours, what the network
finds similar to a point on a car, the same through the teacher's eyes in the image, and the probe's classes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lidistill.errors import InputError
from lidistill.evaluation.correlation import correlation, query_point
from lidistill.evaluation.inference import look
from lidistill.evaluation.palette import class_colors, similarity_colors
from lidistill.evaluation.pca import pca_colors
from lidistill.evaluation.pictures import beside, heat, mark, mark_point, stack, write_picture
from lidistill.evaluation.render import Picture, from_behind, render_cloud
from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView, Frame
from lidistill.sensing.pairing import Pairs, pair
from lidistill.taxonomy import Taxonomy
from lidistill.teachers.images import prepare
from lidistill.teachers.registry import load_teacher
from lidistill.training.data import open_split
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import Run

OUT = Path(__file__).resolve().parent.parent / "docs" / "images" / "teaser.png"
HEIGHT, WIDTH = 360, 720


@dataclass(frozen=True)
class Scene:
    """A frame, the camera that sees the query best, the pairs of both and the row of the query."""

    frame: Frame
    view: CameraView
    pairs: Pairs
    query: int


def virtual(frame: Frame) -> CameraView:
    """From where clouds are drawn."""
    return from_behind(frame.sensor.forward, back=10, above=7, size=(HEIGHT, WIDTH))


def choose(frame: Frame, wanted: int) -> Scene | None:
    """The query in the middle of the largest heap of points of class ``wanted`` that some camera sees."""
    if frame.labels is None:
        return None
    best: tuple[int, Scene] | None = None
    shown = in_image(*project(frame.points, virtual(frame)), HEIGHT, WIDTH)
    for view in frame.views:
        pairs = pair(frame, view)
        seen = np.zeros(len(frame), bool)
        seen[pairs.rows] = shown[pairs.rows] & (frame.labels[pairs.rows] == wanted)
        row = query_point(frame.points, seen)
        if row is not None and (best is None or seen.sum() > best[0]):
            best = int(seen.sum()), Scene(frame, view, pairs, row)
    return best[1] if best else None


def teacher_map(run: Run, view: CameraView) -> NDArray[np.float32]:
    """(h, w, D): what the run's teacher says of the picture."""
    recipe = run.config.recipe
    if not isinstance(recipe, DistilRecipe):
        raise InputError(f"run {run.path}: is no distillation; give the folder of lidistill pretrain first")
    teacher = load_teacher(recipe.teacher)
    image = prepare(view.image(), recipe.teacher.image_size, antialias=recipe.teacher.antialias)
    with torch.inference_mode():
        features: NDArray[np.float32] = teacher(image[None])[0].permute(1, 2, 0).numpy()
    return features


def draw(scene: Scene, taxonomy: Taxonomy, distilled: Run, probe: Run) -> Picture:
    """Four pictures in two rows."""
    frame, view = scene.frame, scene.view
    network, model = distilled.load_network()
    seen = look(network, frame, model.voxel)
    # the head speaks the teacher's language: one query for points and pixels
    outputs, rows = seen.outputs.numpy(), seen.rows.numpy()
    query = outputs[rows[scene.query]]
    camera = virtual(frame)
    similar = render_cloud(frame.points, similarity_colors(correlation(outputs, query))[rows], camera)
    place = scene.pairs.pixels[np.flatnonzero(scene.pairs.rows == scene.query)[0]]
    wide = np.array(Image.fromarray(view.image()).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    place = place * (WIDTH / view.width, HEIGHT / view.height)
    image = mark(heat(wide, correlation(teacher_map(distilled, view), query)), place)
    features = render_cloud(frame.points, pca_colors(seen.features.cpu().numpy())[rows], camera)
    classifier, probed = probe.load_network()
    predicted = look(classifier, frame, probed.voxel).prediction()
    classes = render_cloud(frame.points, class_colors(predicted, taxonomy), camera)
    top = beside(
        [mark_point(similar, frame.points[scene.query], camera), image],
        [
            "What is like the ringed point? Lidar, no label seen",
            "The same question, answered by the image teacher",
        ],
    )
    bottom = beside([features, classes], ["The network's features in false colours", "Classes, after one linear layer"])
    return stack([top, bottom])


def main() -> None:
    """Draw the picture and write it."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("data", help="source with labels and images")
    parser.add_argument("distilled", help="run folder of lidistill pretrain")
    parser.add_argument("probe", help="run folder of lidistill probe")
    parser.add_argument("--frame", type=int, help="number within the split val; default: the one that shows most")
    parser.add_argument("--query", default="car", help="class of the point that is asked about")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    distilled, probe = Run.open(args.distilled), Run.open(args.probe)
    source = open_split(args.data, "val", distilled.config.model.sensors)
    assert source.taxonomy is not None
    wanted = source.taxonomy.classes.index(args.query)
    frames = range(len(source)) if args.frame is None else [args.frame]
    scenes = [scene for index in frames if (scene := choose(source[index], wanted)) is not None]
    if not scenes:
        raise InputError(f"{args.data}: no camera sees a point of class {args.query} in the split val")
    scene = max(scenes, key=lambda s: len(np.unique(s.frame.labels[s.pairs.rows])) if s.frame.labels is not None else 0)
    write_picture(draw(scene, source.taxonomy, distilled, probe), args.out)
    print(f"{args.out}: frame {scene.frame.token}, camera {scene.view.name}")


if __name__ == "__main__":
    main()
