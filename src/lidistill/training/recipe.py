"""Recipes: typed, strict, frozen configurations that carry the papers' names.

A recipe is a YAML file. ``load_recipe`` reads a built-in one by name or any file by path and applies
``key=value`` overrides; an unknown key, a wrong type or an absurd value is one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from lidistill.datasets.fractions import PERCENTS
from lidistill.errors import InputError, closest, nearest
from lidistill.objectives import OF_CLASSES, OF_SUPERPIXELS
from lidistill.segmenters.methods import METHODS, Method
from lidistill.students.config import Box, CalibrationConfig, StudentConfig
from lidistill.students.registry import student_config
from lidistill.teachers.config import TeacherConfig
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.recipe_common import OfScans
from lidistill.training.recipe_file import named, read_values
from lidistill.training.schedules import CosineSchedule, RsqrtSchedule

Mixture = Literal["proportional", "equal"]
Teachers = Annotated[
    Annotated[TeacherConfig, Tag("one")] | Annotated[tuple[TeacherConfig, ...], Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]


class _OfStudent(OfScans):
    """What a recipe says that brings a student of its own."""

    student: StudentConfig
    calibration: CalibrationConfig | None = None
    """Self-calibrated convolutions between the student's features and its head (UDAKD, FSKD); None = none."""

    @model_validator(mode="before")
    @classmethod
    def _student_by_name(cls, values: Any) -> Any:
        """``student: waffleiron-48-256`` stands for that student with its defaults; ``name`` in a mapping likewise."""
        if isinstance(values, dict):
            student = values.get("student")
            if isinstance(student, str):
                values = {**values, "student": student_config(student)}
            elif isinstance(student, dict) and "name" in student:
                rest = {key: value for key, value in student.items() if key != "name"}
                values = {**values, "student": student_config(student["name"], **rest)}
        return values


class SoftLabels(BaseModel):
    """How a student learns the classes that its teacher sees (FSKD, ICRA 2025)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, ge=0)
    """Of the KL divergence beside the feature loss, whose weight is 1; 0 = features alone."""
    temperature: float = Field(default=1.0, gt=0, le=100)
    """Scores are divided by it before the softmax: above 1, classes that are nearly as likely count more."""
    classifier: Literal["shared", "own"] = "shared"
    """``shared``: the teacher's classifier reads the student's features as well; ``own``: the student learns one."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> SoftLabels:
        if self.classifier == "own" and self.weight == 0:
            raise ValueError("a classifier of its own learns from soft labels alone; give them a weight")
        return self


