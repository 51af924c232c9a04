"""Mixed precision, the default on a GPU, here on the CPU: every verb that trains, and what a network is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lidistill
from lidistill.students.batch import PointBatch
from lidistill.training.engine import make_fabric
from lidistill.training.recipe import load_recipe
from lidistill.training.run import Run
from programs import knowing, tiny_program

SMALL = ("workers=0", "points=500", "batch_size=2")
PAIRS = ("min_pairs=8", "teacher.image_size=[48, 96]")
UDAKD = ("objective=ppkt", "head_hidden=null", "calibration={layers: 1, voxel: 0.5}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """Two rigs with masks, a teacher that knows classes."""
    folder = tmp_path_factory.mktemp("precision")
    for seed, name in enumerate(("here", "there")):
        tiny_rig(folder / name, frames=4, masks=True, seed=seed)
    knowing(tiny_program(folder))
    return folder


def losses(run: Path) -> Tensor:
    found = [row["loss"] for row in Run.open(run).metrics() if row["split"] == "train"]
    assert found
    return torch.tensor(found)


def both(learn: Callable[[str], Path]) -> Path:
    """Learn in either precision: about the same losses, but other ones. Returns the run in mixed precision."""
    whole, mixed = learn("32-true"), learn("bf16-mixed")
    torch.testing.assert_close(losses(mixed), losses(whole), rtol=0.05, atol=0.02)
    assert not torch.equal(losses(mixed), losses(whole))
    assert {value.dtype for value in Run.open(mixed).load_network()[0].parameters()} == {torch.float32}
    return mixed


@pytest.mark.parametrize(
    ("student", "recipe", "changed"),
    [
        ("waffleiron-2-16", "city", ()),
        ("waffleiron-2-16", "city", UDAKD),
        ("waffleiron-2-16", "city-fskd", ("calibration.voxel=0.5",)),
        ("minkunet-18-16", "city", UDAKD),
        ("spvcnn-18-16", "city-fskd", ("calibration.voxel=0.5",)),
    ],
)
def test_distillation(place: Path, tmp_path: Path, student: str, recipe: str, changed: tuple[str, ...]) -> None:
    def learn(precision: str) -> Path:
        said = (*SMALL, *PAIRS, *changed, f"precision={precision}")
        data, teacher, out = str(place / "here"), str(place / "patches.pt2"), tmp_path / precision
        return lidistill.pretrain(data, out=out, recipe=recipe, teacher=teacher, student=student, epochs=2, set=said)

    both(learn)


def test_all_that_comes_after_it(place: Path, tmp_path: Path) -> None:
    here, there = str(place / "here"), str(place / "there")
    student, teacher = "waffleiron-1-8", str(place / "patches.pt2")
    said = (*SMALL, *PAIRS, "head_hidden=8")
    backbone = lidistill.pretrain(
        [here, there], out=tmp_path / "run", recipe="city", teacher=teacher, student=student, epochs=1, set=said
    )

    def learn(verb: str, recipe: str, precision: str) -> Path:
        out, changed = tmp_path / f"{verb}-{precision}", (*SMALL, f"precision={precision}")
        how = {"data": here, "out": out, "recipe": recipe, "epochs": 3, "set": changed}
        return (lidistill.probe if verb == "probe" else lidistill.finetune)(backbone, **how)

    def adapt(precision: str) -> Path:
        out, changed = tmp_path / precision, (*SMALL, "entropy=0.1", "mixing=classes", f"precision={precision}")
        run = lidistill.adapt(head, source=here, target=there, out=out, recipe="city-muddos", epochs=2, set=changed)
        return run / "rounds" / "1"

    head = both(partial(learn, "probe", "city-muddos-head"))
    both(partial(learn, "finetune", "city-supervised"))
    both(adapt)


def test_what_goes_in_keeps_its_digits_and_layers_compute_in_16_bits() -> None:
    fabric = make_fabric(load_recipe("city", ["precision=bf16-mixed"]))
    seen: dict[str, torch.dtype] = {}

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, batch: PointBatch, target: Tensor) -> Tensor:
            out: Tensor = self.layer(batch.coords)
            seen.update(coords=batch.coords.dtype, target=target.dtype, out=out.dtype)
            return out

    coords = torch.full((4, 3), 51.03)
    batch = PointBatch(coords, coords, torch.tensor([0, 4]))
    out = fabric.setup(Network())(batch, torch.rand(4))
    assert seen == {"coords": torch.float32, "target": torch.float32, "out": torch.bfloat16}
    assert out.dtype == torch.float32
