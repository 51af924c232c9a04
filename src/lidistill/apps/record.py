"""``Record``: what lies in a run folder, read for people: damaged parts count as missing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lidistill.errors import InputError

Row = dict[str, Any]
BEFORE = "source-only.json"
"""The card of the network that was adapted."""
KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True)
class Record:
    """What lies in a run folder, as far as it is there and can be read."""

    path: Path
    text: str
    config: Row
    rows: tuple[Row, ...]
    cards: tuple[Row, ...]
    pictures: tuple[tuple[str, bytes], ...]
    skipped: tuple[Row, ...]
    finished: bool


def read_record(path: Path) -> Record:
    """Read a run folder; damaged parts count as missing, but for ``recipe.yaml``, without which it is no run."""
    recipe = path / "recipe.yaml"
    if not recipe.is_file():
        what = "does not exist" if not path.exists() else "holds no recipe.yaml, so it is no run folder"
        raise InputError(f"run {path}: {what}; give the --out folder of pretrain, probe, finetune or adapt")
    try:
        text = recipe.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{recipe}: not valid YAML: {' '.join(str(error).split())}") from None
    files = (path / "card.json", path / BEFORE, *sorted((path / "evaluations").glob("*.json")))
    cards = [card | {"file": file.name} for file in files if isinstance(card := _json(file), dict)]
    skipped = _json(path / "skipped.json")
    return Record(
        path,
        text,
        config if isinstance(config, dict) else {},
        tuple(_lines(path / "metrics.jsonl")),
        tuple(cards),
        tuple(_pictures(path / "pictures")),
        tuple(item for item in skipped if isinstance(item, dict)) if isinstance(skipped, list) else (),
        (path / "model.safetensors").is_file(),
    )


def number(value: Any) -> float:
    """A finite number, or nan."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else math.nan


def part(values: Any, *keys: str) -> Any:
    """``values[a][b]...`` as far as it goes; None where it ends."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def picture_kind(data: bytes) -> str | None:
    """The media type of a picture file's content, None when it is neither PNG nor JPEG."""
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), None)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[Row]:
    """The lines of ``metrics.jsonl``; one that a kill cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _pictures(folder: Path) -> list[tuple[str, bytes]]:
    """(caption, content) of the pictures, in the order of ``captions.json``, the others after them by name."""
    captions = _json(folder / "captions.json")
    captions = captions if isinstance(captions, dict) else {}
    there = {p.name: p for p in sorted(folder.glob("*")) if p.suffix in {".png", ".jpg", ".jpeg"} and p.is_file()}
    order = [*(name for name in captions if name in there), *(name for name in there if name not in captions)]
    found = [(str(captions.get(name, there[name].stem)), there[name].read_bytes()) for name in order]
    return [(caption, data) for caption, data in found if picture_kind(data)]
