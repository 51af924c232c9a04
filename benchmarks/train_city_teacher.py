"""Train the city teacher on rendered pictures of the synthetic city, and write its weights and card.

    python benchmarks/train_city_teacher.py                  # render (minutes), train, evaluate, write
    python benchmarks/train_city_teacher.py --steps 200 --scenes 40 --out /tmp/city

Pictures come from all four rigs and both styles, in whatever weather a scene draws. The seeds (10000 and up) are used
nowhere else in this repository, so nobody's training or evaluation streets are among them; the held-out pictures have
seeds of their own. The rendered pictures stay in ``--work`` for the next call. One core does it in about half an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from lidistill import taxonomy
from lidistill.simulator.camera import pixel_rays
from lidistill.simulator.scene import Scene, SimulatedFrame, scene, simulate_frame
from lidistill.teachers.city import CLASSES, MEAN, STD, STRIDE, CityNetwork, CityTeacher
from lidistill.teachers.image_network import normalise
from lidistill.teachers.images import prepare
from lidistill.teachers.sampling import sample
from lidistill.transforms.pictures import nearest_pixels, random_colors, random_pieces

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "src/lidistill/teachers/weights"
SENSORS = ("spinning-32", "uneven-64", "spinning-64", "solid-state")
STYLES = ("grid", "old-town")
SIZE = (224, 448)
CROP = (160, 256)
TRAIN_SEED, HELD_OUT_SEED = 10_000, 20_000
FRAMES = (0, 3)
HEIGHTS = (-0.15, 0.08, 0.3, 0.8, 1.4, 2.0, 3.0, 5.0, 8.0)
"""Metres above the road."""


@dataclass(frozen=True)
class Pictures:
    """``images`` (N, 224, 448, 3); of their pixels (N, 224, 448) the raw classes and shapes; where each is from."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    shapes: NDArray[np.uint8]
    origin: list[str]
    """``style/sensor/weather``."""


def pictures(folder: Path, name: str, seed: int, scenes: int) -> Pictures:
    """Pictures of ``scenes`` scenes; kept in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[NDArray[np.uint8]]] = {"images": [], "labels": [], "shapes": []}
    origin: list[str] = []
    for index in tqdm(range(scenes), desc=f"{name} pictures", unit="scene"):
        file = folder / f"{name}-{seed}-{index:04d}.npz"
        if not file.is_file():
            _render(file, seed, index)
        with np.load(file) as made:
            for key, several in found.items():
                several.append(made[key])
            origin += [str(made["origin"])] * len(made["images"])
    return Pictures(**{key: np.concatenate(several) for key, several in found.items()}, origin=origin)


def _render(file: Path, seed: int, index: int) -> None:
    """Scene ``index``: rig ``index`` mod 4 drives in the style (``index`` div 4) mod 2; two frames.

    A rig with six cameras gives two of them per frame, so that no rig outweighs the others by its number of cameras.
    """
    sensor, style = SENSORS[index % 4], STYLES[index // 4 % 2]
    place = scene(sensor, style, index, seed, 4)
    images, labels, shapes = [], [], []
    for number in FRAMES:
        frame = simulate_frame(place, number)
        names = sorted(frame.images)
        turn = (index // 8 * 2 + number) % len(names)
        for camera in dict.fromkeys((names[turn], names[(turn + 1) % len(names)])):
            image = prepare(frame.images[camera], SIZE)
            images.append((image * 255).round().byte().permute(1, 2, 0).numpy())
            labels.append(frame.image_labels[camera][nearest_pixels(frame.image_labels[camera].shape, SIZE)])
            shapes.append(_shapes(place, frame, camera))
    part = file.with_suffix(".part.npz")
    origin = f"{style}/{sensor}/{place.weather.name}"
    np.savez(part, images=np.stack(images), labels=np.stack(labels), shapes=np.stack(shapes), origin=origin)
    part.replace(file)


def _shapes(place: Scene, frame: SimulatedFrame, name: str) -> NDArray[np.uint8]:
    """(224, 448): 0 = sky, else 1 + 3 h + t: the height h of a surface above the road, in ten steps, and its tilt t.

    t = 0 looks up, 1 is slanted, 2 upright.
    """
    view = next(v for v in frame.views if v.name == name)
    camera = next(c for c in place.rig.cameras if c.name == name)
    turn, shift = view.from_lidar[:3, :3], view.from_lidar[:3, 3]
    rays = (
        pixel_rays(camera)
        .reshape(view.height, view.width, 3)[nearest_pixels((view.height, view.width), SIZE)]
        .reshape(-1, 3)
    )
    rays, origin = rays @ turn, -shift @ turn
    distance, face = frame.cast(origin, rays)
    solid = np.flatnonzero(face >= 0)
    points = origin + rays[solid] * distance[solid, None]
    to_vehicle = place.rig.lidar.to_vehicle()
    height = np.digitize(points @ to_vehicle[2, :3] + to_vehicle[2, 3], HEIGHTS)
    tilt = np.digitize(-np.abs(frame.moment.normals[face[solid], 2]), (-0.8, -0.3))
    shapes = np.zeros(len(rays), np.uint8)
    shapes[solid] = 1 + 3 * height + tilt
    return shapes.reshape(SIZE)


# ---- training


def batch(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Random pieces (B, 3, 160, 256) normalised, and the raw class under every cell of the feature map (B, 40, 64)."""
    rows = rng.integers(len(images), size=size)
    x = torch.from_numpy(np.stack([images[r] for r in rows])).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(np.stack([labels[r] for r in rows]))
    pieces, cells = random_pieces(x, y, CROP, STRIDE, rng)
    x = normalise(random_colors(pieces, rng), MEAN, STD)
    return x.contiguous(memory_format=torch.channels_last), cells


