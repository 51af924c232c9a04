"""Teachers by name."""

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from lidistill.errors import InputError
from lidistill.teachers import registry
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import PROGRAM, is_path, load_teacher, teacher_names
from lidistill.teachers.teacher import Teacher
from programs import knowing, tiny_program


class Flat(Teacher):
    """A third party's teacher."""

    def __init__(self):
        super().__init__(name="flat", dim=3, stride=8, grid="centers", mean=(0.5, 0.5, 0.5), std=(2, 2, 2))
        self.gain = torch.nn.Parameter(torch.ones(()))

    def encode(self, images):
        return torch.nn.functional.avg_pool2d(images, 8) * self.gain


class Point:
    name = "flat"

    @staticmethod
    def load():
        return lambda config: Flat()


def test_the_papers_names_are_known():
    wanted = "dino-vits8 dino-vits16 dino-vitb8 mae-vitb16 clip-vitb16 maskclip-vitb16 sam-vitb sam-vitl sam-vith"
    wanted += " resnet50-moco resnet50-supervised dinov3-vits16 dinov3-vitl16 city"
    wanted += "".join(f" dinov2-vit{size}14 dinov2-vit{size}14-reg" for size in "sblg")
    assert set(wanted.split()) <= set(teacher_names())
    assert all(entry.stride in {4, 8, 14, 16} and entry.licence for entry in CATALOG.values())
    assert all((entry.hub is None) == bool(entry.download) for entry in CATALOG.values())


def test_plug_in(monkeypatch):
    def points(group, name=None):
        assert group == "lidistill.teachers"
        return [Point] if name in {None, "flat"} else []

    monkeypatch.setattr(registry, "entry_points", points)
    assert "flat" in teacher_names()
    teacher = load_teacher(TeacherConfig(name="flat", image_size=(16, 24), grid="origin"))
    assert teacher.grid == "origin"
    assert not teacher.gain.requires_grad
    assert torch.allclose(teacher(torch.full((1, 3, 16, 24), 0.9)), torch.full((1, 3, 2, 3), 0.2))
    matched = load_teacher(TeacherConfig(name="flat", image_size=(16, 24), match_colors=True))
    assert matched.color_statistics.mean == (127.5, 127.5, 127.5)
    with pytest.raises(InputError, match="20 x 24 must be a multiple of its stride 8 in both directions; try 16 x 24"):
        load_teacher(TeacherConfig(name="flat", image_size=(20, 24)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov2-vitl15", r"there is no teacher 'dinov2-vitl15'; did you mean 'dinov2-vitl14'\?"),
        ("citty", "did you mean 'city'"),
        ("./no/such", "the path does not exist"),
        ("/no/such", "the path does not exist"),
        ("resnet50-moco", "download https://dl.fbaipublicfiles.com/moco/.* and give the path"),
        ("nothing.pt2", "the program does not exist"),
    ],
)
def test_unknown_names(name, said):
    with pytest.raises(InputError, match=said):
        load_teacher(TeacherConfig(name=name))


def test_a_path_below_a_folder_that_is_there_is_no_name_of_the_hub(tmp_path, monkeypatch):
    """``runs/images``, as in the examples, before it was made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="teacher runs/images: the path does not exist"):
        load_teacher(TeacherConfig(name="runs/images"))
    paths = {name for name in ("city", "facebook/dino-vits8", "runs/images", "a/b/c", "x.pt2", "~/x", "n/x.pth.tar")}
    assert {name for name in paths if is_path(name)} == paths - {"city", "facebook/dino-vits8"}


def test_the_fingerprint_of_a_teacher_is_of_what_it_says(tmp_path):
    def fingerprint(path, size=(48, 96)):
        return load_teacher(TeacherConfig(name=str(path), image_size=size)).fingerprint()

    path = tiny_program(tmp_path)
    alone = fingerprint(path)
    (tmp_path / "run").mkdir()
    written_again = tmp_path / "run" / PROGRAM
    torch.export.save(torch.export.load(path), written_again)
    assert written_again.read_bytes() != path.read_bytes()
    assert fingerprint(written_again) == fingerprint(written_again.parent) == alone
    knowing(path)
    known = fingerprint(path)
    said = load_file(path.with_suffix(".safetensors"))
    save_file({**said, "bias": said["bias"] + 1}, path.with_suffix(".safetensors"))
    assert len({alone, known, fingerprint(path), fingerprint(tiny_program(tmp_path, "other", features=9))}) == 4
    assert fingerprint("city", (224, 448)) != alone


def test_a_program_in_bfloat16(tmp_path):
    path, images = tiny_program(tmp_path), torch.rand(2, 3, 48, 96)
    small, full = (
        load_teacher(TeacherConfig(name=str(path), image_size=(48, 96), precision=precision))
        for precision in ("bfloat16", "float32")
    )
    torch.testing.assert_close(small(images).float(), full(images), atol=0.05, rtol=0)
    assert not torch.equal(small(images).float(), full(images))


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "net.onnx").write_text("")
    with pytest.raises(InputError, match=r"expected a \.pt2 program"):
        load_teacher(TeacherConfig(name=str(tmp_path / "net.onnx")))


def test_configuration_is_strict():
    with pytest.raises(ValidationError):
        TeacherConfig(name="city", layers="pre-norm")
    with pytest.raises(ValidationError, match="between 8 and 16384"):
        TeacherConfig(name="city", image_size=(0, 448))
    with pytest.raises(ValidationError):
        TeacherConfig(name="")
    assert TeacherConfig.model_validate({"name": "city", "image_size": [64, 96]}).image_size == (64, 96)
