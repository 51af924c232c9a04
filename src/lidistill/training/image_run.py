"""``ImageRun``: the run folder of an image network, and of the teacher that it became.

teacher.pt2 teacher.yaml teacher.safetensors   the teacher: program, what must be known of it, its classifier
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from lidistill.teachers.image_network import ImageModel, ImageNetwork
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.run import RunConfig
from lidistill.training.run_folder import FolderConfig, RunFolder, fill, load_weights, save_weights


class ImageRunConfig(FolderConfig):
    """``recipe.yaml`` of an image network."""

    verb: Literal["teach-images"] = "teach-images"
    model: ImageModel
    recipe: ImageRecipe


class ImageRun(RunFolder[ImageRunConfig]):
    """The run folder of an image network."""

    config_type = ImageRunConfig
    makers = "teach-images"
    other: ClassVar = dict.fromkeys(
        get_args(RunConfig.model_fields["verb"].annotation),
        "holds a lidar network, expected an image network; give the --out folder of teach-images",
    )

    def save_network(self, network: ImageNetwork) -> None:
        """Write ``model.safetensors`` with its description in the metadata."""
        save_weights(network, network.model, self.path / "model.safetensors")

    def load_network(self) -> ImageNetwork:
        """Build the network and load its weights, in evaluation mode on the CPU."""
        file = self.path / "model.safetensors"
        model, state = load_weights(file, ImageModel)
        network = ImageNetwork(model)
        fill(network, state, file)
        return network.eval()