class DistilRecipe(_OfStudent):
    """How image features are distilled into a lidar network (ScaLR, sections 3 and 4)."""

    kind: Literal["distil"] = "distil"
    teacher: Teachers
    """A frozen image network, or a list of several (``joint.join``); a name stands for it with its defaults."""
    head_hidden: int | None = Field(None, gt=0)
    """Hidden width of the projection head; None = one linear layer (ScaLR), 2048 in ScaLR+. With several teachers the
    head has two layers as published, None = as wide as its wider end (the published width is not known)."""
    objective: str = "similarity"
    """``similarity`` (ScaLR), ``ppkt``, ``slidr``, ``st-slidr``, ``seal``, ``fskd`` or a plug-in."""
    soft_labels: SoftLabels | None = None
    """How the student learns the classes of its teacher, for the objective ``fskd``."""
    image_head: int | None = Field(None, gt=0)
    """Width of a space into which a linear layer each brings points and pixels (64 in PPKT and SLidR); None = the
    student learns the teacher's features as they are."""
    superpixels: Method | None = None
    """What divided the pictures (``lidistill superpixels``), for objectives that compare superpixels; ``slic`` stands
    for that method with SLidR's values."""
    pixel_step: int = Field(1, ge=1, le=64)
    """Of a superpixel's pixels, every so many rows and columns count towards its mean (1 = all, as published)."""
    cameras: Literal["one", "all"] = "one"
    """``one``: a random camera, and of the scan what it sees (ScaLR); ``all``: every camera, the whole scan (SLidR)."""
    crop: bool = False
    """Crop and mirror pictures at random (PPKT, SLidR)."""
    drop_cuboid: bool = False
    """Cut a random cuboid out of every scan (PPKT, SLidR)."""
    occlusion: bool = True
    """Leave out points that the camera does not see (the papers keep them)."""
    teacher_memory: float = Field(0.0, ge=0)
    """Gigabytes of feature maps to remember, so that the teacher sees every picture once; for small data sets. Every
    loader worker remembers as much of which point has which pixel."""
    mixture: Mixture = "proportional"
    """Several sources: every frame once an epoch (proportional, as published), or as many frames of each (equal)."""
    min_pairs: int = Field(32, ge=1)
    """A sample with fewer point-pixel pairs teaches nothing and is skipped."""

    @model_validator(mode="after")
    def _fits_the_objective(self) -> DistilRecipe:
        if (self.objective in OF_SUPERPIXELS) != (self.superpixels is not None):
            raise ValueError(f"superpixels go with the objectives {', '.join(OF_SUPERPIXELS)}, and those with them")
        if self.image_head is not None and self.objective in ("similarity", *OF_CLASSES):
            raise ValueError("image_head needs an objective with negatives, such as ppkt, or all becomes alike")
        if self.objective in (*OF_SUPERPIXELS, *OF_CLASSES) and len(self.teachers) > 1:
            raise ValueError(f"objective {self.objective} has one teacher")
        if (self.objective in OF_CLASSES) != (self.soft_labels is not None):
            raise ValueError(f"soft_labels go with the objective {', '.join(OF_CLASSES)}, and that with them")
        if self.crop and self.teacher_memory:
            raise ValueError("teacher_memory remembers whole pictures, crop shows other pieces every time; set it to 0")
        return self

    @field_validator("superpixels", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def teachers(self) -> tuple[TeacherConfig, ...]:
        """All of them, one or several."""
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @field_validator("teacher", mode="before")
    @classmethod
    def _teacher_by_name(cls, value: Any) -> Any:
        """A name stands for a teacher with its defaults; a list of one is that one."""
        if not isinstance(value, list | tuple):
            return {"name": value} if isinstance(value, str) else value
        several = [{"name": one} if isinstance(one, str) else one for one in value]
        return several[0] if len(several) == 1 else several

    @field_validator("teacher")
    @classmethod
    def _each_once(cls, value: TeacherConfig | tuple[TeacherConfig, ...]) -> TeacherConfig | tuple[TeacherConfig, ...]:
        if isinstance(value, TeacherConfig):
            return value
        if not value:
            raise ValueError("name at least one teacher")
        plain = [one.model_copy(update={"weight": 1.0}) for one in value]
        twice = next((one.name for index, one in enumerate(plain) if one in plain[:index]), None)
        if twice is not None:
            raise ValueError(f"teacher {twice} is there twice; name each once and give it a weight to hear it louder")
        return value


class SegmentRecipe(_OfStudent):
    """How a segmentation head (and, unless frozen, its backbone) learns from labels."""

    kind: Literal["segment"] = "segment"
    frozen: bool
    """True = linear probing: the backbone stays in evaluation mode and learns nothing."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Learning-rate factor from one layer to the next one below it (None = one rate for all)."""
    head_lr: float | None = Field(None, gt=0, lt=1000)
    """Learning rate of the head (SLidR: a hundred times that of the backbone); None = ``lr``."""
    lovasz: float = Field(1.0, ge=0)
    """Weight of the Lovasz-softmax loss beside cross-entropy."""
    head_hidden: int | None = Field(None, gt=0)
    """Hidden width of the head; None = one linear layer, as in linear probing."""
    reads: Literal["features", "outputs", "both"] = "features"
    """What the head reads: the backbone's features, or what the distilled network says in the space of its teachers, as
    unit vectors; ``both``: a head for each, and the mean of their probabilities."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Share of the training scans whose labels are used: 0.01 takes the split train-1 of the data, 1 all of train."""
    fov: Box | None = None
    """What the student sees of these scans, in place of its own field of view; weights do not depend on it."""
    polar_mix: float = Field(0.0, ge=0, le=1)
    """Probability that half of a scan (180 degrees of azimuth) is that of another scan (``transforms.polar_mix``)."""
    paste: float = Field(0.0, ge=0, le=1)
    """Probability that a scan gets the instances of ``paste_classes`` of another scan (``transforms.paste``)."""
    paste_classes: tuple[str, ...] = ()
    """Classes of which instances are pasted, by name."""

    @field_validator("fraction")
    @classmethod
    def _listed(cls, value: float) -> float:
        known = [percent / 100 for percent in PERCENTS] + [1.0]
        if value not in known:
            raise ValueError(f"there are lists for {', '.join(f'{one:g}' for one in known)}")
        return value

    @model_validator(mode="after")
    def _one_rule_for_rates(self) -> SegmentRecipe:
        if self.head_lr is not None and (self.frozen or self.layer_decay is not None):
            raise ValueError("head_lr is for a backbone that learns at one rate; leave out frozen and layer_decay")
        return self

    @model_validator(mode="after")
    def _convolutions_of_features_that_learn(self) -> SegmentRecipe:
        if self.calibration is not None and (self.frozen or self.reads != "features"):
            raise ValueError("calibration is of features that learn; leave it out with frozen, and where reads is set")
        return self

    @model_validator(mode="after")
    def _something_to_paste(self) -> SegmentRecipe:
        if self.paste and not self.paste_classes:
            raise ValueError("paste needs paste_classes, the names of the classes to paste")
        return self

    @property
    def split(self) -> str:
        """The split of the data that the recipe trains on."""
        return "train" if self.fraction == 1 else f"train-{round(100 * self.fraction)}"


class AdaptRecipe(OfScans):
    """How a network learns from labels of a source and from scans of a target without any (MuDDoS, BMVC 2025).

    The code of the paper is not public; what it does not say is chosen here (docs/how-to/new-lidar.md).
    """

    kind: Literal["adapt"] = "adapt"
    head: str = "muddos-head"
    """Recipe of the head that is trained on the source, where the run has none yet."""
    frozen: bool = True
    """True = the backbone stays as it is and the head alone learns; False = full finetuning."""
    statistics: Literal["source", "target"] = "source"
    """``target``: the batch norms' statistics are measured anew on the target before anything is learned."""
    rounds: int = Field(1, ge=0, le=100)
    """Rounds of self-training, ``epochs`` passes over the target each (over half of it without mixing); 0 = none."""
    keep: tuple[float, float] = (0.6, 0.6)
    """Share of the pseudo-labels of every class, the surest, that is learned in the first and in the last round."""
    mixing: Literal["none", "sectors", "classes"] = "none"
    """Scans are made of both domains: half of the circle of each, or the points of half of the classes of one put
    into the other (CoSMix); ``none``: scans of the one and of the other."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving average that is the teacher of the next round; a plain mean of the steps at first."""
    entropy: float = Field(0.0, ge=0)
    """Weight of the mean entropy of predictions where no pseudo-label of the target is sure (entropy minimisation)."""
    lovasz: float = Field(1.0, ge=0)
    """Weight of the Lovasz-softmax loss beside cross-entropy."""

    @field_validator("keep", mode="before")
    @classmethod
    def _shares(cls, value: Any) -> Any:
        shares = value if isinstance(value, list | tuple) else ()
        if len(shares) != 2 or not all(isinstance(share, float | int) and 0 <= share <= 1 for share in shares):
            raise ValueError("two shares from 0 to 1, such as [0.5, 0.8]")
        return value


AnyRecipe = DistilRecipe | SegmentRecipe | AdaptRecipe | ImageRecipe
Recipe = Annotated[AnyRecipe, Field(discriminator="kind")]
_TAGS = {"distil", "segment", "adapt", "teach", "cosine", "rsqrt", "one", "several", *METHODS}
_ADAPTER: TypeAdapter[AnyRecipe] = TypeAdapter(Recipe)
KINDS: dict[Any, type[BaseModel]] = {
    "distil": DistilRecipe,
    "segment": SegmentRecipe,
    "adapt": AdaptRecipe,
    "teach": ImageRecipe,
}


def load_recipe(name: str, overrides: Sequence[str] = ()) -> AnyRecipe:
    """Read a recipe by name or path and apply ``dotted.key=value`` overrides (values are YAML).

    Raises ``InputError`` with one sentence per fault.
    """
    return change_recipe(read_values(name), overrides, name)


def change_recipe(values: dict[str, Any], overrides: Sequence[str], name: str) -> AnyRecipe:
    """The recipe with these ``values`` after ``dotted.key=value`` overrides; ``name`` is used in the messages only."""
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, name)


