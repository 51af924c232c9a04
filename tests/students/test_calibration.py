"""Self-calibrated convolutions: against dense ones, packed, and as a part of a network that is saved and folded."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_sparse import dense_weight
from torch.nn import functional

from lidistill.students.batch import PointBatch
from lidistill.students.calibration import (
    REDUCTION,
    CalibratedTokenizer,
    Calibration,
    Convolution,
    Grid,
    SelfCalibrated,
)
from lidistill.students.config import CalibrationConfig, HeadConfig
from lidistill.students.network import Network, classified
from lidistill.students.registry import student_config

FOV = ((-16.0, 16.0), (-16.0, 16.0), (-4.0, 4.0))
STUDENTS = ("waffleiron-2-12", "minkunet-18-12")


def network(student: str = "waffleiron-2-12", outputs: int = 7, layers: int = 2) -> Network:
    """With a calibration of voxels of half a metre, in evaluation mode, statistics unlike those of any batch here."""
    torch.manual_seed(0)
    voxels = {"voxels": {"size": 0.5}} if student.startswith("minkunet") else {}
    head = HeadConfig(kind="linear", outputs=outputs, calibration=CalibrationConfig(layers=layers, voxel=0.5))
    found = Network(student_config(student, fov=FOV, **voxels), head).eval()
    for module in found.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return found


def points(count: int, seed: int = 0) -> NDArray[np.float32]:
    low, high = np.array(FOV).T / 2
    return np.random.default_rng(seed).uniform(low, high, (count, 3)).astype(np.float32)


def packed(found: Network, *clouds: NDArray[np.float32]) -> PointBatch:
    features = [np.random.default_rng(len(cloud)).normal(size=(len(cloud), 5)).astype(np.float32) for cloud in clouds]
    return found.tokenizer.collate([found.tokenizer(c, f) for c, f in zip(clouds, features, strict=True)])


class Cubes:
    """A student's tokenizer that prepares nothing."""

    def inside(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.ones(len(points), np.bool_)

    def __call__(self, coords: NDArray[np.float32], features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {"coords": coords, "features": features}

    def collate(self, clouds: list[dict[str, NDArray[np.float32]]]) -> PointBatch:
        coords, features = (torch.from_numpy(np.concatenate([c[k] for c in clouds])) for k in ("coords", "features"))
        return PointBatch(coords, features, torch.tensor([0, len(coords)]))


def test_on_a_full_grid_a_layer_is_that_of_dense_convolutions() -> None:
    """One point in every voxel of 8 x 4 x 8; the dense layer is written out with conv3d, avg_pool3d, interpolate."""
    size = (8, 4, 8)
    cells = np.array(list(product(*map(range, size))))
    coords = (cells + 0.5).astype(np.float32)
    tokenizer = CalibratedTokenizer(Cubes(), 1.0, ((0.0, 8.0), (0.0, 4.0), (0.0, 8.0)))
    batch = tokenizer.collate([tokenizer(coords, coords)])
    torch.manual_seed(1)
    layer = SelfCalibrated(5).double().eval()
    for convolution in (layer.surrounding, layer.gated, layer.last, layer.plain):
        assert isinstance(convolution, Convolution)
        convolution.norm.running_var = torch.rand(convolution.norm.num_features).double() + 0.5
    rows = torch.randn(len(cells), 5, dtype=torch.float64)
    found = layer(rows, Grid.of(batch.prepared, rows.dtype))

    def dense(x: torch.Tensor, convolution: Convolution) -> torch.Tensor:
        norm = convolution.norm
        y = functional.conv3d(x, dense_weight(convolution.conv.weight, 3), padding=1)
        return functional.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    image = rows.T.reshape(1, 5, *size)
    first, second = image[:, :3], image[:, 3:]
    wide = dense(functional.avg_pool3d(first, REDUCTION), layer.surrounding)
    gate = torch.sigmoid(first + functional.interpolate(wide, scale_factor=float(REDUCTION), mode="nearest"))
    gated = dense(gate * dense(first, layer.gated), layer.last)
    expected = image + torch.cat([gated, dense(second, layer.plain)], dim=1).relu()
    torch.testing.assert_close(found, expected[0].reshape(5, -1).T)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_cloud_does_not_feel_its_neighbours_in_the_batch(student: str) -> None:
    found, clouds = network(student), [points(count, count) for count in (300, 1, 120)]
    with torch.no_grad():
        alone = torch.cat([found(packed(found, cloud)) for cloud in clouds])
        together = found(packed(found, *clouds))
    assert together.shape == (421, 7)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_points_of_a_voxel_keep_what_tells_them_apart() -> None:
    """What is added is that of the voxel; the points' own features stay."""
    module = Calibration(6, 2).eval()
    found = network()
    two = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2], [5.0, 5.0, 1.0]], np.float32)
    features = torch.randn(3, 6)
    added = module(features, packed(found, two)) - features
    torch.testing.assert_close(added[0], added[1])
    assert not torch.allclose(added[0], added[2])


