"""Students and heads by name and configuration."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch
from pydantic import ValidationError

from lidistill.errors import InputError
from lidistill.students import registry
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.students.heads import build_head
from lidistill.students.network import Network
from lidistill.students.registry import build_student, student_config


def test_names_say_depth_and_width_and_norm_follows_width() -> None:
    small, large = student_config("waffleiron-6-64"), student_config("waffleiron-48-768")
    assert (small.depth, small.width, small.norm) == (6, 64, "batch")
    assert (large.depth, large.width, large.norm) == (48, 768, "layer")
    assert student_config("waffleiron-48-768", norm="batch").norm == "batch"
    assert StudentConfig.model_validate_json(large.model_dump_json()) == large


@pytest.mark.parametrize(
    ("fov", "cell", "cells"),
    [
        (((-50, 50), (-50, 50), (-5, 5)), 0.6, (166, 166, 16)),
        (((-50, 50), (-50, 50), (-3, 2)), 0.4, (250, 250, 12)),
        (((-64, 64), (-64, 64), (-8, 8)), 0.5, (256, 256, 32)),
        (((-128, 128), (-128, 128), (-8, 8)), 0.5, (512, 512, 32)),
        (((-96, 96), (-96, 96), (-8, 8)), 0.5, (384, 384, 32)),
    ],
)
def test_published_grids(fov, cell: float, cells: tuple[int, int, int]) -> None:
    assert student_config("waffleiron-48-256", fov=fov, cell=cell).cells_per_axis == cells


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("waffleiron", {}, "KIND-DEPTH-WIDTH"),
        ("waffleiron-6-64-2", {}, "KIND-DEPTH-WIDTH"),
        ("waffelion-6-64", {}, "did you mean 'waffleiron'"),
        ("waffleiron-0-64", {}, "depth"),
        ("waffleiron-6-64", {"activatoin": "gelu"}, "did you mean 'activation'"),
        ("waffleiron-6-64", {"activation": "swish"}, "activation"),
        ("waffleiron-6-64", {"drop_path": 1.0}, "drop_path"),
        ("waffleiron-6-64", {"cell": 0.0}, "cell"),
        ("waffleiron-6-64", {"cell": 20.0}, "along z into 0"),
        ("waffleiron-6-64", {"cell": 0.001}, "along x into 128000"),
        ("waffleiron-6-64", {"fov": ((1, 1), (0, 1), (0, 1))}, "along x must rise"),
        ("waffleiron-6-64", {"fov": ((0, float("inf")), (0, 1), (0, 1))}, "fov"),
        ("waffleiron-6-64", {"fov": ((0, float("nan")), (0, 1), (0, 1))}, "fov"),
        ("waffleiron-6-64", {"fov": ((0, 1), (0, 1))}, "fov"),
    ],
)
def test_faults_are_one_sentence(name: str, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        student_config(name, **options)
    assert "\n" not in str(error.value)


def test_unknown_kind_of_student() -> None:
    with pytest.raises(InputError, match="did you mean 'waffleiron'"):
        build_student(student_config("waffleiron-1-4").model_copy(update={"kind": "waffleirn"}))


def test_a_plug_in_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flat(torch.nn.Module):
        def __init__(self, config: StudentConfig) -> None:
            super().__init__()
            self.config, self.width = config, config.width

    point = EntryPoint("flat", "unused:unused", registry.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Flat)
    monkeypatch.setattr(registry, "entry_points", lambda group, name="flat": (point,) if name == "flat" else ())
    network = Network(student_config("flat-3-12"), HeadConfig(kind="linear", outputs=2))
    assert isinstance(network.backbone, Flat)
    assert network.head.output.in_features == 12


def test_heads() -> None:
    rows = torch.randn(5, 8)
    for config in (
        HeadConfig(kind="linear", outputs=3),
        HeadConfig(kind="mlp", outputs=3, hidden=16),
        HeadConfig(kind="probe", outputs=3),
        HeadConfig(kind="probe", outputs=3, hidden=16),
    ):
        assert build_head(8, config)(rows).shape == (5, 3)
    for hidden in (None, 16):
        assert not build_head(8, HeadConfig(kind="probe", outputs=3, hidden=hidden))(rows).any()


@pytest.mark.parametrize("options", [{"kind": "mlp"}, {"kind": "linear", "hidden": 4}, {"kind": "tree"}])
def test_wrong_heads(options: dict) -> None:
    with pytest.raises(ValidationError):
        HeadConfig(outputs=3, **options)
