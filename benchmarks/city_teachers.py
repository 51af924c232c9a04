"""Train small teachers of the synthetic city that differ from the shipped one, and measure what their features hold.

    python benchmarks/city_teachers.py                          # all kinds, into runs/teachers/city-KIND.pt2; measure
    python benchmarks/city_teachers.py tiny things stuff
    lidistill pretrain city/ --recipe city --teacher runs/teachers/city-things.pt2,runs/teachers/city-stuff.pt2 ...

``tiny`` and ``small`` learn the raw classes as ``city`` does, with fewer channels, steps and pictures: worse teachers.
``shape`` is never told a class: it learns how high above the road a surface lies and how it is tilted. ``things``
and ``stuff`` are specialists: each knows the classes of one half and sees the other half as one class.
Each has 64 features, so that only what they know differs. What they know is measured on held-out streets: a linear
layer reads the 16 classes of ``city-16`` from the features of pixels, of every teacher and of every pair (``join``).
Programs that are there are kept; pictures are those of ``train_city_teacher.py``, which has the same ``--work``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lidistill import taxonomy
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.joint import join
from lidistill.teachers.registry import load_teacher
from lidistill.teachers.sampling import sample
from train_city_teacher import (
    CLASSES,
    HELD_OUT_SEED,
    MEAN,
    SIZE,
    STD,
    STRIDE,
    TRAIN_SEED,
    CityNetwork,
    Pictures,
    _commit,
    _iou,
    pictures,
    train,
)

ROOT = Path(__file__).resolve().parent.parent
RAW = np.arange(CLASSES, dtype=np.uint8)
THING = (RAW >= 21) & (RAW <= 35)
"""Raw classes from car to traffic cone."""


@dataclass(frozen=True)
class Kind:
    """``width``: share of the channels of ``city``; ``labels`` of the pictures' pixels are what it learns."""

    width: float
    steps: int
    labels: Callable[[Pictures], NDArray[np.uint8]]


KINDS = {
    "tiny": Kind(0.25, 250, lambda seen: seen.labels),
    "small": Kind(0.5, 1000, lambda seen: seen.labels),
    "shape": Kind(0.5, 1000, lambda seen: seen.shapes),
    "things": Kind(0.5, 1000, lambda seen: np.where(THING, RAW, RAW.clip(max=1))[seen.labels]),
    "stuff": Kind(0.5, 1000, lambda seen: np.where(THING, np.uint8(21), RAW)[seen.labels]),
}


def export(network: CityNetwork, path: Path) -> None:
    """Write the network as a program for pictures whose sides 16 divides, and what it must be told beside it."""
    dim = torch.export.Dim
    rows, columns = (dim(name, min=2, max=256) for name in ("rows", "columns"))
    shapes = ({0: dim("batch", min=1, max=64), 2: 16 * rows, 3: 16 * columns},)
    plain = network.to(memory_format=torch.contiguous_format).eval()
    program = torch.export.export(plain, (torch.rand(2, 3, 64, 96),), dynamic_shapes=shapes)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"stride": STRIDE, "grid": "origin", "mean": list(MEAN), "std": list(STD)}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(said))
    torch.export.save(program, path)


# ---- what features hold


