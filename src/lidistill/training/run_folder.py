"""``RunFolder``: what a verb leaves behind, self-describing and never half-written.

recipe.yaml         what was asked for, every ``auto`` resolved (``FolderConfig``)
model.safetensors   weights; the metadata says how to build the network
checkpoint.pt       optimizer, random state and iteration, to resume from (plain tensors, ``weights_only``)
metrics.jsonl       one JSON object per logged step
log.txt  skipped.json  card.json  pictures/  report.html

There are two kinds: ``run.Run`` holds a lidar network, ``image_run.ImageRun`` an image network.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lidistill.errors import InputError
from lidistill.sensing.files.atomic import write_atomically
from lidistill.training.recipe import AnyRecipe, sentences

FORMAT = "1"


class FolderConfig(BaseModel):
    """``recipe.yaml``: verb, data and effective recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verb: str
    sources: tuple[str, ...] = ()
    split: str = "train"
    model: BaseModel
    recipe: AnyRecipe | None = None
    version: str = ""
    base: str | None = None
    """The folder in which the command was given, seen from the run: relative paths above are of it."""


C = TypeVar("C", bound=FolderConfig)


class RunFolder(Generic[C]):
    """One run folder."""

    config_type: ClassVar[type[FolderConfig]]
    makers: ClassVar[str]
    """The verbs that make such a folder, for messages."""
    other: ClassVar[Mapping[str, str]]
    """Verbs that make the other kind of folder -> what to say of it."""

    def __init__(self, path: Path, config: C) -> None:
        self.path = path
        self.config = config

    # ---- making and opening

    @classmethod
    def create(cls, out: str | Path, config: C, *, overwrite: bool = False, resume: bool = False) -> Self:
        """Make the folder ``out`` and write ``recipe.yaml`` into it.

        A folder that holds a run is refused unless ``overwrite`` (which empties it) or ``resume`` (which goes on
        with the run that is there; its recipe must be the same). Any other folder that is not empty is refused.
        """
        path = Path(out)
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {path}: is a file; name a folder")
        there = (path / "recipe.yaml").is_file()
        if resume and there:
            return cls._resume(path, config)
        if there and not overwrite:
            raise InputError(f"--out {path}: holds a run already; use --resume to go on with it or --overwrite")
        if path.is_dir() and any(path.iterdir()) and not there:
            raise InputError(f"--out {path}: the folder is not empty and holds no run; choose another")
        if there:
            shutil.rmtree(path)
        config = config.model_copy(update={"base": os.path.relpath(Path.cwd(), path.resolve())})
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        write_atomically(path / "recipe.yaml", lambda temporary: temporary.write_text(text))
        return cls(path, config)

    @classmethod
    def _resume(cls, path: Path, config: C) -> Self:
        run = cls.open(path)
        unsaid = type(config).model_fields.keys() - run.config.model_fields_set  # by an older version
        old, new = (_without_machine(c.model_dump(mode="json", exclude=unsaid)) for c in (run.config, config))
        if old != new:
            changed = _differences(old, new)
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise InputError(
                f"--resume {path}: the run there was started differently ({', '.join(changed[:5])}{more}); leave out "
                "--recipe and --set to go on by its own, give the command that started it, or another --out"
            )
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the run folder ``path``; raises ``InputError`` when there is none."""
        folder = Path(path)
        file = folder / "recipe.yaml"
        if not file.is_file():
            what = "does not exist" if not folder.exists() else "holds no recipe.yaml, so it is no run folder"
            raise InputError(f"run {folder}: {what}; give the --out folder of {cls.makers}")
        try:
            values = yaml.safe_load(file.read_text())
            said = cls.other.get(str(values.get("verb"))) if isinstance(values, dict) else None
            if said is not None:
                raise InputError(f"run {folder}: {said}")
            return cls(folder, cls.config_type.model_validate(values))  # type: ignore[arg-type]
        except ValidationError as error:
            said = sentences(error, list(cls.config_type.model_fields))
            raise InputError(f"{file}: {said}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None

    # ---- checkpoints

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write ``checkpoint.pt`` atomically."""
        write_atomically(self.path / "checkpoint.pt", _tensors(lambda file: torch.save(state, file)))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None; read without executing anything."""
        file = self.path / "checkpoint.pt"
        if not file.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(
                f"{file}: not a readable checkpoint ({type(error).__name__}); delete it to start over"
            ) from None
        return state

    # ---- records

    def log(self, **values: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(values) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut short by a kill is left out."""
        file = self.path / "metrics.jsonl"
        rows = []
        for line in file.read_text().splitlines() if file.is_file() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows

    def rewind_metrics(self, step: int) -> None:
        """Drop what was logged after iteration ``step``: a resumed run logs it again."""
        rows = [row for row in self.metrics() if row.get("step", 0) <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomically(self.path / "metrics.jsonl", lambda file: file.write_text(text))

    def write_json(self, name: str, value: Any) -> None:
        """Write ``name`` in the run folder as JSON, atomically."""
        text = json.dumps(value, indent=2)
        write_atomically(self.path / name, lambda file: file.write_text(text))


def save_weights(network: nn.Module, model: BaseModel, file: Path) -> None:
    """Write a ``model.safetensors`` with the description ``model`` of the network in its metadata."""
    state = {name: t.detach().to("cpu").contiguous() for name, t in network.state_dict().items()}
    metadata = {"format": "pt", "lidistill": model.model_dump_json(), "lidistill_format": FORMAT}
    write_atomically(file, _tensors(lambda temporary: save_file(state, temporary, metadata)))


M = TypeVar("M", bound=BaseModel)


def load_weights(file: Path, described: type[M]) -> tuple[M, dict[str, Tensor]]:
    """Read a ``model.safetensors``: the description of the network, and its weights.

    Raises ``InputError`` when there is none, it is damaged, or it describes something else.
    """
    if not file.is_file():
        raise InputError(f"{file} does not exist: the run is not finished; go on with it with --resume")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return described.model_validate_json(metadata["lidistill"]), state
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: not a readable safetensors file ({error})") from None
    except (KeyError, ValidationError):
        raise InputError(f"{file}: its metadata does not describe a lidistill network") from None


def fill(network: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Load the weights that were read from ``file``; ``InputError`` when they do not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise InputError(f"{file}: the weights do not fit its own description ({last})") from None


def _tensors(write: Callable[[Path], object]) -> Callable[[Path], object]:
    """The writers of tensors report a full disk in their own ways; say it as the system does."""

    def act(file: Path) -> None:
        try:
            write(file)
        except (RuntimeError, SafetensorError) as error:
            raise OSError(errno.ENOSPC, str(error)) from None

    return act


def _without_machine(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what may differ between the two halves of a run without changing its numbers."""
    recipe = dict(values.get("recipe") or {})
    for key in ("workers", "checkpoint_minutes", "checkpoint_iterations", "bad_frames"):
        recipe.pop(key, None)
    return {**values, "recipe": recipe, "version": "", "pretraining": None, "base": None}


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted({*old, *new}, key=lambda key: (key != "name", key)):
            found += _differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        return found
    return [] if old == new else [f"{place} = {old!r} there, {new!r} now"]
