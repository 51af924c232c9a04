"""Whole training steps of the published loops: distillation, linear probing, finetuning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from waffleiron_fixtures import network_of, padded_batch

from lidistill.objectives.segmentation import cross_entropy_lovasz
from lidistill.objectives.similarity import similarity
from lidistill.students.batch import PointBatch
from lidistill.students.checkpoints import export_state, import_checkpoint
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.training.layer_decay import layer_decay_groups
from lidistill.training.schedules import warmup_cosine, warmup_rsqrt_cooldown

TOLERANCE = 1e-5
SHIFTED = {"embed.conv2.0.bias"}
"""No gradient in theory; in the published code Adam turns its rounding noise into full steps."""
FOLLOWS = {"embed.conv2.2.running_mean"}
"""Running means that contain such a parameter."""


@pytest.fixture(scope="module")
def folder(parity) -> Path:
    return parity("01_waffleiron/checkpoints_and_steps.json").parent


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "checkpoints_and_steps.json").read_text())


def batch(arrays: Mapping[str, np.ndarray], name: str, facts: dict[str, Any], plus: bool) -> PointBatch:
    return padded_batch(arrays, facts["model"]["grids"], f"{name}_", counted=plus)


def compare(network: Network, after: Mapping[str, Tensor], skipped: set[str], loose: Mapping[str, float]) -> None:
    state = export_state(network)
    reference = {name.removeprefix("module."): value for name, value in after.items()}
    assert set(state) == set(reference)
    for name, value in reference.items():
        if name not in skipped:
            difference = (state[name] - value).abs().max().item()
            assert difference <= loose.get(name, TOLERANCE), f"{name}: {difference:.2e}"


@pytest.mark.parametrize("plus", [False, True], ids=["scalr", "scalr-plus"])
def test_distillation(plus: bool, folder: Path, facts: dict[str, Any], tmp_path: Path) -> None:
    name = "distill_plus" if plus else "distill"
    told, per_epoch = facts[name], facts[name]["iterations_per_epoch"]
    setting = told["config"]
    total = setting["num_epochs"] * per_epoch
    initial = load_file(folder / f"step_{name}_init.safetensors")
    initial = {key.removeprefix("module."): value for key, value in initial.items()}
    network = network_of(initial, tmp_path, activation="gelu" if plus else "relu").train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=setting["lr"], weight_decay=setting["weight_decay"])
    arrays = np.load(folder / "step_distill.npz")
    for iteration in range(5):
        if plus:
            warmup, scale = setting["epoch_warmup"] * per_epoch, setting["timescale"] * per_epoch
            factor = warmup_rsqrt_cooldown(iteration, warmup, scale, setting["cooldown_start"] * per_epoch, total)
        else:
            factor = warmup_cosine(iteration, setting["iter_warmup"], total, setting["min_lr"] / setting["lr"])
        lr = optimizer.param_groups[0]["lr"] = factor * setting["lr"]
        assert lr == pytest.approx(told["lr_used"][iteration], rel=1e-9)
        points = batch(arrays, f"batch{iteration}", facts, plus)
        features, teacher = network(points), torch.from_numpy(arrays[f"batch{iteration}_teacher"])
        chosen, wanted = [], []
        for cloud, start in enumerate(points.offsets[:-1].tolist()):
            _, row, column = arrays[f"batch{iteration}_pair_pixels_{cloud}"].T
            chosen.append(features[start + torch.from_numpy(arrays[f"batch{iteration}_pair_points_{cloud}"]).long()])
            wanted.append(teacher[cloud, :, row, column].T)
        loss = similarity(torch.cat(chosen), torch.cat(wanted))
        assert loss.item() == pytest.approx(told["losses"][iteration], abs=TOLERANCE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    compare(network, load_file(folder / f"step_{name}_after.safetensors"), SHIFTED | FOLLOWS, {})


def labelled(
    network: Network, arrays: Mapping[str, np.ndarray], name: str, facts: dict[str, Any], plus: bool
) -> Tensor:
    points = batch(arrays, name, facts, plus)
    taken = [
        torch.from_numpy(arrays[f"{name}_upsample_{b}"]).long() + start for b, start in enumerate(points.offsets[:-1])
    ]
    labels = torch.from_numpy(arrays[f"{name}_labels"]).long()
    return cross_entropy_lovasz(network(points)[torch.cat(taken)], labels)


@pytest.mark.parametrize("name", ["downstream_linprob", "downstream_finetune", "downstream_linprob_scalrplus"])
def test_downstream(name: str, folder: Path, facts: dict[str, Any]) -> None:
    plus, told = "plus" in name, facts[name]
    setting = told["config"]
    pretrained = import_checkpoint(folder / f"ckpt_pretrain_scalr{'plus' if plus else ''}.pth")
    network = Network(pretrained.student, HeadConfig(kind="probe", outputs=facts["model"]["nb_class"]))
    backbone = {k: v for k, v in pretrained.state.items() if k.startswith("backbone.")}
    assert network.load_state_dict(backbone, strict=False).unexpected_keys == []
    network.train()
    groups: Any = network.parameters()
    if told["linear_probing"]:
        network.backbone.eval().requires_grad_(False)
        groups = network.head.parameters()
    elif setting["layer_decay"] is not None:
        groups = layer_decay_groups(network, setting["lr"], setting["layer_decay"], setting["weight_decay"])
    optimizer = torch.optim.AdamW(groups, lr=setting["lr"], weight_decay=setting["weight_decay"])
    base = [group["lr"] for group in optimizer.param_groups]
    arrays = np.load(folder / "step_downstream_inputs.npz")
    total, warmup = setting["max_epoch"] * 5, setting["epoch_warmup"] * 5
    for iteration in range(5):
        factor = warmup_cosine(iteration, warmup, total, setting["min_lr"] / setting["lr"])
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * factor
        assert optimizer.param_groups[0]["lr"] == pytest.approx(told["lr_used_first_group"][iteration], rel=1e-9)
        loss = labelled(network, arrays, f"train{iteration}", facts, plus)
        assert loss.item() == pytest.approx(told["losses"]["train"][iteration], abs=TOLERANCE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        for iteration, expected in enumerate(told["losses"]["val"]):
            loss = labelled(network, arrays, f"val{iteration}", facts, plus)
            assert loss.item() == pytest.approx(expected, abs=TOLERANCE)
    last = f"waffleiron.channel_mix.{facts['model']['depth'] - 1}.mlp"
    finetuned = not told["linear_probing"]
    skipped = SHIFTED | FOLLOWS | {f"{last}.2.bias", "classif.0.running_mean"} if finetuned else set()
    after = load_file(folder / f"step_{name}_after.safetensors")
    compare(network, after, skipped, {f"{last}.0.bias": 1e-3} if finetuned else {})