@pytest.mark.parametrize("student", STUDENTS)
def test_all_of_it_learns(student: str) -> None:
    found = network(student).train()
    found(packed(found, points(300), points(200, 1))).square().sum().backward()
    assert found.calibration is not None
    for name, parameter in found.calibration.named_parameters():
        assert parameter.grad is not None, name
        # a bias before a norm that is followed by a gate may have none; weights always do
        assert parameter.grad.abs().sum() > 0 or name.endswith("bias"), name


@pytest.mark.parametrize("student", STUDENTS)
def test_a_classifier_becomes_a_part_of_the_last_layer(student: str) -> None:
    found = network(student)
    weight, bias = torch.randn(4, 7), torch.randn(4)
    batch = packed(found, points(50))
    with torch.no_grad():
        scores = classified(found, weight, bias)(batch)
        expected = found(batch) @ weight.T + bias
    assert found.head_config.outputs == 7
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_a_cloud_in_one_coarse_voxel_is_learned_from() -> None:
    """Its statistics say nothing, so those of before are taken, and kept."""
    found = network().train()
    near = points(40) * 0.02 + 1
    before = {name: t.clone() for name, t in found.calibration.state_dict().items() if "surrounding.norm" in name}
    found(packed(found, near.astype(np.float32))).square().sum().backward()
    after = found.calibration.state_dict()
    assert all(torch.equal(after[name], t) for name, t in before.items())
    assert all(torch.isfinite(p.grad).all() for p in found.calibration.parameters() if p.grad is not None)


def test_a_head_reads_unit_vectors_of_the_space_below_it() -> None:
    below = HeadConfig(kind="linear", outputs=7, calibration=CalibrationConfig(layers=1, voxel=0.5))
    config = student_config("waffleiron-2-12", fov=FOV)
    torch.manual_seed(0)
    distilled = Network(config, below).eval()
    reading = Network(config, HeadConfig(kind="linear", outputs=3, reads=below)).eval()
    state = {name.replace("head.", "space.", 1): value for name, value in distilled.state_dict().items()}
    reading.load_state_dict(state, strict=False)
    batch = packed(reading, points(60))
    with torch.no_grad():
        unit = functional.normalize(distilled(batch), dim=1)
        torch.testing.assert_close(reading(batch), reading.head(unit))


def test_a_head_that_reads_both_says_the_mean_of_two_probabilities() -> None:
    below = HeadConfig(kind="linear", outputs=7, calibration=CalibrationConfig(layers=1, voxel=0.5))
    with pytest.raises(ValueError, match="needs the distillation head"):
        HeadConfig(kind="linear", outputs=3, both=True)
    torch.manual_seed(0)
    network = Network(
        student_config("waffleiron-2-12", fov=FOV), HeadConfig(kind="linear", outputs=3, reads=below, both=True)
    ).eval()
    batch = packed(network, points(60))
    with torch.no_grad():
        features = network.backbone(batch)
        unit = functional.normalize(network.space(network.calibration(features, batch)), dim=1)
        mean = (network.head.features(features).softmax(1) + network.head.said(unit).softmax(1)) / 2
        torch.testing.assert_close(network(batch).exp(), mean)