def parse_recipe(values: dict[str, Any], name: str) -> AnyRecipe:
    """Validate a recipe's values; ``name`` is used in the messages only."""
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise InputError(f"recipe {name}: " + sentences(error, known_keys(values))) from None


def known_keys(values: dict[str, Any]) -> list[str]:
    """Top-level keys of the recipe kind that ``values`` asks for, and those of its parts."""
    keys = list(KINDS.get(values.get("kind"), DistilRecipe).model_fields)
    parts: dict[str, tuple[type[BaseModel], ...]] = {
        "student": (StudentConfig,),
        "teacher": (TeacherConfig,),
        "calibration": (CalibrationConfig,),
        "soft_labels": (SoftLabels,),
        "schedule": (CosineSchedule, RsqrtSchedule),
    }
    keys += [f"{part}.{key}" for part, kinds in parts.items() for kind in kinds for key in kind.model_fields]
    return list(dict.fromkeys(keys))


def sentences(error: ValidationError, keys: Sequence[str]) -> str:
    """One plain sentence per fault that pydantic found."""
    said = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"] if part not in _TAGS)
        if fault["type"] == "extra_forbidden":
            said.append(f"unknown key {place!r}{_meant(place, keys)}")
        elif fault["type"] == "missing":
            said.append(f"key {place!r} is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            said.append(f"{place or 'recipe'} = {_short(fault['input'])}: {message[0].lower()}{message[1:]}")
    return "; ".join(said)


def _meant(place: str, keys: Sequence[str]) -> str:
    """A suggestion for the last word of ``place``; of keys in a part (``schedule.warmup_epochs``) the whole."""
    if kinds := [kind for kind, model in KINDS.items() if place in model.model_fields]:
        return f"; it is one of recipes of kind {' and '.join(kinds)}"
    whole = {key.rpartition(".")[2]: key for key in reversed(keys)}
    match = closest(place.rpartition(".")[2], sorted(whole))
    if match is None:
        return nearest(place, whole)
    parts = place.rpartition(".")[0].split(".")
    # inside the right part its name goes without saying
    inside = whole[match].rpartition(".")[0] in ("", *parts)
    return f"; did you mean {(match if inside else whole[match])!r}?"


def _short(value: Any) -> str:
    text = re.sub(r"\s+", " ", repr(value))
    return text if len(text) < 60 else text[:57] + "..."


def _apply(values: dict[str, Any], override: str) -> None:
    """Set ``a.b=value`` in place; a part given by name (``student: waffleiron-6-64``) becomes a mapping first.

    Of a list of parts, ``a.b`` is set in all and ``a.0.b`` in the first.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override!r}: expected key=value, for example --set lr=0.001")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {override!r}: {text!r} is not a YAML value") from None
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        value = float(value)  # YAML 1.1 reads 1e-3 as text
    *parents, last = key.split(".")
    nodes, listed = [values], False
    for parent in parents:
        if listed and parent.isdigit():
            if int(parent) >= len(nodes):
                raise InputError(f"--set {override!r}: there are {len(nodes)}, counted from 0, so none is {parent}")
            nodes, listed = [nodes[int(parent)]], False
            continue
        listed = any(isinstance(node.get(parent), list) for node in nodes)
        nodes = [part for node in nodes for part in _parts(node, parent, override)]
    for node in nodes:
        node[last] = named(node.get(last), value)


def _parts(node: dict[str, Any], key: str, override: str) -> list[dict[str, Any]]:
    """The mapping ``node[key]`` or the mappings in that list, put there for names and where there is nothing."""
    child = node.get(key)
    found: list[dict[str, Any]] = []
    for one in child if isinstance(child, list) else [child]:
        part = {"name": one} if isinstance(one, str) else {} if one is None else one
        if not isinstance(part, dict):
            raise InputError(f"--set {override!r}: {key!r} has no parts")
        found.append(part)
    node[key] = found if isinstance(child, list) else found[0]
    return found
