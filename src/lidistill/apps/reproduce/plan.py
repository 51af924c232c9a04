"""From a table to the runs that it needs: each once, whichever cells and tables share it."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.apps.reproduce.table_file import City, Column, Line, Scale, Step
from lidistill.evaluation.card import BY_MACHINE, Card, read_card


@dataclass(frozen=True)
class Job:
    """One run of one seed. ``sources`` are what the verb is given as data, ``parent`` the run it starts from."""

    verb: str
    sources: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]
    seed: int
    folder: Path
    parent: Job | None = None

    def done(self) -> bool:
        """Whether its result is there: a run ends with its report, also one whose data has no split val for a card."""
        last = ("model.safetensors", "report.html")
        return self.card() is not None if self.verb == "evaluate" else all((self.folder / f).is_file() for f in last)

    def card(self) -> Card | None:
        """The card it left, if it is finished."""
        found = sorted(self.folder.glob("card.json" if self.verb != "evaluate" else "*.json"))
        return read_card(found[0]) if found else None

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments of the verb's function."""
        named = {key: value for key, value in self.options} | {"out": self.folder}
        if self.verb == "pretrain":
            return [self.sources], {**named, "seed": self.seed}
        positional = [] if self.parent is None else [self.parent.folder]
        if self.verb == "adapt":
            named["source"], named["target"] = self.sources
        else:
            named["data"] = self.sources[0]
        return positional, named if self.verb == "evaluate" else {**named, "seed": self.seed}

    def command(self) -> str:
        """The same on the command line."""
        positional, named = self.arguments()
        words = ["lidistill", self.verb]
        words += [str(w) for value in positional for w in (value if isinstance(value, tuple) else [value])]
        for key, value in named.items():
            flag = "--" + key.replace("_", "-")
            if isinstance(value, bool):
                words += [flag] if value else []
            else:
                words += [
                    w for one in (value if isinstance(value, list | tuple) else [value]) for w in (flag, str(one))
                ]
        return shlex.join(words)

    def chain(self) -> list[Job]:
        """All that it needs, and itself last."""
        return [*(self.parent.chain() if self.parent else []), self]


@dataclass(frozen=True)
class Place:
    """Where things are: ``work`` for runs and cities, ``data`` for data sets."""

    work: Path
    data: Path

    def source(self, name: str, known: City | str) -> str:
        """What a verb is given for one of the table's data."""
        return str(self.city(known)) if isinstance(known, City) else known.format(data=self.data)

    def city(self, city: City) -> Path:
        """The folder of a city: the same for all tables that ask for the same."""
        return self.work / "cities" / f"{city.sensor}-{city.style}-{city.scenes}x{city.frames}-{city.seed}"


def last_job(scale: Scale, row: Line, column: Column, seed: int, place: Place, options: tuple[str, ...] = ()) -> Job:
    """The job whose card holds the cell's figure; ``options`` (``key=value``) override every recipe."""
    job: Job | None = None
    for step in (*row.steps, *map(row.adapted, column.steps)):
        if step.needs_parent and job is None:
            continue
        job = _job(scale, row, column, step, seed, place, options, job)
    assert job is not None  # the last step of a column needs no parent
    return job


def jobs(scale: Scale, seeds: tuple[int, ...], place: Place, options: tuple[str, ...] = ()) -> list[Job]:
    """All jobs of a table, each once, parents before children, seed by seed."""
    found: dict[Path, Job] = {}
    for seed in seeds:
        for row, column in scale.cells():
            for job in last_job(scale, row, column, seed, place, options).chain():
                found.setdefault(job.folder, job)
    return list(found.values())


def _job(
    scale: Scale,
    row: Line,
    column: Column,
    step: Step,
    seed: int,
    place: Place,
    options: tuple[str, ...],
    parent: Job | None,
) -> Job:
    called = step.data or ((column.data,) if column.data else ())
    known = [scale.known(row, name) for name in called]
    sources = tuple(place.source(name, data) for name, data in known)
    chosen = dict(step.options)
    if parent is None:
        chosen = {**({"student": row.student} if row.student else {}), **chosen}
        chosen |= step.without_parent if step.verb != "pretrain" else {}
        chosen["set"] = (*chosen.get("set", ()), *row.set)
    if step.verb != "evaluate":
        chosen["set"] = (*chosen.get("set", ()), *options)
    said = tuple(
        (key, tuple(value) if isinstance(value, list) else value) for key, value in chosen.items() if value != ()
    )
    names = tuple(name for name, _ in known)
    # an option that is data itself has a name like all data of the table, or a row's
    told = tuple((key, scale.known(row, str(v))[0] if key == "released" else v) for key, v in said)
    folder = _folder(place, step.verb, names, [_defined(name, data) for name, data in known], told, seed, parent)
    given = tuple((key, place.source(*scale.known(row, str(v))) if key == "released" else v) for key, v in said)
    return Job(step.verb, sources, given, seed, folder, parent)


def _defined(name: str, known: City | str) -> Any:
    """What a table calls data, with all that makes them others than those of that name: shared runs are of the same."""
    if isinstance(known, City):
        return name if known == City(sensor=name) else [name, known.model_dump()]
    return name if known.startswith(f"{name}:{{data}}/") and "?" not in known else [name, known]


def _folder(
    place: Place,
    verb: str,
    names: tuple[str, ...],
    data: list[Any],
    said: tuple[tuple[str, Any], ...],
    seed: int,
    parent: Job | None,
) -> Path:
    """Named by what the run is: readable, and different for everything that makes a different result."""
    options = [option for key, value in said if (option := _told(key, value))[1] != []]
    told = [verb, data, options, parent and parent.folder.parent.name]
    key = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
    shown = [verb, "+".join(names)] + [str(v) for k, v in said if k in {"student", "teacher", "fraction"}]
    slug = "-".join("".join(c if c.isalnum() or c in "+.-" else "-" for c in word) for word in shown)
    return place.work / f"{slug[:80]}-{key}" / f"seed-{seed}"


def _told(key: str, value: Any) -> tuple[str, Any]:
    """An option as far as it makes a difference to the result."""
    if key != "set":
        return key, value
    return key, [override for override in value if override.partition("=")[0] not in BY_MACHINE]
