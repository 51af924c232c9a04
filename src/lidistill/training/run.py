"""``Run``: the run folder of a lidar network."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lidistill import taxonomy as class_lists
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

    def taught(self) -> Pretraining | None:
        """How the backbone of this run was distilled, here or in a run before it."""
        if isinstance(self.recipe, DistilRecipe):
            teachers = tuple(teacher.name for teacher in self.recipe.teachers)
            return Pretraining(
                recipe=self.recipe.name,
                sources=self.sources,
                objective=self.recipe.objective,
                cameras=self.recipe.cameras,
                teachers=teachers,
                epochs=self.recipe.epochs,
            )
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
        if self.config.parent is None:
            return self
        found = self.named(f"{self.config.parent}/recipe.yaml")
        return Run.open(found.parent).origin() if found.is_file() else self

    def taught(self) -> Pretraining | None:
        """How the backbone was distilled, here or in a run before this one."""
        origin = self.origin()  # a run of an older version did not write it down
        return self.config.taught() or (None if origin is self else origin.config.taught())

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
        """Where a relative ``path`` that this run names leads: from a folder above it, in which the command was given
        that made it, else from here.
        """
        above = (folder / Path(path).expanduser() for folder in self.path.resolve().parents)
        return next((found for found in above if found.exists()), Path(path))

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
