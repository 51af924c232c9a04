"""Where superpixels lie: one PNG per picture, and a ``method.yaml`` that says how they were made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

import numpy as np
import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from lidistill.datasets.concat import parts
from lidistill.datasets.index import cache_folders
from lidistill.datasets.source import Source, parse_spec
from lidistill.errors import InputError
from lidistill.segmenters.methods import SLIDR, Argmax, Ids, Method, Sam, Segmenter, Slic, folder_name, options_of
from lidistill.sensing.files import write_atomically

RECORD = "method.yaml"
PACKAGES = ("lidistill", "scikit-image", "torch", "transformers")


class Record(BaseModel):
    """What ``method.yaml`` says: the data set, the method in full, and what was installed when it began."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    source: str
    method: Method
    count: int
    unassigned: int | None
    made_with: dict[str, str]


@dataclass(frozen=True)
class Superpixels:
    """The superpixels of a source, read when asked for; small to pickle, for it is sent to loader workers.

    ``count``: in every picture all ids are below it. ``unassigned``: the id of pixels that are in no superpixel, or
    None where every pixel is in one. ``folders``: one per data set of the source; ``commands`` make what is missing.
    """

    folders: tuple[Path, ...]
    method: Slic | Sam | Argmax
    count: int
    unassigned: int | None
    commands: tuple[str, ...]

    def load(self, token: str, view: str) -> Ids:
        """(H, W) ids of the picture that camera ``view`` took for the frame ``token``, at its recorded size.

        Raises ``InputError`` naming the command to run when there are none, and the file when it is damaged.
        """
        found = [path for folder in self.folders if (path := picture_path(folder, token, view)).is_file()]
        if len(found) == 1:
            return read_ids(found[0])
        if found:
            raise InputError(
                f"{token}: superpixels of this frame are in {found[0]} and {found[1]}; rename one data set"
            )
        raise InputError(
            f"{picture_path(self.folders[0], token, view)}: no superpixels of this picture; make those that are "
            f"missing with: {' && '.join(self.commands)}"
        )


def open_superpixels(
    source: Source, method: Slic | Sam | Argmax | None = None, folders: Path | Sequence[Path] = ()
) -> Superpixels:
    """The superpixels of ``source`` (a data set, a split of it or a mixture) that ``lidistill superpixels`` made.

    ``method`` None = SLidR's SLIC, or with ``folders`` whatever lies there; ``folders`` (those of ``--out``, one per
    data set) are needed only where they do not lie in the usual place. Raises ``InputError`` naming the command to
    run when there are none, and when a folder holds those of another data set or method.
    """
    given = (folders,) if isinstance(folders, Path) else tuple(folders)
    sources = parts(source)
    if given and len(given) != len(sources):
        raise InputError(
            f"{source.spec}: {len(sources)} data sets but {len(given)} folders of superpixels; give one each"
        )
    outs = given or (None,) * len(sources)
    places: list[Path] = []
    records: list[Record] = []
    for part, out in zip(sources, outs, strict=True):
        expected = method or (records[0].method if records else None)
        folder, record = _open_one(part, expected, out)
        places.append(folder)
        records.append(record)
    made = records[0]
    commands = [command_for(part.spec, made.method, out) for part, out in zip(sources, outs, strict=True)]
    return Superpixels(tuple(places), made.method, made.count, made.unassigned, tuple(commands))


def _open_one(source: Source, method: Slic | Sam | Argmax | None, out: Path | None) -> tuple[Path, Record]:
    """Folder and record of one data set."""
    folder = out or usual_folder(source, method or SLIDR)
    if not (folder / RECORD).is_file():
        command = command_for(source.spec, method or SLIDR, out)
        raise InputError(f"{folder}: no superpixels of {source.spec} here; make them with: {command}")
    record = read_record(folder)
    _check(record, folder, source.name, method)
    return folder, record


def create_superpixels(
    source: Source, method: Slic | Sam | Argmax, segmenter: Segmenter, out: Path | None = None
) -> Superpixels:
    """A folder to write the superpixels of one data set into: ``out`` or the usual place; what is there is kept.

    Raises ``InputError`` when it holds those of another data set or method, and when it cannot be written to.
    """
    folder = out or usual_folder(source, method)
    if (folder / RECORD).is_file():
        record = read_record(folder)
        _check(record, folder, source.name, method)
    else:
        record = Record(
            data=source.name,
            source=source.spec,
            method=method,
            count=segmenter.count,
            unassigned=segmenter.unassigned,
            made_with=_installed(),
        )
        text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False)
        write_atomically(folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"))
    command = command_for(source.spec, method, out)
    return Superpixels((folder,), method, record.count, record.unassigned, (command,))


def usual_folder(source: Source, method: Slic | Sam | Argmax) -> Path:
    """Where the superpixels of a data set lie: beside its index (see ``datasets.index``), by data set and method."""
    path = parse_spec(source.spec, "rig")[1]
    if not path.exists():
        raise InputError(
            f"{source.spec}: this data set has no folder to keep superpixels beside; choose one with --out"
        )
    name = folder_name(source.name, method)
    places = [folder / "superpixels" / name for folder in cache_folders(path if path.is_dir() else path.parent)]
    return next((place for place in places if (place / RECORD).is_file()), places[0])


def command_for(spec: str, method: Slic | Sam | Argmax, out: Path | None) -> str:
    """The command that makes these superpixels."""
    words = ["lidistill", "superpixels", spec, *options_of(method), *(["--out", str(out)] if out else [])]
    return shlex.join(words)


def picture_path(folder: Path, token: str, view: str) -> Path:
    """``FOLDER/VIEW/TOKEN.png``; the slashes of a token are folders."""
    return folder.joinpath(*(_safe(part) for part in (view, *f"{token}.png".split("/"))))


def write_ids(path: Path, ids: Ids) -> None:
    """Write (H, W) ids as a PNG of 8 bits, or of 16 where they need them; complete or not there at all."""
    if ids.max(initial=0) < 256:
        ids = ids.astype(np.uint8)
    picture = Image.fromarray(ids)
    write_atomically(path, lambda file: picture.save(file, "PNG"))


def read_ids(path: Path) -> Ids:
    """(H, W) ids of a PNG; raises ``InputError`` when it is damaged or something else."""
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("L", "I;16"):
                raise InputError(f"{path}: mode {picture.mode} is not one of superpixels; delete it and make it again")
            return np.array(picture, np.uint16)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: superpixels cannot be read ({error}); delete the file and make it again") from None


def read_record(folder: Path) -> Record:
    """What ``method.yaml`` in the folder says."""
    path = folder / RECORD
    try:
        return Record.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else " ".join(str(error).split())[:160]
        raise InputError(f"{path}: not a record of superpixels ({said}); delete the folder and make it again") from None


def _check(record: Record, folder: Path, data: str, method: Slic | Sam | Argmax | None) -> None:
    if record.data != data:
        raise InputError(
            f"{folder}: holds superpixels of data set {record.data!r}, not {data!r}; choose another folder"
        )
    if method is not None and record.method != method:
        there = " ".join(options_of(record.method))
        raise InputError(
            f"{folder}: holds superpixels made with {there}, asked for were {' '.join(options_of(method))}; "
            f"choose another folder or delete it"
        )


def _installed() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _safe(part: str) -> str:
    """A file name that stays in its folder, whatever characters a token has."""
    text = quote(part, safe=" +@=,")
    return f"%2E{text[1:]}" if text.startswith(".") else text
