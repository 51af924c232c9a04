"""A user's own network as a program."""

import importlib.util

import pytest
import torch
from torch import nn

from lidistill.errors import InputError
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.program import ProgramTeacher
from lidistill.teachers.registry import load_teacher


class Own(nn.Module):
    """Stride 4, six features, two scores."""

    def __init__(self, outputs=2):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=4, padding=1)
        self.outputs = outputs

    def forward(self, images):
        features = self.conv(images)
        return features if self.outputs == 1 else (features, features[:, :2])


def export(folder, outputs=2, size=(32, 64), fixed=False, network=None):
    network = network or Own(outputs)
    dim = torch.export.Dim
    rows, columns = (dim(name, min=2, max=512) for name in ("rows", "columns"))
    shapes = None if fixed else ({0: dim("batch", min=1, max=64), 2: 4 * rows, 3: 4 * columns},)
    program = torch.export.export(network.eval(), (torch.rand(2, 3, *size),), dynamic_shapes=shapes)
    path = folder / "own.pt2"
    torch.export.save(program, path)
    return path, network


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_program_is_a_teacher(tmp_path, outputs):
    path, network = export(tmp_path, outputs)
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(32, 64)))
    images = torch.rand(3, 3, 64, 96)
    assert (teacher.name, teacher.dim, teacher.stride, teacher.grid) == ("own", 6, 4, "centers")
    assert torch.allclose(teacher(images), network.conv(images), atol=1e-6)
    assert not teacher(images).requires_grad
    assert teacher.color_statistics is None
    teacher.train()
    teacher.eval()


class Positions(Own):
    """Makes a tensor by itself, and brings pictures to the type of the weights, as vision models of transformers do."""

    def forward(self, images):
        features = self.conv(images.to(self.conv.weight.dtype))
        return features + torch.arange(features.shape[-1], dtype=features.dtype, device=features.device)


class Nested(Positions):
    """A part that is exported as a graph of its own."""

    def forward(self, images):
        with torch.no_grad():
            return super().forward(images)


def test_what_a_program_makes_itself_moves_with_it(tmp_path):
    path, network = export(tmp_path, network=Positions())
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(32, 64)))
    assert teacher.to("meta")(torch.rand(2, 3, 32, 64, device="meta")).device.type == "meta"
    back = load_teacher(TeacherConfig(name=str(path), image_size=(32, 64)))
    images = torch.rand(2, 3, 32, 64)
    assert torch.allclose(back(images), network(images), atol=1e-6)


@pytest.mark.parametrize("kind", [Positions, Nested])
def test_a_program_under_mixed_precision(kind, tmp_path):
    path, network = export(tmp_path, network=kind())
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(32, 64)))
    images = torch.rand(2, 3, 32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = teacher(images)
    assert torch.allclose(mixed, network(images), atol=0.2)
    assert not torch.equal(mixed, network(images))


def test_a_program_that_stands_no_bfloat16(tmp_path):
    """Its cast to the type of the weights was written down as one to float32."""
    path, _ = export(tmp_path, network=Positions())
    with pytest.raises(InputError, match=r"in bfloat16 on cpu .* set the teacher's precision to float32"):
        load_teacher(TeacherConfig(name=str(path), image_size=(32, 64), precision="bfloat16"))


def test_sidecar(tmp_path):
    path, network = export(tmp_path)
    path.with_suffix(".yaml").write_text(
        "stride: 4\ngrid: origin\nmean: [0.5, 0.4, 0.3]\nstd: [0.2, 0.2, 0.1]\n"
        "colors: {mean: [73, 83, 72], std: [45, 46, 45]}\nclasses: [road, car]\n"
    )
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(32, 64)))
    assert isinstance(teacher, ProgramTeacher)
    assert (teacher.grid, teacher.classes) == ("origin", ("road", "car"))
    assert teacher.color_statistics.mean == (73, 83, 72)
    images = torch.rand(1, 3, 32, 64)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1), torch.tensor([0.2, 0.2, 0.1]).view(1, 3, 1, 1)
    assert torch.allclose(teacher(images), network.conv((images - mean) / std), atol=1e-5)
    off = load_teacher(TeacherConfig(name=str(path), image_size=(32, 64), match_colors=False))
    assert off.color_statistics is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strid: 4", r"own\.yaml: unknown key 'strid'; did you mean 'stride'\?"),
        ("grid: middle", r"own\.yaml: grid: input should be 'corners', 'centers' or 'origin', found 'middle'"),
        ("stride: 7", "no whole stride of 7"),
        ("colors: {mean: [1, 2], std: [1, 2, 3]}", r"own\.yaml: colors\.mean"),
        ("a: [", "not readable as YAML"),
        ("- 3", r"own\.yaml"),
    ],
)
def test_bad_sidecar(tmp_path, text, said):
    path, _ = export(tmp_path)
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_teacher(TeacherConfig(name=str(path), image_size=(32, 64)))


def test_unmatched_colours_cannot_be_forced(tmp_path):
    path, _ = export(tmp_path)
    with pytest.raises(InputError, match=r"match_colors is on but the colours .* are not known"):
        load_teacher(TeacherConfig(name=str(path), image_size=(32, 64), match_colors=True))


def test_size_the_program_was_not_exported_for(tmp_path):
    path, _ = export(tmp_path, fixed=True)
    with pytest.raises(InputError, match=r"fails on a picture \(1, 3, 64, 64\).*dynamic"):
        load_teacher(TeacherConfig(name=str(path), image_size=(64, 64)))


def test_output_must_be_a_map(tmp_path):
    class Pooled(nn.Module):
        def forward(self, images):
            return images.mean((2, 3))

    program = torch.export.export(Pooled(), (torch.rand(1, 3, 32, 64),))
    torch.export.save(program, tmp_path / "pooled.pt2")
    with pytest.raises(InputError, match=r"must be a feature map \(B, D, h, w\), found \(1, 3\)"):
        load_teacher(TeacherConfig(name=str(tmp_path / "pooled.pt2"), image_size=(32, 64)))


def test_damaged_and_missing_programs(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_teacher(TeacherConfig(name=str(tmp_path / "none.pt2")))
    path, _ = export(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"own\.pt2: not a program that torch .* can load"):
        load_teacher(TeacherConfig(name=str(path)))


def test_a_real_network(real, tmp_path):
    """The Cityscapes network of the shared tools; cell (i, j) on pixel (8 i, 8 j)."""
    weights = real("weights/espnet/encoder_espnet_p_2_q_8.pth")
    tool = weights.parents[3] / "tools/make_real_teacher.py"
    path = tmp_path / "espnet_c.pt2"
    spec = importlib.util.spec_from_file_location("make_real_teacher", tool)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.export_program(made.load_teacher(weights), path)
    path.with_suffix(".yaml").write_text(f"grid: origin\nclasses: {list(made.CLASSES)}\n")
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(96, 320)))
    assert (teacher.dim, teacher.stride, teacher.grid) == (256, 8, "origin")
    assert len(teacher.classes) == 20
    shifted = torch.rand(1, 3, 96, 320)
    moved = shifted.roll((8, 16), (2, 3))
    here, there = teacher(shifted)[..., 6:-4, 12:-8], teacher(moved)[..., 7:-3, 14:-6]
    assert torch.nn.functional.cosine_similarity(here, there).mean() > 0.95
