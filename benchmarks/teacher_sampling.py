"""Teacher features at paired pixels: four taps each, against up-sampling the whole map first as the papers' code does.

    python benchmarks/teacher_sampling.py

Both ways read the same 3000 pixels from the same map of 1024 features (DINOv2 ViT-L/14) at the image sizes of ScaLR and
ScaLR+; times are medians of alternating repetitions in one process, peak memory is that of a process of its own beyond
what it held before. Writes ``results/teacher_sampling.json``; the ratios are the result.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.teachers.sampling import sample
from memory import peak

OUT = Path(__file__).resolve().parent / "results" / "teacher_sampling.json"
SIZES = ((224, 448), (448, 896))
DIM, PATCH, PAIRS = 1024, 14, 3000


def inputs(size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """A map (1, 1024, h, w), picture numbers (P,) and pixels (P, 2)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, DIM, size[0] // PATCH, size[1] // PATCH, generator=generator)
    u = torch.randint(size[1], (PAIRS,), generator=generator)
    v = torch.randint(size[0], (PAIRS,), generator=generator)
    return features, torch.zeros(PAIRS, dtype=torch.long), torch.stack([u, v], 1).float()


def sampled(features: Tensor, index: Tensor, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Four taps."""
    return sample(features, index, pixels, size, "corners")


def whole(features: Tensor, index: Tensor, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """The full-resolution map, then its pixels."""
    full = functional.interpolate(features, size, mode="bilinear", align_corners=True)
    return full[index, :, pixels[:, 1].long(), pixels[:, 0].long()]


WAYS = {"sampled": sampled, "full_map": whole}


def warm(way: str, size: tuple[int, int]) -> Callable[[], Tensor]:
    """One reading, for its memory; libraries and buffers that any call needs are there."""
    arguments = inputs(size)
    WAYS[way](arguments[0][:, :2], *arguments[1:], size)
    return partial(WAYS[way], *arguments, size)


def times(size: tuple[int, int], repeats: int) -> dict[str, float]:
    """Median seconds per way, the ways taking turns."""
    arguments = inputs(size)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats + 1):
        for way, run in WAYS.items():
            start = time.perf_counter()
            run(*arguments, size)
            took[way].append(time.perf_counter() - start)
    return {way: median(values[1:]) for way, values in took.items()}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in SIZES:
        arguments = inputs(size)
        difference = (sampled(*arguments, size) - whole(*arguments, size)).abs().max().item()
        seconds = times(size, args.repeats)
        memory = {way: peak(warm, way, size) for way in WAYS}
        rows.append(
            {
                "image": list(size),
                "map": [size[0] // PATCH, size[1] // PATCH],
                "features": DIM,
                "pairs": PAIRS,
                "seconds": {way: round(s, 5) for way, s in seconds.items()},
                "peak_mib": {way: round(m, 1) for way, m in memory.items()},
                "times_faster": round(seconds["full_map"] / seconds["sampled"], 1),
                "times_less_memory": round(memory["full_map"] / max(memory["sampled"], 0.1), 1),
                "largest_difference": difference,
            }
        )
        print(json.dumps(rows[-1]))
    record = {
        "what": "features at paired pixels: four taps against the full-resolution map, one thread",
        "rows": rows,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
