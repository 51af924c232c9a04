"""Checkpoints in the layout of SLidR: made from our networks, they come back bit for bit; faults are one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lidistill.cli import main
from lidistill.errors import InputError
from lidistill.sensing.sensors import sensor
from lidistill.students.checkpoints import export_state, import_checkpoint
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config
from lidistill.training.run import Run
from lidistill.transforms.features import point_features

Change = Callable[[dict[str, Tensor]], Any]
HEAD = HeadConfig(kind="linear", outputs=64)


def network(name: str = "minkunet-34-12") -> Network:
    torch.manual_seed(1)
    made = Network(student_config(name, in_channels=1), HEAD)
    for value in made.state_dict().values():
        value.copy_(torch.rand(value.shape) * 9)
    return made


def written(tmp_path: Path, change: Change = len, **more: Any) -> Path:
    state = export_state(network())
    change(state)
    torch.save({"model_points": state, "model_images": {}, "epoch": 50, **more}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Res16UNet34C, written down from the public code layer by layer."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.bn.num_batches_tracked"] = ()
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (size,)

    def stage(number: int, inputs: int, outputs: int, blocks: int) -> None:
        for index in range(blocks):
            name = f"block{number}.{index}"
            shapes[f"{name}.conv1.kernel"] = (27, inputs, outputs)
            shapes[f"{name}.conv2.kernel"] = (27, outputs, outputs)
            norm(f"{name}.norm1", outputs)
            norm(f"{name}.norm2", outputs)
            if inputs != outputs:
                shapes[f"{name}.downsample.0.kernel"] = (inputs, outputs)
                norm(f"{name}.downsample.1", outputs)
            inputs = outputs

    def move(name: str, bn: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.kernel"] = (8, inputs, outputs)
        norm(bn, outputs)

    shapes["conv0p1s1.kernel"] = (27, 1, 32)
    norm("bn0", 32)
    move("conv1p1s2", "bn1", 32, 32)
    stage(1, 32, 32, 2)
    move("conv2p2s2", "bn2", 32, 32)
    stage(2, 32, 64, 3)
    move("conv3p4s2", "bn3", 64, 64)
    stage(3, 64, 128, 4)
    move("conv4p8s2", "bn4", 128, 128)
    stage(4, 128, 256, 6)
    move("convtr4p16s2", "bntr4", 256, 256)
    stage(5, 256 + 128, 256, 2)
    move("convtr5p8s2", "bntr5", 256, 128)
    stage(6, 128 + 64, 128, 2)
    move("convtr6p4s2", "bntr6", 128, 96)
    stage(7, 96 + 32, 96, 2)
    move("convtr7p2s2", "bntr7", 96, 96)
    stage(8, 96 + 32, 96, 2)
    shapes["final.kernel"] = (96, 64)
    shapes["final.bias"] = (1, 64)
    return shapes


def test_names_and_shapes_are_those_of_the_public_code() -> None:
    with torch.device("meta"):
        ours = export_state(Network(student_config("minkunet-34-96", in_channels=1), HEAD))
    assert {name: tuple(value.shape) for name, value in ours.items()} == published_shapes()


@pytest.mark.parametrize("name", ["minkunet-34-12", "minkunet-18-12", "minkunet-18-96"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_round_trip(name: str, prefix: str, tmp_path: Path) -> None:
    ours = network(name)
    file = tmp_path / "model.pt"
    torch.save({"model_points": {prefix + n: value for n, value in export_state(ours).items()}}, file)
    imported = import_checkpoint(file)
    student = imported.student
    assert (student.name, student.in_channels, imported.head, imported.stage) == (name, 1, HEAD, "pretrain")
    assert student.voxels is not None
    assert (student.voxels.shape, student.voxels.size, student.voxels.degrees) == ("cylindrical", 0.1, 1.0)
    assert not student.voxels.closed
    assert not student.voxels.interpolate
    state = ours.state_dict()
    assert set(imported.state) == set(state)
    for key, value in state.items():
        assert torch.equal(imported.state[key], value), key
        assert imported.state[key].is_contiguous(), key
    again = Network(student, imported.head)
    again.load_state_dict(imported.state)
    for key, value in export_state(again).items():
        assert torch.equal(value, export_state(ours)[key]), key


def test_the_verb_makes_a_run(tmp_path: Path) -> None:
    assert main(["import-checkpoint", str(written(tmp_path)), str(tmp_path / "run")]) == 0
    run, model = Run.open(tmp_path / "run").load_network()
    assert (model.student.name, model.head, model.classes) == ("minkunet-34-12", HEAD, None)
    for key, value in network().state_dict().items():
        assert torch.equal(run.state_dict()[key], value), key


def test_the_configuration_beside_the_weights_counts(tmp_path: Path) -> None:
    config = {"cylindrical_coordinates": False, "voxel_size": 0.2, "normalize_features": True}
    voxels = import_checkpoint(written(tmp_path, config=config)).student.voxels
    assert voxels is not None
    assert (voxels.shape, voxels.size) == ("cubic", 0.2)
    with pytest.raises(InputError, match=r"model\.pt: voxels\.size"):
        import_checkpoint(written(tmp_path, config={"voxel_size": -1}))
    with pytest.raises(InputError, match="was finetuned on labels"):
        import_checkpoint(written(tmp_path, config={"normalize_features": False}))


def test_it_sees_the_intensities_of_nuscenes_as_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standardised in the loader, they are put back on the scale on which the network was trained."""
    imported = import_checkpoint(written(tmp_path))
    student = Network(imported.student, imported.head).eval().backbone
    raw = np.array([0, 1, 100, 255], np.float32)
    points = np.array([[5, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0]], np.float32)
    cloud = student.tokenizer(points, point_features(points, raw, sensor("hdl-32e")))
    seen: list[Tensor] = []
    student.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    student(student.tokenizer.collate([cloud]))
    torch.testing.assert_close(seen[0], torch.from_numpy(raw)[:, None], atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("bntr5.bn.running_var"), r"has no bntr5\.bn\.running_var"),
        (lambda s: s.pop("block4.2.conv1.kernel"), r"has no block4\.2\.conv1\.kernel"),
        (lambda s: s.pop("block6.0.downsample.0.kernel"), r"has no block6\.0\.downsample\.0\.kernel"),
        (lambda s: s.pop("final.kernel"), r"has no final\.kernel"),
        (lambda s: s.update({"final.bias": torch.zeros(64)}), r"final\.bias has shape \(64,\), expected \(1, 64\)"),
        (
            lambda s: s.update({"conv0p1s1.kernel": torch.zeros(125, 1, 4)}),
            r"shape \(125, 1, 4\), expected \(27, 1, 4\)",
        ),
        (
            lambda s: s.update({"block2.0.downsample.0.kernel": torch.zeros(8, 4)}),
            r"block2\.0\.downsample\.0\.kernel has shape \(8, 4\), expected \(4, 8\)",
        ),
        (lambda s: s.update({"decoder.weight": torch.zeros(2)}), r"a minkunet does not have: decoder\.weight"),
    ],
)
def test_wrong_weights_are_one_sentence(change: Change, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as error:
        import_checkpoint(written(tmp_path, change))
    assert "\n" not in str(error.value)
    assert "model.pt" in str(error.value)


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("key", ["config", "model_images"])
def test_code_in_a_file_is_refused_and_not_run(key: str, tmp_path: Path) -> None:
    file = written(tmp_path, **{key: Evil(tmp_path / "ran")})
    with pytest.raises(InputError, match="run code"):
        import_checkpoint(file)
    assert not (tmp_path / "ran").exists()


def test_a_network_without_a_published_layout() -> None:
    for name, head in (("spvcnn-18-12", HEAD), ("minkunet-18-12", HeadConfig(kind="probe", outputs=3))):
        with pytest.raises(InputError, match="has no published layout"):
            export_state(Network(student_config(name), head))
