"""What the engine is asked for on machines that this one is not."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from lidistill.training import engine
from lidistill.training.recipe import load_recipe


class Asked:
    """In the place of Fabric: keeps what it is asked for."""

    def __init__(self, **asked: Any) -> None:
        self.asked = asked

    def launch(self) -> None:
        """Nothing starts."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two GPUs that compute in bfloat16."""
    monkeypatch.setattr(engine, "Fabric", Asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda **_: None)
    return monkeypatch


def asked(*options: str) -> dict[str, Any]:
    fabric = engine.make_fabric(load_recipe("city", list(options)))
    assert isinstance(fabric, Asked)
    found = dict(fabric.asked)
    return found | {"precision": found.pop("plugins").precision}


def test_all_gpus_in_mixed_precision(machine: pytest.MonkeyPatch) -> None:
    expected = {"accelerator": "cuda", "devices": "auto", "num_nodes": 1, "precision": "bf16-mixed"}
    assert asked() == expected
    assert asked("devices=2", "nodes=3", "precision=32-true") == {
        **expected, "devices": 2, "num_nodes": 3, "precision": "32-true",
    }  # fmt: skip


def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(machine: pytest.MonkeyPatch) -> None:
    """Torch says yes to V100 and T4 unless it is asked without emulation."""
    machine.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert asked()["precision"] == "32-true"
    assert asked("precision=bf16-mixed")["precision"] == "bf16-mixed"


def test_a_notebook_takes_one_gpu(machine: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    machine.setattr(sys, "ps1", "In [1]: ", raising=False)
    assert asked()["devices"] == 1
    assert "one GPU is used" in caplog.text
    machine.setattr(torch.cuda, "device_count", lambda: 1)
    assert asked()["devices"] == "auto"


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Fabric", Asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert asked() == {"accelerator": "cpu", "devices": "auto", "num_nodes": 1, "precision": "32-true"}
