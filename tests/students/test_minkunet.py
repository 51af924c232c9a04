"""MinkUNet and SPVCNN: packing, the closed circle, interpolation, sizes, training with the verbs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lidistill.cli import main
from lidistill.errors import InputError
from lidistill.students.batch import Cloud
from lidistill.students.config import HeadConfig, VoxelConfig
from lidistill.students.minkunet import MinkUNet
from lidistill.students.network import Network
from lidistill.students.registry import build_student, student_config
from lidistill.students.student import Student
from lidistill.students.voxels import LEVELS, VoxelTokenizer
from lidistill.training.layer_decay import layer_decay_groups
from programs import tiny_program

FOV = [[-16.0, 16.0], [-16.0, 16.0], [-4.0, 4.0]]


def network(name: str = "minkunet-18-12", **voxels: Any) -> Student:
    torch.manual_seed(0)
    size = {"size": 0.5, **voxels}
    student = build_student(student_config(name, fov=FOV, voxels=size)).eval()
    for module in student.modules():  # statistics unlike those of any batch here
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return student


def points(count: int, seed: int = 0) -> NDArray[np.float32]:
    """A ground and some walls."""
    rng = np.random.default_rng(seed)
    radius, azimuth = rng.uniform(2, 15, count), rng.uniform(-np.pi, np.pi, count)
    height = np.where(rng.random(count) < 0.7, rng.normal(-1.5, 0.05, count), rng.uniform(-1.5, 2, count))
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1).astype(np.float32)


def cloud(student: Student, coords: NDArray[np.float32], features: NDArray[np.float32] | None = None) -> Cloud:
    if features is None:
        features = np.random.default_rng(len(coords)).normal(size=(len(coords), 5)).astype(np.float32)
    return student.tokenizer(coords, features)


def outputs(student: Student, *clouds: Cloud) -> torch.Tensor:
    with torch.no_grad():
        return student(student.tokenizer.collate(clouds))


@pytest.mark.parametrize("name", ["minkunet-18-12", "spvcnn-18-12"])
@pytest.mark.parametrize("shape", ["cubic", "cylindrical"])
@pytest.mark.parametrize("interpolate", [False, True])
def test_a_cloud_does_not_feel_its_neighbours_in_the_batch(name: str, shape: str, interpolate: bool) -> None:
    student = network(name, shape=shape, interpolate=interpolate)
    clouds = [cloud(student, points(count, seed)) for seed, count in enumerate((400, 1, 150))]
    alone = torch.cat([outputs(student, one) for one in clouds])
    together = outputs(student, *clouds)
    assert together.shape == (551, 12)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("interpolate", [False, True])
def test_the_circle_is_closed_or_has_a_seam(interpolate: bool) -> None:
    """Turned by whole voxels of every level, a scan keeps its features when the circle is closed."""
    coords, degrees = points(600), 360 / 64
    azimuth, radius = np.arctan2(coords[:, 1], coords[:, 0]), np.hypot(coords[:, 0], coords[:, 1])
    turn = np.radians(16 * degrees)
    # kept away from the voxels' borders, where rounding would decide
    cell = np.radians(degrees)
    azimuth = (np.floor(azimuth / cell) + 0.2 + 0.6 * np.random.default_rng(0).random(len(azimuth))) * cell
    features = np.random.default_rng(1).normal(size=(600, 5)).astype(np.float32)

    def found(closed: bool, angle: NDArray[np.float64]) -> torch.Tensor:
        student = network(shape="cylindrical", degrees=degrees, closed=closed, interpolate=interpolate)
        turned = np.stack([radius * np.cos(angle), radius * np.sin(angle), coords[:, 2]], axis=1)
        return outputs(student, cloud(student, turned.astype(np.float32), features))

    torch.testing.assert_close(found(True, azimuth), found(True, azimuth + turn), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(found(False, azimuth), found(False, azimuth + turn), atol=1e-3)


def test_points_of_one_voxel_share_a_feature_unless_it_is_interpolated() -> None:
    coords = np.array([[1.05, 1.05, 0.05], [1.45, 1.45, 0.45], [4.0, 4.0, 0.0], [1.6, 1.2, 0.2]], np.float32)
    read = outputs(network(), cloud(network(), coords))
    assert torch.equal(read[0], read[1])
    assert not torch.equal(read[0], read[3])
    smooth = network(interpolate=True)
    read = outputs(smooth, cloud(smooth, coords))
    assert not torch.allclose(read[0], read[1])


def test_voxels_of_every_level() -> None:
    tokenizer = VoxelTokenizer(((-16, 16), (-16, 16), (-4, 4)), VoxelConfig())
    coords = points(300)
    made = tokenizer(coords, coords)
    cells = np.floor((coords.astype(np.float64) - [-16, -16, -4]) / 0.1).astype(np.int64)
    for level in range(LEVELS):
        assert made["sizes"][level] == len(np.unique(cells // 2**level, axis=0))
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


def test_a_circle_of_an_odd_number_of_voxels_keeps_parents_apart() -> None:
    """360, 180, 90, 45, 23: the last voxel of the coarsest level is half a one, and its own."""
    config = student_config("spvcnn-18-12", voxels={"shape": "cylindrical", "size": 0.5})
    tokenizer = VoxelTokenizer(((-16, 16), (-16, 16), (-4, 4)), config.voxels, (0, 4))  # type: ignore[arg-type]
    azimuth = np.radians(np.arange(-179.5, 180))
    made = tokenizer(np.stack([4 * np.cos(azimuth), 4 * np.sin(azimuth), 0 * azimuth], 1).astype(np.float32), azimuth)
    assert np.bincount(made["cells_4"]).tolist() == [16] * 22 + [8]
    assert (np.diff(made["cells_4"]) >= 0).all()


def test_spvcnn_interpolates_unless_told_otherwise() -> None:
    def smooth(name: str, **voxels: Any) -> bool:
        return bool(build_student(student_config(name, voxels=voxels)).tokenizer.voxels.interpolate)  # type: ignore[attr-defined]

    assert smooth("spvcnn-18-6", size=0.5)
    assert not smooth("spvcnn-18-6", interpolate=False)
    assert not smooth("minkunet-18-6", size=0.5)


def test_layer_wise_rates_of_the_point_branch() -> None:
    """A piece of it learns as fast as the stage after which it meets the voxels."""
    net = Network(student_config("spvcnn-18-6"), HeadConfig(kind="probe", outputs=2))
    rate = {id(p): group["lr"] for group in layer_decay_groups(net, 1.0, 0.5, 0.0) for p in group["params"]}
    backbone = net.backbone
    assert isinstance(backbone, MinkUNet)
    for number in (3, 5, 7):
        first = next(backbone.points[str(number)].parameters())
        assert rate[id(first)] == rate[id(next(backbone.layers[number].parameters()))] == 0.5 ** (8 - number)


def test_an_empty_cloud_and_a_point_outside() -> None:
    student = network()
    nothing = cloud(student, np.zeros((0, 3), np.float32))
    full = cloud(student, points(50))
    assert outputs(student, nothing, full).shape == (50, 12)
    assert not student.tokenizer.inside(np.array([[0, 0, 9], [np.nan, 0, 0]], np.float32)).any()
    with pytest.raises(ValueError, match="inside the field of view"):
        cloud(student, np.array([[0, 0, 9]], np.float32))


@pytest.mark.parametrize("name", ["minkunet-18-12", "spvcnn-18-12"])
def test_everything_learns(name: str) -> None:
    student = network(name, interpolate=True).train()
    batch = student.tokenizer.collate([cloud(student, points(300)), cloud(student, points(200, 1))])
    student(batch).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


def test_the_published_size() -> None:
    """Res16UNet34C has 37.9 million weights (Choy et al.); its last layer is our head."""
    count = sum(p.numel() for p in build_student(student_config("minkunet-34-96", in_channels=1)).parameters())
    assert round(count / 1e6, 1) == 37.8
    with pytest.raises(InputError, match="is 18 or 34 deep"):
        student_config("minkunet-20-96")
    with pytest.raises(InputError, match="has no voxels"):
        student_config("waffleiron-6-96", voxels={"size": 0.1})
    with pytest.raises(InputError, match="do not divide the circle evenly"):
        student_config("minkunet-18-96", voxels={"degrees": 0.7})


@pytest.mark.parametrize("student", ["minkunet-18-6", "spvcnn-18-6"])
def test_from_distillation_to_labels(student: str, tmp_path: Path, tiny_rig: Callable[..., Path]) -> None:
    """The verbs, with a student of sparse convolutions; layer-wise rates find its stages."""
    rig, teacher = tiny_rig(tmp_path / "rig", frames=5), tiny_program(tmp_path)
    small = ["--set", "batch_size=2", "--set", "points=500", "--set", "workers=1", "--epochs", "1"]
    voxels = ["--student", student, "--set", "student.voxels.size=0.5", "--set", "student.voxels.shape=cylindrical"]
    head = ["--set", "teacher.image_size=[48, 96]", "--set", "head_hidden=8", "--set", "min_pairs=8"]
    pretrain = ["pretrain", str(rig), "--recipe", "city", "--teacher", str(teacher), *voxels, *head, *small]
    assert main([*pretrain, "--out", str(tmp_path / "run")]) == 0
    tune = ["--set", "layer_decay=0.9", *small]
    data = ["--data", str(rig)]
    assert main(["finetune", str(tmp_path / "run"), *data, "--out", str(tmp_path / "tuned"), *tune]) == 0
    scans = str(rig / "scans" / "000000.bin")
    assert main(["predict", str(tmp_path / "tuned"), scans, "--out", str(tmp_path / "labels")]) == 0
    assert (tmp_path / "labels" / "000000.label").is_file()
