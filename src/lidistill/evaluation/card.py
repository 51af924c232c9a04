"""Result cards: what was measured, on what, by what. Tables are rendered from cards only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lidistill.errors import InputError
from lidistill.sensing.files.atomic import write_atomically

if TYPE_CHECKING:
    from lidistill.datasets.pictures.pictures import PictureSource
    from lidistill.datasets.source import Source

PACKAGES = ("lidistill", "torch", "numpy", "scipy", "lightning", "transformers")
BY_MACHINE = {"workers", "checkpoint_minutes", "checkpoint_iterations"}
"""Recipe keys that fit a run to its machine and change nothing about its result."""
TEACHERS = "teacher_weights"
KEPT = "kept_round"
"""Of ``adapt``: which round the network is of, 0 = it is as it was given. Other seeds keep other rounds."""
VARIES = {"seed", "parent", "base", TEACHERS, KEPT, *BY_MACHINE}
"""Recipe keys in which two runs of one experiment may differ (the run a backbone came from differs by seed too)."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Record):
    """One figure per seed, in the order of ``Card.seeds``; None = undefined for that seed."""

    mean: float | None
    std: float | None
    """Sample standard deviation (n - 1); None for fewer than two values."""
    values: tuple[float | None, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Metric:
        """Mean and spread of the values that are defined (NaN counts as undefined)."""
        clean = tuple(None if value is None or not math.isfinite(value) else float(value) for value in values)
        defined = [value for value in clean if value is not None]
        return cls(
            mean=statistics.fmean(defined) if defined else None,
            std=statistics.stdev(defined) if len(defined) > 1 else None,
            values=clean,
        )


class Data(_Record):
    """The frames that were evaluated."""

    spec: str
    split: str
    frames: int
    checksum: str
    """SHA-256 of the frames' tokens, one a line, in order."""


class Hardware(_Record):
    """The machine."""

    cpu: str
    cores: int
    device: str
    threads: int
    """Threads of torch on the CPU."""


class Card(_Record):
    """One result: a single run, or several that differ by their seed."""

    name: str
    verb: str
    recipe: dict[str, Any]
    data: Data
    seeds: tuple[int, ...]
    metrics: dict[str, Metric]
    hardware: Hardware
    software: dict[str, str]
    """Package versions, and the git commit of this package where it runs from a checkout."""
    created: str
    """UTC, ISO 8601."""


def make_card(
    *,
    name: str,
    verb: str,
    recipe: Mapping[str, Any],
    source: Source | PictureSource,
    split: str,
    seeds: Sequence[int],
    metrics: Mapping[str, float],
    tokens: Sequence[str] | None = None,
) -> Card:
    """Make the card of a single run.

    ``source`` is the split that was evaluated, ``tokens`` those of the frames that were used (None reads every
    frame of the source to learn them); ``metrics`` holds one figure per name.
    """
    if tokens is None:
        tokens = [source[index].token for index in range(len(source))]
    return Card(
        name=name,
        verb=verb,
        recipe=dict(recipe),
        data=Data(spec=source.spec, split=split, frames=len(tokens), checksum=tokens_checksum(tokens)),
        seeds=tuple(seeds),
        metrics={key: Metric.of([value]) for key, value in metrics.items()},
        hardware=this_hardware(),
        software=this_software(),
        created=_now(),
    )


def tokens_checksum(tokens: Sequence[str]) -> str:
    """SHA-256 of the tokens, one a line: the same frames in the same order give the same checksum."""
    return hashlib.sha256("".join(f"{token}\n" for token in tokens).encode()).hexdigest()


def write_card(card: Card, path: str | Path) -> None:
    """Write ``card`` as JSON; the file is complete or not there at all."""
    text = card.model_dump_json(indent=2) + "\n"
    write_atomically(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_card(path: str | Path) -> Card:
    """Read a card; raises ``InputError`` naming the field when the file is none."""
    try:
        return Card.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a result card ({error}); run evaluate to write one") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path}: is not a result card ({field}: {first['msg']}); run evaluate to write one") from None


def merge_cards(cards: Sequence[Card], name: str | None = None) -> Card:
    """Merge the cards of runs that differ by their seed into one with mean and spread.

    ``name`` is that of the first card unless given; so are machine and software. Raises ``InputError`` when verb,
    data or recipe differ, or a seed comes twice.
    """
    if not cards:
        raise InputError("there is no card to merge; give the cards of runs that differ by their seed")
    first = cards[0]
    for card in cards[1:]:
        for field, ours, theirs in (
            ("verb", first.verb, card.verb),
            ("data", first.data, card.data),
            ("recipe", _comparable(first.recipe), _comparable(card.recipe)),
            ("teachers", *_known_teachers(first, card)),
        ):
            if ours != theirs:
                raise InputError(
                    f"cards {first.name!r} and {card.name!r} differ in their {field}{_difference(ours, theirs)}; only "
                    "cards that differ by the seed can be merged"
                )
    seeds = [seed for card in cards for seed in card.seeds]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"the cards of {first.name!r} repeat a seed ({seeds}); the spread needs different seeds")
    names = dict.fromkeys(key for card in cards for key in card.metrics)
    metrics = {key: Metric.of([value for card in cards for value in _values(card, key)]) for key in names}
    changes = {"name": name or first.name, "seeds": tuple(seeds), "metrics": metrics, "created": _now()}
    return first.model_copy(update=changes)


