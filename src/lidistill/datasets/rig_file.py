"""``rig.yaml`` and ``splits.yaml``: their schema, and what is said when they do not follow it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lidistill.errors import InputError, nearest
from lidistill.sensing import sensors
from lidistill.sensing.frame import Forward

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _rows(value: Any) -> Any:
    """Nine or sixteen numbers in one list are one mistake, not nine."""
    if isinstance(value, list) and value and not any(isinstance(row, list) for row in value):
        raise ValueError(f"expected rows, [[...], [...], ...], found {len(value)} values in one list")
    return value


def _our_lens(value: Any) -> Any:
    """The names of ROS for the same lenses."""
    return {"plumb_bob": "radtan", "rational_polynomial": "radtan", "equidistant": "fisheye"}.get(str(value), value)


Rows = Annotated[list[list[float]], BeforeValidator(_rows)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Lidar(_Strict):
    """The lidar: see ``sensing.Sensor``; ``columns`` of ``.bin`` scans (4 = x y z intensity, 5 = and ring).

    ``model`` is a name of the registry of sensors: it gives what the other keys do not say.
    """

    name: str
    model: str | None = None
    rate: Positive | None = None
    rings: Annotated[int, Field(gt=0)] | None = None
    fov: Pair | None = None
    max_range: Positive | None = None
    intensity: Pair | None = None
    forward: Forward = "+x"
    columns: Literal[4, 5] | None = None


class LensDistortion(_Strict):
    """``radtan`` with 4, 5 or 8 coefficients, or ``fisheye`` with 4; names of ROS are understood."""

    model: Annotated[Literal["radtan", "fisheye"], BeforeValidator(_our_lens)]
    coefficients: list[float]


class Camera(_Strict):
    """One camera: image size in pixels, ``intrinsics`` 3 x 3, ``from_lidar`` 4 x 4 (lidar -> camera, metres)."""

    height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    intrinsics: Rows
    from_lidar: Rows
    distortion: LensDistortion | None = None


class RigFile(_Strict):
    """The whole of ``rig.yaml``; ``classes`` is a built-in list, a taxonomy file, or names (raw id = position)."""

    lidar: Lidar
    cameras: dict[str, Camera] = Field(default_factory=dict)
    classes: str | list[str] | None = None


class CalibrationLoader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text; calibrations are full of such numbers."""


CalibrationLoader.yaml_implicit_resolvers = {
    key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
CalibrationLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_rig_file(path: Path) -> RigFile:
    """Parse and check ``rig.yaml``; every fault is named with its key in one ``InputError``."""
    content = read_yaml(path, CalibrationLoader)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: expected the keys lidar and cameras, found {content!r:.60}; see docs/reference/rig-folder"
        )
    try:
        rig = RigFile.model_validate(_with_model(content, path))
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(_sentence(fault) for fault in error.errors())) from None
    lidar = rig.lidar
    if lidar.fov and not -90 <= lidar.fov[0] < lidar.fov[1] <= 90:
        raise InputError(f"{path}: lidar.fov = {lidar.fov}: expected [lowest, highest] elevation in degrees")
    if lidar.intensity and not lidar.intensity[1] > 0:
        raise InputError(f"{path}: lidar.intensity = {lidar.intensity}: expected [mean, standard deviation above 0]")
    for name, camera in rig.cameras.items():
        lens = camera.distortion
        if lens and len(lens.coefficients) not in ({"radtan": (4, 5, 8), "fisheye": (4,)}[lens.model]):
            raise InputError(
                f"{path}: cameras.{name}.distortion has {len(lens.coefficients)} coefficients; "
                "expected 4, 5 or 8 for radtan, 4 for fisheye"
            )
    return rig


def _with_model(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """``content`` with the lidar's unknowns from the registry, if it names a model there.

    Not its intensity statistics, whose scale depends on the driver, and not the forward axis, which depends on the
    mount. The name is the folder's and the model's: lidars of one name share statistics, and two rigs need not.
    """
    lidar = content.get("lidar")
    if not isinstance(lidar, dict) or not isinstance(lidar.get("model"), str):
        return content
    try:
        known = sensors.sensor(lidar["model"])
    except InputError as error:
        raise InputError(f"{path}: lidar.model: {error}") from None
    filled: dict[str, Any] = {"name": f"{path.resolve().parent.name}-{known.name}"}
    filled |= {key: getattr(known, key) for key in ("rate", "rings", "max_range")}
    filled["fov"] = list(known.fov) if known.fov else None
    return content | {"lidar": filled | lidar}


def read_splits(path: Path, stems: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Parse ``splits.yaml``: split name -> frame numbers.

    Raises ``InputError`` for a stem that names no scan, and for a scan in two of train, val and test.
    """
    # BaseLoader leaves every scalar as text: YAML would read the stem 000010 as the octal number 8.
    content = read_yaml(path, yaml.BaseLoader)
    if not isinstance(content, dict) or not all(isinstance(part, list) for part in content.values()):
        raise InputError(f"{path}: expected lists of scan names by split, as in `train: [000000, 000001]`")
    number = {stem: i for i, stem in enumerate(stems)}
    owner: dict[str, str] = {}
    for split, names in content.items():
        for name in names:
            if not isinstance(name, str) or name not in number:
                raise InputError(
                    f"{path}: split {split!r} names {name!r}, but no scan is called so{_near(name, stems)}"
                )
            if split in ("train", "val", "test") and owner.setdefault(name, split) != split:
                raise InputError(f"{path}: scan {name!r} is in both {owner[name]!r} and {split!r}; keep them apart")
    return {str(split): tuple(number[name] for name in names) for split, names in content.items()}


def read_yaml(path: Path, loader: type[Any]) -> Any:
    """Parsed content; ``InputError`` when the file is missing, is no YAML, or has a key twice (YAML takes the last)."""
    try:
        reader = loader(path.read_bytes())
        node = reader.get_single_node()
        for key in _twice(node):
            line = key.start_mark.line + 1
            raise InputError(f"{path}: line {line}: key {key.value!r} is there twice; expected every key once")
        return None if node is None else reader.construct_document(node)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a YAML file there") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None


def _twice(root: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """Keys of ``root`` and of all below it that a mapping has twice."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # anchors may lead back
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            names = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in names:
                        yield key
                    names.add(key.value)


def _near(name: object, stems: Sequence[str]) -> str:
    tail = nearest(str(name), stems)
    # A list of all scans helps nobody.
    return tail if "did you mean" in tail else f"; they are called like {stems[0]!r}"


def _sentence(fault: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part not in ("str", "list[str]"))
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place!r}{nearest(str(fault['loc'][-1]), _siblings(fault['loc']))}"
    if fault["type"] == "missing":
        return f"key {place!r} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place} = {fault['input']!r:.60}: {message[0].lower()}{message[1:]}"


def _siblings(place: tuple[Any, ...]) -> Sequence[str]:
    """Keys that are known where the unknown one stands."""
    model: type[BaseModel] = RigFile
    if place[0] == "lidar" and len(place) == 2:
        model = Lidar
    elif place[0] == "cameras" and len(place) > 2:
        model = Camera if len(place) == 3 else LensDistortion
    return tuple(model.model_fields)
