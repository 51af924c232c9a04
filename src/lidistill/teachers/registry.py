"""Teachers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import torch

from lidistill.errors import InputError, nearest
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.colors import ColorStatistics
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.teacher import Teacher, check_size

GROUP = "lidistill.teachers"
"""Entry points of third parties: teacher name -> function (TeacherConfig) -> Teacher."""

PROGRAM = "teacher.pt2"
"""The program in a folder that teach-images made."""

Opener = Callable[[TeacherConfig], Teacher]


def teacher_names() -> tuple[str, ...]:
    """Names that ``load_teacher`` knows beside hub names, folders and files: built-in, short names, plug-ins."""
    return tuple(sorted({"city", *CATALOG, *(point.name for point in entry_points(group=GROUP))}))


def is_path(name: str) -> bool:
    """Whether a teacher can only be a file or a folder, there or not: no short name, and nothing the hub could have."""
    path = Path(name).expanduser()
    if path.suffix in {".pt2", ".pth", ".tar"} or name.startswith((".", "/", "~")):
        return True
    # a folder's name before the slash: a path below it is meant, not an account of the hub
    return name.count("/") > 1 or (name.count("/") == 1 and path.parent.is_dir())


def load_teacher(config: TeacherConfig) -> Teacher:
    """Load the teacher that a recipe asks for: frozen, in evaluation mode, on the CPU.

    ``config.name`` is ``city``, a short name, the name of a plug-in, a ``.pt2`` program, a ResNet-50 file
    (``.pth``, ``.pth.tar``), a local folder (of teach-images or of transformers) or a hub name. ``color_statistics``
    of the teacher is set exactly when the colours of the source are to be matched to it. Raises ``InputError`` naming
    the nearest known name, when the image size is no multiple of the stride, and when colours are to be matched but
    none are known.
    """
    teacher = _open(config).freeze()
    teacher.color_statistics = _colors(config, teacher)
    if config.grid != "auto":
        teacher.grid = config.grid
    check_size(teacher.name, teacher.stride, config.image_size)
    if config.precision == "bfloat16":
        teacher.to(torch.bfloat16)
    return teacher


def load_teachers(configs: Sequence[TeacherConfig]) -> list[Teacher]:
    """Load all teachers of a recipe, see ``load_teacher``."""
    return [load_teacher(config) for config in configs]


def _open(config: TeacherConfig) -> Teacher:
    name = config.name
    if name == "city":
        from lidistill.teachers.city import load_city

        return load_city()
    path = Path(name).expanduser()
    if path.suffix == ".pt2":
        return _open_program(config, path, path.stem)
    if (path / PROGRAM).is_file():
        return _open_program(config, path / PROGRAM, path.resolve().name)
    if (path / "recipe.yaml").is_file():
        raise InputError(f"teacher {name}: the run there has no {PROGRAM}; finished runs of teach-images have one")
    for point in entry_points(group=GROUP, name=name):
        plug_in: Opener = point.load()
        return plug_in(config)
    return _open_encoder(config, path)


def _open_program(config: TeacherConfig, path: Path, name: str) -> Teacher:
    from lidistill.teachers.program import ProgramTeacher

    return ProgramTeacher(path, config.image_size, name)


def _open_encoder(config: TeacherConfig, path: Path) -> Teacher:
    from lidistill.teachers.hub import load_hub, load_resnet_file

    name = config.name
    entry = CATALOG.get(name)
    if entry is not None and entry.hub is None:
        raise InputError(
            f"teacher {name}: its weights are not on the hub; download {entry.download} and give the path of that file"
        )
    if entry is not None:
        return load_hub(config, str(entry.hub), entry)
    if path.is_file():
        if path.suffix in {".pth", ".tar"}:
            return load_resnet_file(config, path)
        raise InputError(f"teacher {name}: expected a .pt2 program, a ResNet-50 .pth file or a folder, found a file")
    if path.is_dir():
        return load_hub(config, str(path), None)
    if "/" not in name or is_path(name):  # no hub name: a short name or a path gone wrong
        if "/" in name:
            raise InputError(f"teacher {name}: the path does not exist; give a folder, a .pt2 or .pth file, or a name")
        raise InputError(f"there is no teacher {name!r}{nearest(name, teacher_names())} (or give a hub name or a path)")
    return load_hub(config, name, None)


def _colors(config: TeacherConfig, teacher: Teacher) -> ColorStatistics | None:
    """Statistics to match a source's colours to, or None. ``auto``: only where the teacher asks for it by itself."""
    if config.match_colors == "auto":
        return teacher.color_statistics
    if not config.match_colors:
        return None
    if teacher.color_statistics is not None:
        return teacher.color_statistics
    mean, std = (tuple(255 * v for v in t.flatten().tolist()) for t in (teacher.mean, teacher.std))
    if std == (255.0, 255.0, 255.0):
        raise InputError(
            f"teacher {config.name}: match_colors is on but the colours of its training pictures are not known; "
            f"state them in its sidecar file (colors: {{mean, std}}), or set match_colors to auto"
        )
    return ColorStatistics(mean, std)