def experiment(card: Card) -> str:
    """A text that is the same for cards that belong together: all that ``merge_cards`` wants to be the same.

    And the run that the backbone came from, up to the seed in its path (``runs/wide/seed-0``): a backbone distilled
    otherwise, or none, is another experiment, although nothing else in the recipe tells them apart.
    """
    parent = card.recipe.get("parent")
    if isinstance(parent, str) and len(card.seeds) == 1:
        parent = re.sub(rf"(?<!\d){card.seeds[0]}(?!\d)", "*", parent)
    record = {"verb": card.verb, "data": card.data.model_dump(), "recipe": _comparable(card.recipe), "parent": parent}
    return json.dumps(record, sort_keys=True)


def this_hardware() -> Hardware:
    """The machine this process runs on."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return Hardware(cpu=_cpu(), cores=os.cpu_count() or 1, device=device, threads=torch.get_num_threads())


def this_software() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = _git_commit()
    return versions | ({"commit": commit} if commit else {})


def _values(card: Card, key: str) -> Sequence[float | None]:
    """One value per seed of the card, also when the card lacks the metric (a class absent from its scans)."""
    return card.metrics[key].values if key in card.metrics else (None,) * len(card.seeds)


def _comparable(recipe: Any) -> Any:
    """The recipe without the keys that vary with the seed, and without those that are off (None, False, empty).

    A version that did not know a switch yet did what one does that has it off: their cards belong together.
    """
    if isinstance(recipe, Mapping):
        kept = {key: _comparable(value) for key, value in recipe.items() if key not in VARIES}
        return {key: value for key, value in kept.items() if value is not None and value is not False and value != {}}
    return [_comparable(value) for value in recipe] if isinstance(recipe, list | tuple) else recipe


def _known_teachers(one: Card, other: Card) -> tuple[Any, Any]:
    """The weights of the teachers of both, or nothing where one was made by a version that did not write them down."""
    weights = one.recipe.get(TEACHERS), other.recipe.get(TEACHERS)
    return weights if all(weights) else (None, None)


def _difference(ours: Any, theirs: Any) -> str:
    """`` (key: a, b)`` for the first key in which two records differ."""
    if isinstance(ours, BaseModel):
        ours, theirs = ours.model_dump(), theirs.model_dump()
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return f" ({ours}, {theirs})"
    key = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
    one, other = ours.get(key), theirs.get(key)
    parts = [{} if part is None else part for part in (one, other)]
    if all(isinstance(part, dict) for part in parts):
        return _difference(*parts)
    return f" ({key}: {one}, {other})"


def _cpu() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """The commit of this checkout, ``-dirty`` with local changes of the package; None outside a checkout."""
    here = Path(__file__)
    package = here.parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An environment may lie inside somebody else's checkout: the file itself must be tracked.
        git("ls-files", "--error-unmatch", here.name)
        # changes elsewhere do not count: a benchmark writes its own cards into the checkout
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(package))
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
