"""The run folder: complete, atomic, readable without executing anything."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from lidistill.errors import InputError, RunError
from lidistill.sensing.files.atomic import write_atomically
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config
from lidistill.teachers.image_network import ImageModel
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.image_run import ImageRun, ImageRunConfig
from lidistill.training.recipe import load_recipe
from lidistill.training.run import ModelConfig, Run, RunConfig, load_network


def config(seed: int = 0) -> RunConfig:
    recipe = load_recipe("city-probe", [f"seed={seed}", "student=waffleiron-2-16"])
    model = ModelConfig(student=recipe.student, head=HeadConfig(kind="probe", outputs=3), classes=("a", "b", "c"))
    return RunConfig(verb="probe", sources=("rig",), model=model, recipe=recipe)


def test_a_run_of_an_image_network_is_no_lidar_network(tmp_path: Path) -> None:
    model = ImageModel(network="small", classes=("road",), taxonomy="mine")
    recipe = load_recipe("city-images")
    assert isinstance(recipe, ImageRecipe)
    made = ImageRun.create(tmp_path / "images", ImageRunConfig(model=model, recipe=recipe))
    assert ImageRun.open(made.path).config == made.config
    with pytest.raises(InputError, match="images: holds an image network; give it to pretrain, as --teacher"):
        Run.open(made.path)
    Run.create(tmp_path / "lidar", config())
    with pytest.raises(InputError, match="lidar: holds a lidar network, expected an image network"):
        ImageRun.open(tmp_path / "lidar")
    with pytest.raises(InputError, match="does not exist; give the --out folder of teach-images"):
        ImageRun.open(tmp_path / "none")


def test_a_folder_says_all_that_is_needed_to_build_the_network_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config())
    network = Network(config().model.student, config().model.head)
    run.save_network(network)
    again, described = Run.open(tmp_path / "run").load_network()
    assert described == config().model
    base = os.path.relpath(Path.cwd(), tmp_path / "run")
    assert Run.open(tmp_path / "run").config == config().model_copy(update={"base": base})
    assert not again.training
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "run"
    Run.create(out, config())
    with pytest.raises(InputError, match="holds a run already"):
        Run.create(out, config())
    with pytest.raises(InputError, match=r"recipe\.seed = 0 there, 1 now"):
        Run.create(out, config(seed=1), resume=True)
    assert Run.create(out, config(), resume=True).config.recipe == config().recipe
    assert Run.create(out, config(seed=1), overwrite=True).config.recipe == config(seed=1).recipe
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match="not empty"):
            Run.create(tmp_path / "mine", config(), **options)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"


def test_runs_that_led_to_one_are_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their paths are of the folder in which the commands were given, wherever that is now and wherever one asks."""
    (tmp_path / "then").mkdir()
    monkeypatch.chdir(tmp_path / "then")
    both = config().model_copy(update={"verb": "pretrain", "recipe": load_recipe("city")})
    Run.create("runs/far/both", both)
    Run.create("runs/head", config().model_copy(update={"parent": "runs/far/both"}))
    Run.create("mine", config().model_copy(update={"parent": "runs/head"}))
    (tmp_path / "then").rename(tmp_path / "now")
    monkeypatch.chdir(tmp_path)
    origin = Run.open("now/mine").origin()
    assert origin.path.resolve() == tmp_path / "now/runs/far/both"
    assert origin.distillation() == both.recipe
    assert Run.open("now/mine").taught() == both.taught()
    (tmp_path / "now/runs/far/both").rename(tmp_path / "now/both")
    (tmp_path / "runs/far/both").mkdir(parents=True)  # holds no run
    assert Run.open("now/mine").origin().path.resolve() == tmp_path / "now/runs/head"
    assert Run.open("now/mine").origin().distillation() is None
    assert Run.open("now/mine").taught() is None


def test_a_namesake_nearer_by_is_not_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create("head", config())
    Run.create("runs/head", config())
    mine = Run.create("runs/mine", config().model_copy(update={"parent": "head"}))
    assert mine.config.base == "../.."
    assert Run.open("runs/mine").origin().path == tmp_path / "head"
    older = tmp_path / "runs/mine/recipe.yaml"
    older.write_text(older.read_text().replace("base: ../..\n", ""))
    assert Run.open("runs/mine").config.base is None
    assert Run.open("runs/mine").origin().path == tmp_path / "runs/head"  # the best guess there is


def test_a_run_that_leads_to_itself_or_to_rubbish_has_an_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create("a", config().model_copy(update={"parent": "b"}))
    Run.create("b", config().model_copy(update={"parent": "a"}))
    assert Run.open("a").origin().path == tmp_path / "b"
    assert Run.open("a").taught() is None
    (tmp_path / "b/recipe.yaml").write_text("verb: [")
    assert Run.open("a").origin().path == Path("a")


def test_fingerprints_are_in_the_order_of_the_teachers() -> None:
    recipe = load_recipe("city", ["teacher=[{name: clip}, {name: clip, layer: value}, {name: other}]"])
    known = config().model_copy(update={"recipe": recipe, "teacher_weights": {"clip": "1", "other": "2"}})
    assert known.fingerprints() == (None, None, "2")
    assert config().fingerprints() == ()


def test_teachers_are_found_from_elsewhere_but_for_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "then" / "city").mkdir(parents=True)  # a folder of that name is no teacher of that name
    (tmp_path / "then" / "images").mkdir()
    monkeypatch.chdir(tmp_path / "then")
    known = load_recipe("city", ["teacher=[city, images, facebook/other]"])
    Run.create("runs/both", config().model_copy(update={"recipe": known}))
    monkeypatch.chdir(tmp_path)
    found = Run.open("then/runs/both").distillation()
    assert found is not None
    assert [one.name for one in found.teachers] == ["city", str(tmp_path / "then/images"), "facebook/other"]


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        Run.create(tmp_path / "file", config())


@pytest.mark.parametrize("text", ["verb: [", "verb: dance", "- 1", "verb: probe\nmodel: 3", "\x80"])
def test_a_damaged_recipe_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"recipe\.yaml") as error:
        Run.open(tmp_path)
    assert "\n" not in str(error.value)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        Run.create(tmp_path / "run", config()).load_network()


def test_damaged_weights_are_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"not weights")
    with pytest.raises(InputError, match="safetensors"):
        load_network(file)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="does not describe"):
        load_network(file)
    save_file({"x": torch.zeros(1)}, file, {"lidistill": config().model.model_dump_json()})
    with pytest.raises(InputError, match="do not fit"):
        load_network(file)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/lidistill-was-here",)


def test_a_checkpoint_is_never_executed(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config())
    (run.path / "checkpoint.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="not a readable checkpoint"):
        run.load_checkpoint()
    assert not Path("/tmp/lidistill-was-here").exists()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def fill(path: Path) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="disk is full"):
        write_atomically(target, fill)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below" / "x", lambda path: path.write_text(""))


def test_a_metrics_line_cut_short_is_dropped(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config())
    for step in (10, 20, 30):
        run.log(step=step, loss=1.0)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "lo')
    assert [row["step"] for row in run.metrics()] == [10, 20, 30]
    run.rewind_metrics(20)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20]


def test_student_config_is_rebuilt_exactly() -> None:
    student = student_config("waffleiron-48-768", activation="gelu")
    model = ModelConfig(student=student, head=HeadConfig(kind="mlp", outputs=8, hidden=4))
    assert ModelConfig.model_validate_json(model.model_dump_json()) == model
