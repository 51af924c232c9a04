"""What matching the colours of a source to those of the teacher's training gains, on real pictures and labels.

    python benchmarks/color_matching.py --shared ../shared

The Cityscapes network that ``shared/tools/make_real_teacher.py`` exports reads the SemanticKITTI pictures in
``shared/real`` (licences keep both out of this repository) as they are and with matched colours; the class it sees at
the pixel of every visible, labelled lidar point is compared with the point's label. Statistics are measured on the
pictures of the training sequences. Writes ``results/color_matching.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.datasets.source import Source, open_source
from lidistill.sensing.pairing import pair
from lidistill.teachers.colors import ColorMatch, measure
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.program import ProgramTeacher
from lidistill.teachers.registry import load_teacher
from lidistill.teachers.sampling import sample

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks/results/color_matching.json"
SIDECAR = """stride: 8
grid: origin
colors: {mean: [73.158325, 82.90902, 72.3924], std: [44.91484, 46.15292, 45.319206]}
classes: [road, sidewalk, building, wall, fence, pole, traffic_light, traffic_sign, vegetation, terrain, sky, person,
  rider, car, truck, bus, train, motorcycle, bicycle, other]
"""
# SemanticKITTI class -> classes of the network that fit it; groups are broader kinds of things
FITS = {
    "car": {"car"},
    "bicycle": {"bicycle"},
    "motorcycle": {"motorcycle"},
    "truck": {"truck"},
    "other-vehicle": {"bus", "train", "truck"},
    "person": {"person"},
    "bicyclist": {"rider", "bicycle"},
    "motorcyclist": {"rider", "motorcycle"},
    "road": {"road"},
    "parking": {"road", "sidewalk"},
    "sidewalk": {"sidewalk"},
    "other-ground": {"road", "sidewalk", "terrain"},
    "building": {"building"},
    "fence": {"fence", "wall"},
    "vegetation": {"vegetation"},
    "trunk": {"vegetation", "pole"},
    "terrain": {"terrain"},
    "pole": {"pole"},
    "traffic-sign": {"traffic_sign"},
}
GROUPS = (
    {"car", "truck", "bus", "train", "motorcycle", "bicycle"},
    {"person", "rider"},
    {"road", "sidewalk"},
    {"building", "wall", "fence"},
    {"vegetation", "terrain"},
    {"pole", "traffic_sign", "traffic_light"},
)


def make_teacher(shared: Path, folder: Path) -> ProgramTeacher:
    """Export the network and load it as any program."""
    path = folder / "espnet_c.pt2"
    tool = shared / "tools/make_real_teacher.py"
    subprocess.run([sys.executable, str(tool), "--out", str(path)], check=True, capture_output=True)
    path.with_suffix(".yaml").write_text(SIDECAR)
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(368, 1216)))
    assert isinstance(teacher, ProgramTeacher)
    return teacher


def read(source: Source, teacher: ProgramTeacher, match: ColorMatch | None) -> tuple[Tensor, NDArray[np.uint8]]:
    """Scores (P, 20) of the network and labels (P,) of all paired, labelled points; pictures at their own size."""
    scores, labels = [], []
    for index in range(len(source)):
        frame = source[index]
        assert frame.labels is not None
        for view in frame.views:
            pairs = pair(frame, view)
            image = view.image()
            height, width = (n - n % teacher.stride for n in image.shape[:2])
            inside = (pairs.pixels[:, 0] < width) & (pairs.pixels[:, 1] < height)
            inside &= frame.labels[pairs.rows] != 255
            pairs = pairs.select(inside)
            picture = torch.from_numpy(image[:height, :width].copy()).permute(2, 0, 1)[None].float() / 255
            with torch.no_grad():
                maps = teacher.outputs(match(picture) if match else picture)[1]
            pixels = torch.from_numpy(pairs.pixels).float()
            numbers = torch.zeros(len(pixels), dtype=torch.long)
            scores.append(sample(maps, numbers, pixels, (height, width), teacher.grid))
            labels.append(frame.labels[pairs.rows])
    return torch.cat(scores), np.concatenate(labels)


def fits(classes: Sequence[str], names: Sequence[str], broad: bool) -> NDArray[np.bool_]:
    """(labels, network classes): whether the network's class is right for the label; ``broad`` = the right group."""
    table = np.zeros((len(names), len(classes)), bool)
    for row, name in enumerate(names):
        right = set(FITS[name.replace("_", "-")])
        if broad:
            right |= {c for group in GROUPS for c in group if group & right}
        table[row] = [c in right for c in classes]
    return table


def main() -> None:
    """Measure both ways, write, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    data = open_source(f"semantic-kitti:{args.shared / 'real/semantickitti'}")
    with tempfile.TemporaryDirectory() as folder:
        teacher = make_teacher(args.shared, Path(folder))
    train = data.split("train")
    own = measure(view.image() for i in range(len(train)) for view in train[i].views)
    assert teacher.color_statistics is not None
    assert teacher.classes is not None
    assert data.taxonomy is not None
    rows = []
    for split in ("train", "val"):
        for matched in (False, True):
            match = ColorMatch(own, teacher.color_statistics) if matched else None
            scores, labels = read(data.split(split), teacher, match)
            row: dict[str, object] = {"split": split, "matched": matched, "points": len(labels)}
            for name, count in (("all_classes", 20), ("without_other", 19)):
                found = scores[:, :count].argmax(1).numpy()
                for kind in ("class", "group"):
                    right = fits(teacher.classes, data.taxonomy.classes, kind == "group")[labels, found]
                    row[f"{kind}_{name}"] = round(100 * float(right.mean()), 1)
            rows.append(row)
            print(json.dumps(row))
    record = {
        "what": "percent of visible labelled points whose pixel gets a fitting class (or group of classes)",
        "colors_of_the_source": asdict(own),
        "colors_of_the_teacher": asdict(teacher.color_statistics),
        "rows": rows,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
