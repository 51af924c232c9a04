"""ResNets: dilation keeps the values, published files load."""

import pytest
import torch

from lidistill.errors import InputError
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import load_teacher
from lidistill.teachers.resnet import dilate
from resnets import torchvision_names

transformers = pytest.importorskip("transformers")


def small(layer_type="bottleneck", **options):
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 2, 2, 2], layer_type=layer_type, **options
    )
    model = transformers.ResNetModel(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize("kind", ["bottleneck", "basic", "bottleneck, step first"])
@pytest.mark.parametrize(("stride", "step"), [(4, 8), (8, 4), (16, 2), (32, 1)])
def test_dilation_keeps_the_values_of_the_original_cells(kind, stride, step):
    layer_type, first = kind.split(",")[0], "first" in kind
    model = small(layer_type, downsample_in_bottleneck=first)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(images).last_hidden_state
        assert dilate(model, stride) == stride
        found = model(images).last_hidden_state
    assert found.shape[-2:] == (64 // stride, 96 // stride)
    assert torch.allclose(found[..., ::step, ::step], expected, atol=1e-4)


def test_folder_gives_a_dense_teacher(tmp_path):
    small().save_pretrained(tmp_path)
    teacher = load_teacher(TeacherConfig(name=str(tmp_path), image_size=(64, 96)))
    assert (teacher.dim, teacher.stride, teacher.grid) == (64, 4, "origin")
    assert teacher(torch.rand(1, 3, 64, 96)).shape == (1, 64, 16, 24)


def test_moco_file_loads(tmp_path):
    torch.manual_seed(1)
    model = transformers.ResNetModel(transformers.ResNetConfig()).eval()
    plain = torchvision_names(model.state_dict())
    assert {"conv1.weight", "layer3.5.conv2.weight", "layer1.0.downsample.1.running_var"} <= plain.keys()
    moco = {f"module.encoder_q.{k}": v for k, v in plain.items()} | {"module.queue": torch.zeros(2, 2)}
    moco["module.encoder_q.fc.0.weight"] = torch.zeros(4, 4)
    path = tmp_path / "moco_v2.pth.tar"
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": moco}, path)
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(64, 64)))
    assert (teacher.dim, teacher.stride) == (2048, 4)
    with torch.no_grad():
        expected = model((torch.full((1, 3, 64, 64), 0.7) - teacher.mean) / teacher.std).last_hidden_state
    found = teacher(torch.full((1, 3, 64, 64), 0.7))[..., ::8, ::8]
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"x\.pth: expected a file of weights"):
        load_teacher(TeacherConfig(name=str(path)))
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="expected a dictionary of weights, found list"):
        load_teacher(TeacherConfig(name=str(path)))
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(InputError, match="not those of a ResNet-50"):
        load_teacher(TeacherConfig(name=str(path)))


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="expected a file of weights"):
        load_teacher(TeacherConfig(name=str(tmp_path / "evil.pth")))
    assert not (tmp_path / "ran").exists()
