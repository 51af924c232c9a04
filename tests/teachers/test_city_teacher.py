"""The city teacher: where its cells lie, what it was made from, and that it reads a street it never saw."""

import json
from importlib import resources

import numpy as np
import pytest
import torch
from torch import nn

from lidistill.errors import InputError
from lidistill.teachers import city
from lidistill.teachers.city import CityNetwork, double
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.images import prepare
from lidistill.teachers.registry import load_teacher
from lidistill.teachers.sampling import sample

WEIGHTS = resources.files("lidistill.teachers") / "weights"


def test_doubling_keeps_cells_where_they_are():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    y = double(x, torch.empty(1, 9, 6, 8))
    assert y.shape == (1, 1, 6, 8)
    assert torch.equal(double(x, torch.empty(1, 9, 5, 8)), y[..., :5, :])
    assert torch.equal(y[..., ::2, ::2], x)
    assert y[0, 0, 0, 1] == 0.5
    assert y[0, 0, 1, 0] == 2
    assert torch.equal(y[..., 5, :], y[..., 4, :])


def test_cells_lie_on_multiples_of_four():
    """Kernels and picture mirrored about column 512: features must be mirrored about cell 128."""
    torch.manual_seed(0)
    network = CityNetwork().eval()
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d):
            conv.weight.data = (conv.weight.data + conv.weight.data.flip(-1)) / 2
    image = torch.randn(1, 3, 32, 1024)
    image[..., 513:] = image[..., 1:512].flip(-1)
    with torch.no_grad():
        features = network(image)
    assert features.shape == (1, 64, 8, 256)
    left, right = features[..., 90:128].flip(-1), features[..., 129:167]
    assert torch.allclose(left, right, atol=1e-5)
    assert not torch.allclose(left[..., 1:], right[..., :-1], atol=1e-2)


@pytest.mark.parametrize("size", [(224, 448), (60, 100), (36, 44)])
def test_any_multiple_of_the_stride(size):
    teacher = load_teacher(TeacherConfig(name="city", image_size=size))
    features = teacher(torch.rand(2, 3, *size))
    assert features.shape == (2, teacher.dim, size[0] // 4, size[1] // 4)
    assert features.isfinite().all()


def test_attributes():
    teacher = load_teacher(TeacherConfig(name="city"))
    assert (teacher.name, teacher.dim, teacher.stride, teacher.grid) == ("city", 64, 4, "origin")
    assert teacher.color_statistics is None
    assert not any(p.requires_grad for p in teacher.parameters())
    with pytest.raises(InputError, match="222 x 448 must be a multiple of its stride 4"):
        load_teacher(TeacherConfig(name="city", image_size=(222, 448)))


def test_card_and_size_of_the_weights():
    card = json.loads((WEIGHTS / "city.card.json").read_text())
    assert len((WEIGHTS / "city.safetensors").read_bytes()) <= 4 * 2**20
    assert card["data"]["train"]["seed"] != card["data"]["held_out"]["seed"]
    assert min(part["seed"] for part in (card["data"]["train"], card["data"]["held_out"])) >= 10_000
    assert card["held_out"]["pixel_accuracy_16"] > 0.7
    assert len(card["commit"]) == 40


def test_weights_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(city.resources, "files", lambda _: tmp_path)
    with pytest.raises(InputError, match=r"weights of the city teacher are missing; reinstall"):
        load_teacher(TeacherConfig(name="city"))


def test_reads_a_street_it_never_saw():
    pytest.importorskip("embreex")
    from lidistill import taxonomy
    from lidistill.simulator.scene import scene, simulate_frame

    teacher = load_teacher(TeacherConfig(name="city"))
    classes = taxonomy.load("city-16")
    right = total = 0
    for index, style in enumerate(("grid", "old-town")):
        frame = simulate_frame(scene("spinning-64", style, index, 30_000, 1), 0)
        (image,), (labels,) = frame.images.values(), frame.image_labels.values()
        v, u = np.mgrid[4 : labels.shape[0] : 9, 4 : labels.shape[1] : 9]
        pixels = torch.from_numpy(np.stack([u.ravel(), v.ravel()], 1) * np.array([448, 224]) / labels.shape[::-1])
        features = teacher(prepare(image, (224, 448))[None])
        read = sample(features, torch.zeros(len(pixels), dtype=torch.long), pixels.float(), (224, 448), teacher.grid)
        truth, found = classes.apply(labels[v, u].ravel()), classes.apply(teacher.classifier(read).argmax(1).numpy())
        right, total = right + (truth == found).sum(), total + len(truth)
    assert right / total > 0.6
