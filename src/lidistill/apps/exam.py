"""``Exam``: a trained network, the scans it is examined on, and the rules."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lidistill.datasets.source import Source, parse_spec
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import Card, make_card, read_card
from lidistill.evaluation.class_map import ClassMap
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import AS_RECORDED, Evaluation, as_learned
from lidistill.evaluation.inference import evaluate as confuse
from lidistill.evaluation.poses import Viewpoint
from lidistill.students.network import Network
from lidistill.training.run import Run


@dataclass(frozen=True)
class Exam:
    """A network, the split it is examined on, and how: in which ``poses``, in which classes (None = its own)."""

    run: Run
    network: Network
    source: Source
    split: str
    poses: tuple[Viewpoint, ...] = AS_RECORDED
    common: ClassMap | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """What is not as usual, for the card."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are counted."""
        return self.common.classes if self.common else self.run.config.model.classes or ()

    @property
    def name(self) -> str:
        """Of the card's file: data and their options (``nuscenes-c-fog-heavy``), split and what is not as usual."""
        options = parse_spec(self.source.spec, "rig")[2].values()
        parts = [self.source.name, *(option for option in options if re.fullmatch(r"[\w.]+", option)), self.split]
        parts += [f"{Path(self.common.name).stem}-{self.common.outside}"] if self.common else []
        parts += ["words"] if "words" in self.options else []
        return "-".join([*parts, f"tta{len(self.poses)}"] if len(self.poses) > 1 else parts)

    def place(self, path: Path) -> Path:
        """Where the card may lie: ``path``, or beside it when a card of other data or other words is there."""
        own = [self.source.spec, self.options.get("words")]
        try:
            there = read_card(path) if path.is_file() else None
        except InputError:
            return path
        if there is None or [there.data.spec, there.recipe.get("evaluation", {}).get("words")] == own:
            return path
        mark = hashlib.sha256((json.dumps(own) if own[1] else self.source.spec).encode()).hexdigest()[:6]
        return path.with_name(f"{path.stem}-{mark}{path.suffix}")

    def take(self, source: Source, title: str = "evaluate") -> Evaluation:
        """Confusion over ``source``, the split or a changed form of it. Raises ``RunError`` if no frame was usable,
        ``InputError`` if none has labels.
        """
        read = self.common.read if self.common else as_learned
        voxel = self.run.config.model.voxel
        result = confuse(self.network, source, self.classes, voxel, poses=self.poses, read=read, title=title)
        if not result.tokens:
            reason = result.skipped[0].reason
            raise RunError(f"{source.spec}: none of its {len(source)} frames could be used; the first: {reason}")
        if not result.confusion.truth().any():
            raise InputError(f"{source.spec}: no point of its {len(source)} frames has a label that counts")
        return result

    def card(self, metrics: dict[str, float], tokens: Sequence[str]) -> Card:
        """The card of these figures."""
        config = self.run.config
        recipe = config.model_dump(mode="json") | ({"evaluation": self.options} if self.options else {})
        return make_card(
            name=self.run.path.name,
            verb=config.verb,
            recipe=recipe,
            source=self.source,
            split=self.split,
            seeds=(config.recipe.seed,) if config.recipe else (),
            metrics=metrics,
            tokens=tokens,
        )


def main_figures(confusion: Confusion) -> dict[str, float]:
    """``miou`` by the protocol, ``miou_present`` over the classes that have points, ``accuracy``, ``iou/CLASS``."""
    iou = confusion.iou()
    present = iou[confusion.truth() > 0]
    figures = {"miou": confusion.miou(), "miou_present": float(present.mean()) if len(present) else 0.0}
    figures["accuracy"] = confusion.accuracy()
    defined = zip(confusion.classes, iou.tolist(), strict=True)
    return figures | {f"iou/{name}": value for name, value in defined if not math.isnan(value)}


def iou_rows(confusion: Confusion, counted: str) -> list[dict[str, object]]:
    """One row per class, for people; ``counted``: what the truth counts."""
    return [
        {"class": name, "IoU %": "-" if math.isnan(value) else f"{100 * value:.1f}", counted: int(count)}
        for name, value, count in zip(confusion.classes, confusion.iou(), confusion.truth(), strict=True)
    ]
