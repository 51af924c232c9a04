"""``Run``: the run folder of a lidar network."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lidistill import taxonomy as class_lists
from lidistill.errors import InputError
from lidistill.sensing.frame import Sensor
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.network import Network
from lidistill.students.registry import VOXEL_KINDS
from lidistill.taxonomy import Taxonomy
from lidistill.teachers.registry import teacher_names
from lidistill.training.recipe import AnyRecipe, DistilRecipe
from lidistill.training.run_folder import FolderConfig, RunFolder, fill, load_weights, save_weights


class ModelConfig(BaseModel):
    """What one must know to build a network again and to feed it: the metadata of ``model.safetensors``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    student: StudentConfig
    head: HeadConfig
    classes: tuple[str, ...] | None = None
    """Class names of a segmentation head; None for a distillation head."""
    taxonomy: str | None = None
    voxel: float = 0.1
    sensors: tuple[Sensor, ...] = ()
    """The lidars it was trained on, with the intensity statistics that were used."""

    def class_list(self) -> Taxonomy | None:
        """Its classes with names and colours: the built-in list of that name, or one that is made of the names."""
        if self.classes is None:
            return None
        known = self.taxonomy in class_lists.names()
        return class_lists.load(self.taxonomy or "") if known else class_lists.from_names(self.classes)


class Pretraining(BaseModel):
    """What a backbone learned from before it saw a label."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    """Name of the recipe it was distilled by; of a released checkpoint, the method."""
    sources: tuple[str, ...] = ()
    objective: str = ""
    cameras: str = ""
    teachers: tuple[str, ...] = ()
    epochs: int | None = None

    @classmethod
    def by(cls, recipe: DistilRecipe, sources: tuple[str, ...]) -> Pretraining:
        """What ``recipe`` does on ``sources``."""
        return cls(
            recipe=recipe.name,
            sources=sources,
            objective=recipe.objective,
            cameras=recipe.cameras,
            teachers=tuple(teacher.name for teacher in recipe.teachers),
            epochs=recipe.epochs,
        )


class RunConfig(FolderConfig):
    """``recipe.yaml`` of a lidar network."""

    verb: Literal["pretrain", "probe", "finetune", "adapt", "import-checkpoint"]
    parent: str | None = None
    """The run whose backbone this one started from."""
    pretraining: Pretraining | None = None
    """How that backbone was distilled; None for random weights."""
    model: ModelConfig
    recipe: AnyRecipe | None = Field(default=None, discriminator="kind")
    teacher_weights: dict[str, str] = Field(default_factory=dict)
    """The fingerprint of every teacher, by its name in the recipe; empty in runs of older versions."""

    def fingerprints(self) -> tuple[str | None, ...]:
        """Of every teacher in the order of the recipe; None where it was not written down, or two share a name."""
        known = self.recipe.teachers if isinstance(self.recipe, DistilRecipe) else ()
        names = [one.name for one in known]
        return tuple(self.teacher_weights.get(name) if names.count(name) == 1 else None for name in names)

    def taught(self) -> Pretraining | None:
        """How the backbone of this run was distilled, here or, as far as it was written down, in a run before it."""
        if isinstance(self.recipe, DistilRecipe):
            return Pretraining.by(self.recipe, self.sources)
        return _released(self.model.student) if self.verb == "import-checkpoint" else self.pretraining


def _released(student: StudentConfig) -> Pretraining:
    """The method of an imported backbone, as its student tells: those of ScaLR+ have GELU."""
    if student.kind in VOXEL_KINDS:
        return Pretraining(recipe="slidr", objective="slidr", cameras="all")
    name = "scalr-plus" if student.activation == "gelu" else "scalr"
    return Pretraining(recipe=name, objective="similarity", cameras="one")


class Run(RunFolder[RunConfig]):
    """The run folder of a lidar network."""

    config_type = RunConfig
    makers = "pretrain, probe, finetune or adapt"
    other: ClassVar = {"teach-images": "holds an image network; give it to pretrain, as --teacher"}

    def origin(self) -> Run:
        """The first run of those that led to this one, as far as they are there: where the backbone was distilled."""
        found, seen = self, {self.path.resolve()}
        while found.config.parent is not None:
            before = found.named(f"{found.config.parent}/recipe.yaml").parent
            if before.resolve() in seen or not (before / "recipe.yaml").is_file():
                break
            try:
                found = Run.open(before)
            except InputError:  # a damaged one, or there is something else now
                break
            seen.add(before.resolve())
        return found

    def taught(self) -> Pretraining | None:
        """How the backbone was distilled, here or in a run before this one."""
        return self.config.taught() or self.origin().config.taught()  # an older version did not write it down

    def distillation(self) -> DistilRecipe | None:
        """What this run was distilled by, teachers that are files or folders where they are found now; None for a run
        that was not.
        """
        recipe = self.config.recipe
        if not isinstance(recipe, DistilRecipe):
            return None
        found = tuple(
            one.model_copy(update={"name": str(path)})
            if one.name not in teacher_names() and (path := self.named(one.name)).exists()
            else one
            for one in recipe.teachers
        )
        return recipe.model_copy(update={"teacher": found if isinstance(recipe.teacher, tuple) else found[0]})

    def named(self, path: str) -> Path:
        """Where a relative ``path`` that this run names leads: as seen from where its command was given, or from the
        nearest folder above the run, or else from here.
        """
        run = self.path.resolve()
        bases = (*([run / self.config.base] if self.config.base else []), *run.parents)
        looked = (base / Path(path).expanduser() for base in bases)
        return next((found.resolve() for found in looked if found.exists()), Path(path))

    def save_network(self, network: Network, model: ModelConfig | None = None) -> None:
        """Write ``model.safetensors`` with the configuration in its metadata."""
        save_weights(network, model or self.config.model, self.path / "model.safetensors")

    def load_network(self) -> tuple[Network, ModelConfig]:
        """Build the network and load its weights, in evaluation mode on the CPU."""
        return load_network(self.path / "model.safetensors")


def load_network(file: Path) -> tuple[Network, ModelConfig]:
    """Read a ``model.safetensors``: the network in evaluation mode, and its configuration."""
    config, state = load_weights(file, ModelConfig)
    network = Network(config.student, config.head)
    fill(network, state, file)
    return network.eval(), config
