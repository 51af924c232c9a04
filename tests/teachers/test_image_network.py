"""Image networks that become teachers: what is exported is what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lidistill.errors import InputError
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.export import save_teacher
from lidistill.teachers.image_network import ImageModel, ImageNetwork, Kind, normalise
from lidistill.teachers.registry import load_teacher

CLASSES = ("road", "car", "tree")


def network(kind: Kind = "small", width: float = 0.25) -> ImageNetwork:
    """Random weights, and statistics as if it had learned."""
    torch.manual_seed(0)
    made = ImageNetwork(ImageModel(network=kind, width=width, classes=CLASSES, taxonomy="mine")).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImageNetwork]:
    folder, made = tmp_path_factory.mktemp("runs") / "images", network()
    folder.mkdir()
    save_teacher(made, folder)
    return folder, made


@pytest.mark.parametrize("size", [(64, 96), (36, 44), (60, 200)])
def test_the_folder_is_a_teacher_that_says_what_the_network_says(
    exported: tuple[Path, ImageNetwork], size: tuple[int, int]
) -> None:
    folder, made = exported
    teacher = load_teacher(TeacherConfig(name=str(folder), image_size=size))
    assert (teacher.name, teacher.dim, teacher.stride, teacher.grid) == ("images", 64, 4, "origin")
    images = torch.rand(3, 3, *size)
    with torch.no_grad():
        features, scores = made(normalise(images, made.mean, made.std))
    assert torch.allclose(teacher(images), features, atol=1e-4)
    known = teacher.classifier
    assert known is not None
    assert (known.classes, known.taxonomy) == (CLASSES, "mine")
    read = torch.einsum("bdhw,cd->bchw", teacher(images), known.weight) + known.bias[:, None, None]
    assert torch.allclose(read, scores, atol=1e-4)
    assert features.min() < 0 < features.max()


def test_a_resnet_is_exported_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    made = network("resnet50", 1.0)
    save_teacher(made, tmp_path)
    teacher = load_teacher(TeacherConfig(name=str(tmp_path / "teacher.pt2"), image_size=(36, 64)))
    images = torch.rand(1, 3, 36, 64)
    with torch.no_grad():
        features, _ = made(normalise(images, made.mean, made.std))
    assert (teacher.name, teacher.dim, teacher.stride) == ("teacher", 256, 4)
    assert torch.allclose(teacher(images), features, atol=1e-3)
    assert features.min() < 0 < features.max()


@pytest.fixture
def copied(exported: tuple[Path, ImageNetwork], tmp_path: Path) -> Path:
    for file in exported[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder: Path, **values: object) -> None:
    said = yaml.safe_load((folder / "teacher.yaml").read_text()) | values
    kept = {key: value for key, value in said.items() if value is not None}
    (folder / "teacher.yaml").write_text(yaml.safe_dump(kept))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"classes": ["road", "car"]},
            r"expected \{'weight': \(2, 64\), 'bias': \(2,\)\} for 2 classes and 64 features",
        ),
        ({"classes": None}, "names the classifier teacher.safetensors, but not the classes of its rows; add classes"),
        ({"classifier": "lost.safetensors"}, r"lost\.safetensors: the classifier cannot be read"),
        ({"classifier": "teacher.yaml"}, r"teacher\.yaml: the classifier cannot be read"),
        ({"classifer": "a"}, "unknown key 'classifer'; did you mean 'classifier'"),
    ],
)
def test_a_sidecar_that_does_not_fit(copied: Path, values: dict[str, object], said: str) -> None:
    change(copied, **values)
    with pytest.raises(InputError, match=said):
        load_teacher(TeacherConfig(name=str(copied), image_size=(64, 96)))


def test_a_classifier_of_other_features(copied: Path) -> None:
    tensors = load_file(copied / "teacher.safetensors")
    save_file({"weight": tensors["weight"][:, :32].contiguous()}, copied / "teacher.safetensors")
    with pytest.raises(InputError, match=r"found \{'weight': \(3, 32\)\}; export both from one network"):
        load_teacher(TeacherConfig(name=str(copied), image_size=(64, 96)))


def test_without_a_classifier_it_knows_no_classes(copied: Path) -> None:
    change(copied, classifier=None)
    teacher = load_teacher(TeacherConfig(name=str(copied), image_size=(64, 96)))
    assert teacher.classifier is None


def test_an_unfinished_run_is_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("verb: teach-images\n")
    with pytest.raises(InputError, match=r"has no teacher\.pt2; finished runs of teach-images have one"):
        load_teacher(TeacherConfig(name=str(tmp_path)))
