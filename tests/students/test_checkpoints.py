"""Released checkpoint files load, nothing in them is executed, and our networks go back into their layout."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from waffleiron_fixtures import assert_close, packed_batch, padded_batch, real_rows, rows, sizes

from lidistill.errors import InputError
from lidistill.students.checkpoints import export_state, import_checkpoint
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config

FILES = {
    "ckpt_pretrain_scalr.pth": ("pretrain_scalr_on_batch0", "linear", "pretrain", None),
    "ckpt_pretrain_scalr_fp16.pth": ("pretrain_scalr_on_batch0", "linear", "pretrain", None),
    "ckpt_pretrain_alt_key.pth": ("pretrain_scalr_on_batch0", "linear", "pretrain", None),
    "ckpt_pretrain_scalrplus.pth": ("pretrain_scalrplus_on_batch0", "mlp", "pretrain", None),
    "ckpt_downstream_linprob.pth": ("linprob_on_val0", "probe", "downstream", None),
    "ckpt_downstream_finetune.pth": ("finetune_on_val0", "probe", "downstream", None),
    "ckpt_downstream_linprob_scalrplus.pth": ("linprob_scalrplus_on_val0", "probe", "downstream", "gelu"),
}


def load(path: Path, activation: str | None = None) -> Network:
    imported = import_checkpoint(path, activation=activation, cell=1.0)
    network = Network(imported.student, imported.head)
    network.load_state_dict(imported.state)
    return network.eval()


@pytest.mark.parametrize("file", FILES)
def test_published_files_give_the_published_outputs(file: str, parity) -> None:
    expected, head, stage, activation = FILES[file]
    path = parity(f"01_waffleiron/{file}")
    imported = import_checkpoint(path, activation=activation)
    assert (imported.head.kind, imported.stage) == (head, stage)
    assert imported.student.activation == ("gelu" if "plus" in file else "relu")
    network = load(path, activation)
    grids = json.loads((path.parent / "checkpoints_and_steps.json").read_text())["model"]["grids"]
    inputs, prefix = ("step_distill.npz", "batch0_") if stage == "pretrain" else ("step_downstream_inputs.npz", "val0_")
    arrays = np.load(path.parent / inputs)
    reference = np.load(path.parent / "ckpt_eval_outputs.npz")[expected]
    with torch.no_grad():
        output = network(padded_batch(arrays, grids, prefix, counted="plus" in file))
        packed = network(packed_batch(arrays, grids, prefix))
    assert_close(output, rows(reference), 2e-5)
    if "plus" not in file:
        assert_close(packed, real_rows(reference, sizes(arrays, prefix)), 2e-5)


@pytest.mark.parametrize("file", FILES)
def test_export_gives_the_published_names_and_values_back(file: str, parity) -> None:
    path = parity(f"01_waffleiron/{file}")
    content = torch.load(path, weights_only=False)  # our own fixture
    theirs = next(content[key] for key in ("model_point", "model_points", "net") if key in content)
    theirs = {name.removeprefix("module."): value for name, value in theirs.items()}
    ours = export_state(load(path))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def network(norm: str, head: HeadConfig) -> Network:
    torch.manual_seed(1)
    return Network(student_config("waffleiron-3-8", norm=norm, in_channels=4), head)


HEADS = [
    HeadConfig(kind="linear", outputs=5),
    HeadConfig(kind="mlp", outputs=5, hidden=7),
    HeadConfig(kind="probe", outputs=5),
]


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_round_trip(norm: str, head: HeadConfig, prefix: str, tmp_path: Path) -> None:
    ours = network(norm, head)
    file = tmp_path / "net.pth"
    torch.save({"net": {prefix + name: value for name, value in export_state(ours).items()}, "epoch": 3}, file)
    imported = import_checkpoint(file, fov=((-5, 5), (-5, 5), (-2, 2)), cell=0.25)
    assert (imported.student.depth, imported.student.width, imported.student.norm) == (3, 8, norm)
    assert (imported.student.in_channels, imported.head, imported.stage) == (4, head, "downstream")
    assert (imported.student.cell, imported.student.fov[2]) == (0.25, (-2, 2))
    state = ours.state_dict()
    assert set(imported.state) == set(state)
    for name, value in state.items():
        assert torch.equal(imported.state[name], value), name


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(how: str, tmp_path: Path) -> None:
    file, proof = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"net": export_state(network("layer", HEADS[0])), "scheduler": Evil(proof)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError, match="run code"):
        import_checkpoint(file)
    assert not proof.exists()


def written(tmp_path: Path, change) -> Path:
    state = export_state(network("batch", HEADS[0]))
    change(state)
    torch.save({"model_point": state}, tmp_path / "c.pth")
    return tmp_path / "c.pth"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("embed.conv1.weight"), r"has no embed\.conv1\.weight"),
        (lambda s: s.pop("waffleiron.spatial_mix.1.ffn.0.bias"), r"has no waffleiron\.spatial_mix\.1\.ffn\.0\.bias"),
        (lambda s: [s.pop(k) for k in list(s) if "channel_mix.1" in k], r"has no waffleiron\.channel_mix\.1"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("waffleiron")], r"has no waffleiron\.channel_mix\.0"),
        (lambda s: s.pop("classif.weight"), r"has no classif\.weight"),
        (lambda s: s.update({"embed.conv1.weight": torch.zeros(8)}), r"embed\.conv1\.weight has shape \(8,\)"),
        (lambda s: s.update({"embed.final.weight": torch.zeros(8, 8, 1)}), r"shape \(8, 8, 1\), expected \(8, 16, 1\)"),
        (lambda s: s.update({"decoder.weight": torch.zeros(2)}), r"decoder\.weight"),
    ],
)
def test_wrong_weights_are_one_sentence(change, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as error:
        import_checkpoint(written(tmp_path, change))
    assert "\n" not in str(error.value)
    assert "c.pth" in str(error.value)


@pytest.mark.parametrize("content", [[1], {"state_dict": {}}, {"net": torch.zeros(3)}, {"net": {"a": 1}}])
def test_other_contents_are_one_sentence(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(InputError, match="expected") as error:
        import_checkpoint(tmp_path / "c.pth")
    assert "\n" not in str(error.value)


def test_other_files_are_one_sentence(tmp_path: Path) -> None:
    good = written(tmp_path, lambda state: None)
    (tmp_path / "half.pth").write_bytes(good.read_bytes()[:4000])
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    for name in ("half.pth", "text.pth", "empty.pth"):
        with pytest.raises(InputError, match="damaged"):
            import_checkpoint(tmp_path / name)
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            import_checkpoint(path)
    with pytest.raises(InputError, match="activation"):
        import_checkpoint(good, activation="tanh")
