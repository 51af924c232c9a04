"""Learning the classes of pixels: the recipe, what samples and losses are, where weights start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lidistill.datasets.pictures.pictures import PictureSource, open_pictures
from lidistill.errors import InputError
from lidistill.teachers.city import load_city
from lidistill.teachers.image_network import ImageModel, ImageNetwork, Kind
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.image_samples import ImageBatch, ImageSamples
from lidistill.training.images import class_weights, pixel_loss, start_from
from lidistill.training.recipe import load_recipe
from lidistill.training.samples import Skip
from resnets import torchvision_names


def recipe(*overrides: str) -> ImageRecipe:
    small = ("image_size=[64, 128]", "crop_size=[48, 96]", *overrides)
    loaded = load_recipe("city-images", small)
    assert isinstance(loaded, ImageRecipe)
    return loaded


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> PictureSource:
    return open_pictures(str(tiny_rig(tmp_path_factory.mktemp("yard") / "rig", frames=3, cameras=2, masks=True)))


# ---- the recipe


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("image_size=[62, 128]", "image_size: height and width must be multiples of 4, from 32 on"),
        ("crop_size=[48, 28]", "crop_size: height and width must be multiples of 4, from 32 on"),
        ("crop_size=[68, 96]", "crop_size: no larger than image_size"),
        ("zoom=[1.5, 0.7]", "zoom: two shares above 0, the smaller one first"),
        ("network=resnet50", "width is of the network small; resnet50 has one width"),
        ("crop_sise=[48, 96]", "unknown key 'crop_sise'; did you mean 'crop_size'?"),
        ("student=waffleiron-6-64", "unknown key 'student'"),
        ("voxel=0.1", "unknown key 'voxel'"),
    ],
)
def test_what_a_recipe_may_not_say(override: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(override)
    assert said in str(error.value)


def test_the_built_in_recipe_for_real_pictures() -> None:
    loaded = load_recipe("teach-images")
    assert isinstance(loaded, ImageRecipe)
    assert (loaded.network, loaded.start) == ("resnet50", None)


# ---- samples


def test_a_sample_is_a_function_of_seed_pass_and_index(pictures: PictureSource) -> None:
    samples = ImageSamples(pictures, recipe())
    sample, again, later = samples[(0, 1)], samples[(0, 1)], samples[(1, 1)]
    assert isinstance(sample, ImageBatch)
    assert isinstance(again, ImageBatch)
    assert isinstance(later, ImageBatch)
    assert sample.images.shape == (1, 3, 48, 96)
    assert sample.classes.shape == (1, 12, 24)
    assert torch.equal(sample.images, again.images)
    assert not torch.equal(sample.images, later.images)
    assert set(sample.classes.unique().tolist()) <= {*range(16), 255}


def test_damaged_pictures_are_left_out_of_a_batch(tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=3, masks=True)
    (rig / "images/front/000000.png").write_bytes(b"nothing")
    (rig / "masks/front/000001.png").unlink()
    samples = ImageSamples(open_pictures(str(rig)), recipe())
    drawn = [samples[(0, index)] for index in range(3)]
    collated = samples.collate(drawn)
    assert isinstance(collated.batch, ImageBatch)
    assert len(collated.batch.images) == 1
    assert [skip.token for skip in collated.skipped] == ["rig[0]", "rig[1]"]
    assert "has no mask" in collated.skipped[1].reason
    assert samples.collate([Skip("rig[0]", "damaged")]).batch is None


# ---- loss


def test_loss_is_the_mean_over_what_has_a_class() -> None:
    scores, classes = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    classes[0, :2] = 255
    weight = torch.tensor([1.0, 2.0, 0.5])
    expected = functional.cross_entropy(scores, classes, weight, ignore_index=255)
    assert torch.isclose(pixel_loss(scores, classes, weight), expected)
    nothing = pixel_loss(scores.requires_grad_(), torch.full_like(classes, 255), weight)
    nothing.backward()
    assert nothing == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_rare_classes_weigh_more(pictures: PictureSource) -> None:
    assert pictures.taxonomy is not None
    shares = np.zeros(256)
    for index in range(len(pictures)):
        shares += np.bincount(pictures[index].classes.ravel(), minlength=256)  # type: ignore[union-attr]
    shares = shares[:16] / shares[:16].sum()
    weight = class_weights(pictures, 16, 0.5).numpy()
    np.testing.assert_allclose(weight, np.maximum(shares, 1e-4) ** -0.5, rtol=1e-5)
    assert len(np.unique(weight)) > 3
    assert (class_weights(pictures, 16, 0) == 1).all()


# ---- start


def network(kind: Kind = "small", width: float = 1.0) -> ImageNetwork:
    torch.manual_seed(1)
    return ImageNetwork(ImageModel(network=kind, width=width, classes=("road", "car"), taxonomy="mine"))


def test_from_the_shipped_weights() -> None:
    made, given = network(), load_city()
    start_from(made, "city")
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(made.eval()(images)[0], given.network(images))
    assert all(parameter.requires_grad for parameter in made.parameters())
    with pytest.raises(InputError, match=r"start = city: is of network = small with width = 1\.0; set those"):
        start_from(network(width=0.5), "city")


def test_from_a_resnet_file(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(2)
    given = transformers.ResNetModel(transformers.ResNetConfig())
    torch.save({"state_dict": torchvision_names(given.state_dict())}, tmp_path / "moco.pth")
    made = network("resnet50")
    start_from(made, str(tmp_path / "moco.pth"))
    expected = given.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in made.encoder.backbone.state_dict().items())
    with pytest.raises(InputError, match="is a file for network = resnet50, not small"):
        start_from(network(), str(tmp_path / "moco.pth"))


def test_from_what_is_not_there() -> None:
    with pytest.raises(InputError, match="start = nowhere: is not there; expected city, a ResNet-50 file"):
        start_from(network(), "nowhere")
