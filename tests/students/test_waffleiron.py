"""The packed network against a plain dense one, and what packing, drop path and checkpointing must not change."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lidistill.students.batch import PointBatch
from lidistill.students.config import HeadConfig
from lidistill.students.embedding import Embedding
from lidistill.students.network import Network
from lidistill.students.norms import InstanceNorm
from lidistill.students.planes import Plane
from lidistill.students.registry import build_student, student_config
from lidistill.students.waffleiron import WaffleIron

SMALL = {"fov": ((-4, 4), (-3, 3), (-2, 2)), "cell": 0.5, "neighbors": 5}


def student(name: str = "waffleiron-4-6", **options) -> WaffleIron:
    torch.manual_seed(3)
    backbone = build_student(student_config(name, **{**SMALL, **options}))
    for module in backbone.modules():  # statistics and affine parameters that are not trivial
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm | InstanceNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return backbone


def cloud(points: int, seed: int, reach: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, (points, 3)) * [3.9, 2.9, 1.9] * reach).astype(np.float32)


def features(coords: np.ndarray) -> np.ndarray:
    intensity = np.sin(coords.sum(axis=1, keepdims=True) * 3)
    return np.hstack([intensity, coords, np.linalg.norm(coords, axis=1, keepdims=True)]).astype(np.float32)


def batch(backbone: WaffleIron, *clouds: np.ndarray) -> PointBatch:
    return backbone.tokenizer.collate([backbone.tokenizer(points, features(points)) for points in clouds])


def double(points: PointBatch) -> PointBatch:
    return replace(points, features=points.features.double())


# ---- a plain implementation: whole grids, all K-fold tensors, one cloud at a time in space


def plain_norm(module: nn.Module, rows: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return functional.layer_norm(rows, module.normalized_shape, module.weight, module.bias)
    if module.training or isinstance(module, InstanceNorm):
        mean, variance = rows.mean(dim=0), rows.var(dim=0, correction=0)
    else:
        mean, variance = module.running_mean, module.running_var
    return (rows - mean) / torch.sqrt(variance + module.eps) * module.weight + module.bias


def plain_embedding(module: Embedding, values: Tensor, neighbors: Tensor) -> Tensor:
    normed = plain_norm(module.norm, values)
    around = (normed[neighbors] - normed[:, None]).flatten(0, 1)
    hidden = plain_norm(module.norm2, module.linear1(plain_norm(module.norm1, around)))
    maximum = module.linear2(hidden.relu()).unflatten(0, neighbors.shape).amax(dim=1)
    return module.merge(torch.cat([module.point(normed), maximum], dim=1))


def plain_spatial(layer: nn.Module, tokens: Tensor, coords: list[np.ndarray], axes: tuple[int, int]) -> Tensor:
    normed, read = plain_norm(layer.norm, tokens), []
    low, high = np.array(SMALL["fov"]).T
    for points, rows in zip(coords, normed.split([len(points) for points in coords]), strict=True):
        index = torch.from_numpy(np.floor((points.astype(np.float64) - low) / SMALL["cell"]).astype(np.int64))
        height, width = (int((high - low)[axis] / SMALL["cell"]) for axis in axes)
        cells = index[:, axes[0]] * width + index[:, axes[1]]
        image = torch.zeros(height * width, rows.shape[1], dtype=rows.dtype).index_add(0, cells, rows)
        image = image / torch.bincount(cells, minlength=height * width).clamp(min=1)[:, None]
        image = image.T.reshape(1, -1, height, width)
        image = layer.conv2(layer.activation(layer.conv1(image))) * layer.scale[:, None, None]
        read.append(image.flatten(2)[0].T[cells])
    return torch.cat(read)


def plain(backbone: WaffleIron, points: PointBatch, coords: list[np.ndarray]) -> Tensor:
    tokens = plain_embedding(backbone.embedding, points.features, points.prepared["neighbors"])
    for depth, layer in enumerate(backbone.layers):
        tokens = tokens + plain_spatial(layer.spatial, tokens, coords, [(0, 1), (0, 2), (1, 2)][depth % 3])
        mix = layer.channel
        tokens = tokens + mix.linear2(mix.activation(mix.linear1(plain_norm(mix.norm, tokens)))) * mix.scale
    return tokens


@pytest.mark.parametrize(("norm", "activation"), [("batch", "relu"), ("layer", "gelu")])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reach", [1.0, 0.3], ids=["whole-grid", "window"])
def test_equal_to_a_plain_dense_network(norm: str, activation: str, training: bool, reach: float) -> None:
    backbone = student(norm=norm, activation=activation).double().train(training)
    # clouds in different places, one of them in a corner, one point, no point
    coords = [cloud(40, 1, reach), cloud(1, 2), cloud(23, 3, reach), np.zeros((0, 3), np.float32)]
    coords[0] += np.array([3.9, 2.9, -1.9], np.float32) * np.float32(1 - reach)
    points = double(batch(backbone, *coords))
    points.features.requires_grad_(True)
    parameters = dict(backbone.named_parameters())
    expected = plain(backbone, points, coords)
    torch.manual_seed(0)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), [*parameters.values(), points.features])
    found = backbone(points)
    assert (found - expected).abs().max() < 1e-7  # means in cells are weighted in float32
    gradients = torch.autograd.grad((found * weights).sum(), [*parameters.values(), points.features])
    for name, ours, theirs in zip([*parameters, "features"], gradients, wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-6 * max(1, theirs.abs().max().item()), name


@pytest.mark.parametrize("training", [False, True])
def test_instance_norm_is_a_plain_dense_network_for_every_cloud(training: bool) -> None:
    backbone = student(norm="instance").double().train(training)
    coords = [cloud(40, 1), cloud(1, 2), cloud(23, 3, 0.3)]
    apart = [plain(backbone, double(batch(backbone, points)), [points]) for points in coords]
    expected, found = torch.cat(apart), backbone(double(batch(backbone, *coords)))
    assert (found - expected).abs().max() < 1e-7
    weights, parameters = torch.randn_like(expected), dict(backbone.named_parameters())
    wanted = torch.autograd.grad((expected * weights).sum(), list(parameters.values()))
    gradients = torch.autograd.grad((found * weights).sum(), list(parameters.values()))
    for name, ours, theirs in zip(parameters, gradients, wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-6 * max(1, theirs.abs().max().item()), name


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_a_packed_cloud_gives_what_it_gives_alone(norm: str) -> None:
    backbone = student(norm=norm).eval()
    clouds = [cloud(50, 1), cloud(7, 2, 0.2), cloud(0, 3), cloud(1, 4), cloud(30, 5)]
    with torch.no_grad():
        together = backbone(batch(backbone, *clouds))
        alone = torch.cat([backbone(batch(backbone, points)) for points in clouds])
    assert together.shape == (88, 6)
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_order_of_points_does_not_matter() -> None:
    backbone = student().eval()
    points = cloud(60, 1)
    order = np.random.default_rng(0).permutation(60)
    with torch.no_grad():
        straight, shuffled = backbone(batch(backbone, points)), backbone(batch(backbone, points[order]))
    assert torch.allclose(shuffled, straight[order], atol=1e-5)


def test_all_clouds_empty() -> None:
    backbone = student().eval()
    assert backbone(batch(backbone, cloud(0, 1), cloud(0, 2))).shape == (0, 6)


def test_a_cloud_of_one_point_learns() -> None:
    backbone = student().train()
    output = backbone(batch(backbone, cloud(1, 1), cloud(20, 2)))
    output.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


def test_empty_cells_are_exactly_zero_and_occupied_ones_hold_the_mean() -> None:
    backbone = student()
    points = batch(backbone, cloud(30, 1), cloud(10, 2, 0.3))
    plane = Plane.of(points.prepared, 0, torch.float32)
    image = plane.flatten(torch.ones(40, 6))
    assert torch.allclose(image[image != 0], torch.ones(1))
    occupied = (image[:, 0] != 0).sum()
    assert occupied == len(points.prepared["cells_0"].unique())
    assert torch.allclose(plane.inflate(image), torch.ones(40, 6))


def test_flatten_and_inflate_are_differentiated_rightly() -> None:
    points = batch(student(), cloud(12, 1), cloud(3, 2))
    plane = Plane.of(points.prepared, 1, torch.float64)
    tokens = torch.randn(15, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: plane.inflate(plane.flatten(t).square()), (tokens,))


def test_neighbour_branch_in_parts_and_with_equal_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    embedding = Embedding(3, 4).double().train()
    values = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    neighbors = torch.randint(0, 9, (9, 5))
    neighbors[:, 1] = neighbors[:, 0]
    expected = plain_embedding(embedding, values, neighbors)
    arguments = [values, *embedding.parameters()]
    wanted = torch.autograd.grad(expected.sin().sum(), arguments)
    for size in (1, 2 * 5 * 4, 2**20):  # one point, two points, all points at a time
        monkeypatch.setattr("lidistill.students.embedding.CHUNK_ON_CPU", size)
        found = embedding(values, neighbors)
        assert torch.allclose(found, expected, atol=1e-10)
        for ours, theirs in zip(torch.autograd.grad(found.sin().sum(), arguments), wanted, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-8)


def test_running_statistics_are_those_of_torch() -> None:
    torch.manual_seed(0)
    embedding, values = Embedding(3, 4).train(), torch.randn(50, 3) * 2 + 1
    neighbors = torch.randint(0, 50, (50, 5))
    norm, norm1, norm2 = nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.BatchNorm1d(4)
    for _ in range(3):
        embedding(values, neighbors)
        normed = norm(values)
        norm2(embedding.linear1(norm1((normed[neighbors] - normed[:, None]).flatten(0, 1))))
    for ours, theirs in ((embedding.norm, norm), (embedding.norm1, norm1), (embedding.norm2, norm2)):
        assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-6)
        assert torch.allclose(ours.running_var, theirs.running_var, rtol=1e-5)
        assert ours.num_batches_tracked == 3


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_checkpointing_changes_neither_gradients_nor_statistics(norm: str) -> None:
    results = []
    for checkpointing in (False, True):
        backbone = student(norm=norm, drop_path=0.4, checkpointing=checkpointing).train()
        torch.manual_seed(5)
        output = backbone(batch(backbone, cloud(30, 1), cloud(20, 2)))
        output.square().sum().backward()
        results.append([output, *(p.grad for p in backbone.parameters()), *backbone.buffers()])
    for plain_result, again in zip(*results, strict=True):
        assert torch.equal(plain_result, again)


def test_drop_path_leaves_out_whole_clouds_and_keeps_the_expectation() -> None:
    backbone = student("waffleiron-1-6", norm="layer", drop_path=0.3).train()
    layer = backbone.layers[0]
    nn.init.zeros_(layer.channel.scale)
    points = batch(backbone, cloud(10, 1), cloud(20, 2))
    plane = Plane.of(points.prepared, 0, torch.float32)
    tokens = torch.randn(30, 6)
    with torch.no_grad():
        branch = layer.spatial(tokens, plane, points.packing)
        factors = []
        for _ in range(600):
            added = layer(tokens, plane, points.packing) - tokens
            per_cloud = [(added[rows] / branch[rows]).flatten() for rows in (slice(0, 10), slice(10, 30))]
            for ratio in per_cloud:
                assert torch.allclose(ratio, ratio[0].expand_as(ratio), atol=1e-2)
            factors += [ratio.median().item() for ratio in per_cloud]
        assert {round(factor, 2) for factor in factors} == {0.0, round(1 / 0.7, 2)}
        assert np.mean(factors) == pytest.approx(1, abs=4 * math.sqrt(0.3 / 0.7 / 1200))
        assert {a == b for a, b in zip(factors[::2], factors[1::2], strict=True)} == {True, False}
        output = backbone.eval()(points)
        assert torch.equal(output, backbone(points))


def test_layer_scale_and_probe_start_as_published() -> None:
    torch.manual_seed(0)
    network = Network(student_config("waffleiron-2-512", norm="layer"), HeadConfig(kind="probe", outputs=7))
    scale = network.backbone.layers[1].channel.scale.detach()
    assert scale.abs().max() <= 1
    assert scale.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert not network.head.output.weight.any()
    assert not network.head.output.bias.any()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("waffleiron-48-96", 1_042_772), ("waffleiron-48-256", 6_835_732), ("waffleiron-48-768", 59_435_540)],
)
def test_published_numbers_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        backbone = build_student(student_config(name))
    assert sum(p.numel() for p in backbone.parameters()) == parameters


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_bfloat16_autocast_is_near(norm: str) -> None:
    backbone = student("waffleiron-3-16", norm=norm, activation="gelu").train()
    points = batch(backbone, cloud(200, 1), cloud(80, 2))
    exact = backbone(points)
    with torch.autocast("cpu", torch.bfloat16):
        rough = backbone(points)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.03 * exact.abs().mean()
    rough.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


def test_no_k_fold_tensor_is_kept_for_the_backward_pass() -> None:
    backbone = student("waffleiron-1-32", norm="layer").train()
    points = batch(backbone, cloud(100, 1))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        backbone(points)
    assert max(kept) < 100 * 5 * 32
