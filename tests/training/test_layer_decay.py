"""Layer-wise learning rates of the reference, for a network of the same shape."""

import json
from collections import Counter

import pytest
import torch
from torch import nn

from lidistill.errors import InputError
from lidistill.training.layer_decay import layer_decay_groups


def network(depth):
    """A network with the tensors of a WaffleIron: 8 vectors and 4 kernels below, 8 and 6 per layer, 3 and 1 on top."""

    def block(vectors, kernels):
        parameters = {f"v{i}": nn.Parameter(torch.ones(2)) for i in range(vectors)}
        parameters |= {f"k{i}": nn.Parameter(torch.ones(2, 2)) for i in range(kernels)}
        return nn.ParameterDict(parameters)

    layers = nn.ModuleList(nn.ModuleDict({"spatial": block(4, 3), "channel": block(4, 3)}) for _ in range(depth))
    # A list inside the embedding is no list of layers.
    embedding = nn.ModuleDict({"point": block(3, 1), "neighbors": nn.ModuleList([block(5, 3)])})
    backbone = nn.ModuleDict({"embedding": embedding, "layers": layers})
    return nn.ModuleDict({"backbone": backbone, "head": block(3, 1)})


@pytest.fixture(scope="module")
def reference(parity):
    return json.loads(parity("05_downstream/layerwise_lr_decay.json").read_text())


@pytest.mark.parametrize("case", ["depth48_decay0.99", "depth48_decay0.95"])
def test_reference_groups(reference, case):
    expected = reference[case]
    decay, weight_decay = expected["layer_decay"], expected["weight_decay"]
    groups = layer_decay_groups(network(expected["depth"]), 1.0, decay, weight_decay)
    assert len(groups) == expected["num_groups"]
    for group, theirs in zip(groups, expected["groups_in_order"], strict=True):
        assert group["lr"] == pytest.approx(theirs["lr_scale"], rel=1e-12)
        assert group["weight_decay"] == theirs["weight_decay"]
        assert len(group["params"]) == theirs["n"]


def test_the_student_has_the_reference_rates(reference):
    """The real network: as many tensors at every rate as the reference has, and the rate of each follows its depth."""
    from lidistill.students.config import HeadConfig
    from lidistill.students.network import Network
    from lidistill.students.registry import student_config

    expected = reference["depth48_decay0.99"]
    student = Network(student_config("waffleiron-48-16", norm="layer"), HeadConfig(kind="probe", outputs=3))
    groups = layer_decay_groups(student, 1.0, 0.99, 0.5)
    found = Counter()
    for group in groups:
        found[round(group["lr"], 9)] += len(group["params"])
    theirs = Counter()
    for group in expected["groups_in_order"]:
        theirs[round(group["lr_scale"], 9)] += group["n"]
    assert found == theirs
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in student.named_parameters():
        assert decays[id(parameter)] == (0.5 if parameter.ndim > 1 or "scale" in name else 0.0), name


@pytest.mark.parametrize(
    ("case", "recipe"), [("depth48_decay0.99", "finetune"), ("depth48_decay0.95", "finetune-nuscenes-1")]
)
def test_every_tensor_of_a_finetuning_has_the_published_rate(reference, case, recipe):
    """By published name, through the names of imported checkpoints, as the recipes ask for it."""
    from lidistill.students.checkpoints import export_state
    from lidistill.students.config import HeadConfig
    from lidistill.students.network import Network
    from lidistill.students.registry import student_config
    from lidistill.training.recipe import load_recipe
    from lidistill.training.segment import parameter_groups

    expected, said = reference[case], load_recipe(recipe)
    assert (said.layer_decay, said.weight_decay) == (expected["layer_decay"], expected["weight_decay"])
    network = Network(student_config("waffleiron-48-8", norm="layer"), HeadConfig(kind="probe", outputs=3))
    number = {id(parameter): float(i) for i, parameter in enumerate(network.parameters())}
    rate = {number[id(p)]: group["lr"] for group in parameter_groups(network, said) for p in group["params"]}
    for parameter in network.parameters():
        parameter.data.fill_(number[id(parameter)])  # a tensor tells which one it is, under any name
    theirs = {name: float(value.flatten()[0]) for name, value in export_state(network).items()}
    assert set(expected["per_parameter"]) <= set(theirs)
    assert len(expected["per_parameter"]) == len(rate)
    for name, (multiplier, _) in expected["per_parameter"].items():
        assert rate[theirs[name]] == pytest.approx(said.lr * multiplier, rel=1e-12), name


def test_rates_by_hand():
    small = network(2)
    groups = layer_decay_groups(small, 0.1, 0.5, 0.3)
    rate = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    named = dict(small.named_parameters())
    assert len(rate) == len(named)
    expected = {
        "backbone.embedding.neighbors.0.v0": (0.1 / 8, 0.0),
        "backbone.embedding.point.k0": (0.1 / 8, 0.3),
        "backbone.layers.0.spatial.k0": (0.1 / 4, 0.3),
        "backbone.layers.1.channel.v0": (0.1 / 2, 0.0),
        "head.k0": (0.1, 0.3),
        "head.v0": (0.1, 0.0),
    }
    for name, pair in expected.items():
        assert rate[id(named[name])] == pytest.approx(pair)


def test_layer_scales_decay_and_frozen_parameters_are_left_out():
    small = network(1)
    small.backbone.layers[0]["scale"] = nn.ParameterDict({"weight": torch.ones(2)})
    small.backbone.embedding.requires_grad_(False)
    groups = layer_decay_groups(small, 1.0, 0.5, 0.3)
    scale = small.backbone.layers[0]["scale"]["weight"]
    (group,) = (g for g in groups if any(p is scale for p in g["params"]))
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.3)
    assert {g["lr"] for g in groups} == {0.5, 1.0}


def test_an_optimizer_takes_the_groups():
    small = network(1)
    optimizer = torch.optim.AdamW(layer_decay_groups(small, 0.1, 0.9, 0.0), lr=0.1)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(small.parameters()))


def test_a_head_with_a_rate_of_its_own_and_sgd():
    """SLidR: SGD, and a head that learns a hundred times faster than the backbone."""
    from lidistill.students.config import HeadConfig
    from lidistill.students.network import Network
    from lidistill.students.registry import student_config
    from lidistill.training.optimizer import build_optimizer
    from lidistill.training.recipe import load_recipe
    from lidistill.training.segment import parameter_groups

    network = Network(student_config("waffleiron-2-8"), HeadConfig(kind="probe", outputs=3))
    optimizer = build_optimizer(parameter_groups(network, load_recipe("slidr-finetune")), load_recipe("slidr-finetune"))
    assert isinstance(optimizer, torch.optim.SGD)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rate[id(p)] for p in network.backbone.parameters()} == {0.02}
    assert {rate[id(p)] for p in network.head.parameters()} == {2.0}
    assert all((g["momentum"], g["dampening"], g["weight_decay"]) == (0.9, 0.1, 1e-4) for g in optimizer.param_groups)
    with pytest.raises(InputError, match="leave out frozen and layer_decay"):
        load_recipe("slidr-probe", ["head_lr=2"])
    adam = build_optimizer(parameter_groups(network, load_recipe("finetune")), load_recipe("finetune"))
    assert isinstance(adam, torch.optim.AdamW)