@torch.no_grad()
def read(name: str, seen: Pictures, per_picture: int) -> Tensor:
    """(N * per_picture, D): the teacher's features at random pixels, the same ones for every teacher."""
    teacher = load_teacher(TeacherConfig(name=name, image_size=SIZE))
    found = []
    for image, pixels in zip(seen.images, draw(len(seen.images), per_picture), strict=True):
        features = teacher(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        found.append(sample(features, torch.zeros(len(pixels), dtype=torch.long), pixels.float(), SIZE, teacher.grid))
    return torch.cat(found)


def draw(count: int, per_picture: int) -> Tensor:
    """(count, per_picture, 2) pixels (u, v)."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, SIZE[::-1], (count, per_picture, 2)))


def classes(seen: Pictures, per_picture: int) -> Tensor:
    """(N * per_picture,) classes of ``city-16`` at the same pixels, 255 = ignore."""
    u, v = draw(len(seen.images), per_picture).numpy().transpose(2, 0, 1)
    raw = seen.labels[np.arange(len(u))[:, None], v, u]
    return torch.from_numpy(taxonomy.load("city-16").apply(raw).ravel().astype(np.int64))


def probe(known: Tensor, truth: Tensor, asked: Tensor, answers: Tensor) -> float:
    """Mean IoU of a linear layer that learns (N, D) ``known`` -> ``truth`` (N,) and is asked about ``asked``."""
    weight = torch.zeros(16, known.shape[1] + 1, requires_grad=True)
    known, asked = (functional.pad(x, (0, 1), value=1.0) for x in (known, asked))
    optimizer = torch.optim.LBFGS([weight], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(known @ weight.T, truth, ignore_index=255) + 1e-5 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    labelled = answers != 255
    guess = (asked @ weight.T).argmax(1)[labelled]
    matrix = np.bincount((16 * answers[labelled] + guess).numpy(), minlength=256).reshape(16, 16)
    return float(np.nanmean(_iou(matrix)))


def measure(teachers: Sequence[str], learn: Pictures, held_out: Pictures) -> dict[str, float]:
    """Mean IoU on held-out streets, read from each teacher's features and from each pair's."""
    truth, answers = classes(learn, 80), classes(held_out, 400)
    features = {name: (read(name, learn, 80), read(name, held_out, 400)) for name in teachers}
    groups = [(name,) for name in teachers] + list(combinations(teachers, 2))
    found = {}
    for group in groups:
        known, asked = (8 * functional.normalize(join(parts, [1.0] * len(group)), dim=1)
                        for parts in zip(*(features[name] for name in group), strict=True))  # fmt: skip
        label = " + ".join(Path(name).stem for name in group)
        found[label] = round(probe(known, truth, asked, answers), 4)
        print(f"{100 * found[label]:5.1f}  {label}")
    return found


def main() -> None:
    """Train what is missing, then measure all programs in the folder and ``city``."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kinds", nargs="*", default=[], help=f"some of {', '.join(KINDS)}; default all")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/teachers")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/city_teacher", help="rendered pictures")
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--held-out", type=int, default=21, help="scenes to measure on")
    parser.add_argument("--steps", type=int, help="instead of each kind's own number")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := [kind for kind in args.kinds if kind not in KINDS]:
        parser.error(f"no kind {unknown[0]!r}, there are {', '.join(KINDS)}")
    seen = pictures(args.work, "train", TRAIN_SEED, args.scenes)
    held_out = pictures(args.work, "held-out", HELD_OUT_SEED, args.held_out)
    for name in args.kinds or KINDS:
        kind, path = KINDS[name], args.out / f"city-{name}.pt2"
        if path.is_file():
            print(f"{path} is there already")
            continue
        start, steps = time.process_time(), args.steps or kind.steps
        network, losses = train(seen.images, kind.labels(seen), steps, args.batch, args.lr, args.seed, kind.width)
        card = {
            "name": path.stem,
            "width": kind.width,
            "parameters": sum(p.numel() for p in network.parameters()),
            "training": {"steps": steps, "batch": args.batch, "lr": args.lr, "seed": args.seed, "losses": losses},
            "data": {"seed": TRAIN_SEED, "scenes": args.scenes, "pictures": len(seen.images)},
            "cpu_seconds": round(time.process_time() - start, 1),
            "commit": _commit(),
        }
        export(network, path)
        path.with_suffix(".card.json").write_text(json.dumps(card, indent=1) + "\n")
    made = sorted(str(path) for path in args.out.glob("city-*.pt2"))
    found = measure(["city", *made], seen, held_out)
    said = {"miou_16_linear": found, "pictures": {"learn": len(seen.images), "held_out": len(held_out.images)}}
    (args.out / "quality.json").write_text(json.dumps({**said, "commit": _commit()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