def train(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    steps: int,
    size: int,
    lr: float,
    seed: int,
    width: float = 1.0,
) -> tuple[CityNetwork, list[float]]:
    """Train for ``steps`` batches of ``size`` pieces; returns the averaged network and the loss of every 100 steps.

    Weights are averaged over about the last 200 steps; rare classes weigh more in the loss.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = CityNetwork(width).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.02)
    counts = np.bincount(np.asarray(labels[::4, ::4, ::4]).ravel(), minlength=CLASSES) + 1000
    weight = torch.from_numpy((counts / counts.sum()) ** -0.4).float()
    criterion = nn.CrossEntropyLoss(weight / weight.mean())
    recent, losses = [], []
    with tqdm(range(steps), desc="training", unit="step") as bar:
        for step in bar:
            done = step / steps
            optimizer.param_groups[0]["lr"] = lr * min(step / 100, 1) * (0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2)
            x, y = batch(images, labels, size, rng)
            with torch.autocast("cpu", torch.bfloat16):
                loss = criterion(network.classifier(network(x)).float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if done > 0.5:  # the first call copies the weights
                average.update_parameters(network)
            recent.append(loss.item())
            if not np.isfinite(recent[-1]):
                raise SystemExit(f"step {step}: the loss is {recent[-1]}")
            if len(recent) == 100:
                losses.append(round(float(np.mean(recent)), 4))
                recent.clear()
                bar.set_postfix(loss=losses[-1])
    return average.module.eval(), losses


# ---- evaluation


@torch.no_grad()
def evaluate(teacher: CityTeacher, held_out: Pictures) -> dict:
    """Every fourth pixel of every picture, read as lidar points are: four taps, then the classifier."""
    city = taxonomy.load("city-16")
    v, u = np.mgrid[2 : SIZE[0] : 4, 2 : SIZE[1] : 4]
    pixels = torch.from_numpy(np.stack([u.ravel(), v.ravel()], 1)).float()
    raw = np.zeros((CLASSES, CLASSES), np.int64)
    total = np.zeros((17, 17), np.int64)
    parts: dict[str, NDArray[np.int64]] = {}
    seen = zip(held_out.images, held_out.labels, held_out.origin, strict=True)
    for image, label, where in tqdm(seen, total=len(held_out.images), desc="held-out"):
        features = teacher(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255)
        read = sample(features, torch.zeros(len(pixels), dtype=torch.long), pixels, SIZE, teacher.grid)
        found, truth = teacher.classifier(read).argmax(1).numpy(), label[v.ravel(), u.ravel()].astype(np.int64)
        raw += np.bincount(truth * CLASSES + found, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
        coarse, guess = (np.minimum(city.apply(a).astype(np.int64), 16) for a in (truth, found))  # 16 = sky
        matrix = np.bincount(coarse * 17 + guess, minlength=17**2).reshape(17, 17)
        total += matrix
        for part in where.split("/"):
            parts[part] = parts.get(part, 0) + matrix
    iou = _iou(total)
    return {
        "pixel_accuracy_raw": round(float(np.trace(raw) / raw.sum()), 4),
        "pixel_accuracy_16": round(float(np.trace(total) / total.sum()), 4),
        "miou_16": round(float(np.nanmean(iou[:16])), 4),
        "iou": {name: round(float(v), 4) for name, v in zip((*city.classes, "sky"), iou, strict=True)},
        "iou_raw": {str(i): round(float(v), 4) for i, v in enumerate(_iou(raw)) if np.isfinite(v)},
        "miou_16_by_part": {name: round(float(np.nanmean(_iou(m)[:16])), 4) for name, m in sorted(parts.items())},
        "pictures": len(held_out.images),
    }


def _iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    hit = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - hit
    return np.where(matrix.sum(1) > 0, hit / np.maximum(union, 1), np.nan)


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Render, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/city_teacher", help="rendered pictures")
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=21, help="scenes to evaluate on")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train_set = pictures(args.work, "train", TRAIN_SEED, args.scenes)
    held_out = pictures(args.work, "held-out", HELD_OUT_SEED, args.held_out)
    network, losses = train(train_set.images, train_set.labels, args.steps, args.batch, args.lr, args.seed)
    half = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in half.items()})
    scores = evaluate(CityTeacher(network.float()).freeze(), held_out)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({k: t.contiguous() for k, t in half.items()}, args.out / "city.safetensors")
    card = {
        "name": "city",
        "network": "CityNetwork, 64 features, stride 4, cell (i, j) on pixel (4 i, 4 j); weights as float16",
        "parameters": sum(p.numel() for p in network.parameters()),
        "supervision": "raw class maps of rendered pictures; never real data, never a street of another seed",
        "data": {
            "train": {"seed": TRAIN_SEED, "scenes": args.scenes, "pictures": len(train_set.images)},
            "held_out": {"seed": HELD_OUT_SEED, "scenes": args.held_out, "pictures": len(held_out.images)},
            "sensors": SENSORS,
            "styles": STYLES,
            "size": SIZE,
        },
        "training": {"steps": args.steps, "batch": args.batch, "lr": args.lr, "seed": args.seed},
        "losses": losses[:: max(len(losses) // 20, 1)],
        "held_out": scores,
        "commit": _commit(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    (args.out / "city.card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
