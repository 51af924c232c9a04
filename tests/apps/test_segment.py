"""Probing and finetuning through the command line: fractions, from scratch, a few labels of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lidistill.apps.segment import default_recipe
from lidistill.cli import main
from lidistill.errors import RunError
from lidistill.evaluation.card import read_card
from lidistill.training.recipe import load_recipe
from lidistill.training.run import Run
from programs import tiny_program

SMALL = ["--set", "student.cell=2", "--set", "batch_size=2", "--set", "points=500", "--set", "workers=0"]
TUNE = ["--recipe", "city-supervised", "--epochs", "1", *SMALL]
STILL = [*TUNE, "--set", "lr=1e-12", "--set", "weight_decay=0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A labelled rig of nine scans, the same one without labels and with a folder of six, and a distilled run."""
    folder = tmp_path_factory.mktemp("place")
    rig = tiny_rig(folder / "rig", frames=9)
    bare = shutil.copytree(rig, folder / "bare")
    (bare / "labels").rename(folder / "labels")
    (bare / "splits.yaml").unlink()
    for number in (0, 2, 8):
        (folder / "labels" / f"{number:06d}.label").unlink()
    tiny_program(folder)
    pretrain = ["--recipe", "city", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "min_pairs=8", *SMALL]
    pretrain += ["--set", "teacher.image_size=[48, 96]", "--set", "head_hidden=8", "--seed", "3"]
    teacher = ["--teacher", str(folder / "patches.pt2")]
    assert main(["pretrain", str(rig), "--out", str(folder / "run"), *teacher, *pretrain]) == 0
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The place as the working folder; runs go to a folder of the test's own."""
    monkeypatch.chdir(place)
    return tmp_path


def backbone(run: Path) -> dict[str, torch.Tensor]:
    network, _ = Run.open(run).load_network()
    return {name: value for name, value in network.backbone.named_parameters()}


def test_a_fraction_of_the_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "run", "--data", "rig", "--fraction", "0.25", "--out", str(here / "quarter"), *TUNE]) == 0
    run = Run.open(here / "quarter")
    assert (run.config.split, run.config.recipe.fraction) == ("train-25", 0.25)
    assert "2 scans with labels" in (run.path / "log.txt").read_text()
    assert read_card(run.path / "card.json").data.frames == 1  # val is val
    assert main(["probe", "run", "--data", "rig", "--out", str(here / "p"), "--fraction", "0.02"]) == 2
    assert "there are lists for 0.01, 0.05" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["probe", "finetune"])
def test_a_run_is_not_written_over_itself(here: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "run", "--data", "rig", "--out", str(Path("run").resolve()), "--overwrite"]) == 2
    assert f"is the run that {verb} starts from; choose another folder" in capsys.readouterr().err
    assert (Path("run") / "model.safetensors").is_file()


def test_a_card_says_how_the_backbone_was_distilled(here: Path) -> None:
    """Also after another run in between, and where that first run is not there any more."""
    head = ["--recipe", "city-probe", "--epochs", "1", *SMALL]
    assert main(["probe", "run", "--data", "rig", "--out", str(here / "p"), *head]) == 0
    assert main(["finetune", str(here / "p"), "--data", "rig", "--out", str(here / "f"), *TUNE]) == 0
    probed = yaml.safe_load((here / "p" / "recipe.yaml").read_text())
    (here / "p" / "recipe.yaml").write_text(yaml.safe_dump(probed | {"pretraining": None}))  # of an older version
    older = Run.open(here / "p").taught()
    assert older is not None
    assert older.recipe == "city"
    shutil.rmtree(here / "p")
    found = read_card(here / "f" / "card.json").recipe["pretraining"]
    assert found["recipe"] == "city"
    assert [Path(source).name for source in found["sources"]] == ["rig"]
    assert [Path(name).name for name in found["teachers"]] == ["patches.pt2"]
    assert (found["epochs"], found["objective"], found["cameras"]) == (1, "similarity", "one")
    assert main(["probe", "--student", "waffleiron-1-8", "--data", "rig", "--out", str(here / "r"), *head]) == 0
    assert read_card(here / "r" / "card.json").recipe["pretraining"] is None
    assert "the backbone has random weights and keeps them" in (here / "r" / "log.txt").read_text()


def test_a_head_in_the_space_of_the_teachers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``reads=outputs``: the distillation head stays below the new head, frozen when probing, and goes on learning when
    finetuning; convolutions between them come along.
    """
    small = ["--data", "rig", "--epochs", "1", *SMALL, "--set", "reads=outputs"]
    for name, more in (("plain", []), ("calibrated", ["--set", "calibration={layers: 1, voxel: 0.5}"])):
        if more:
            teach = ["--recipe", "city", "--teacher", "patches.pt2", "--student", "waffleiron-2-16", "--epochs", "1"]
            teach += ["--set", "teacher.image_size=[48, 96]", "--set", "min_pairs=8", *SMALL, *more]
            assert main(["pretrain", "rig", "--out", str(here / name), *teach]) == 0
        given = here / name if more else Path("run")
        assert main(["probe", str(given), "--out", str(here / f"{name}-p"), "--recipe", "city-probe", *small]) == 0
        distilled, probed = (Run.open(path).load_network()[0] for path in (given, here / f"{name}-p"))
        assert probed.head_config.reads == distilled.head_config
        before, after = distilled.state_dict(), probed.state_dict()
        kept = {key: f"space.{key.removeprefix('head.')}" if key.startswith("head.") else key for key in before}
        assert all(torch.equal(before[key], after[there]) for key, there in kept.items())
        assert probed.head.norm.num_features == distilled.head_config.outputs
        tune = ["--recipe", "city-finetune", *small]
        assert main(["finetune", str(here / f"{name}-p"), "--out", str(here / f"{name}-f"), *tune]) == 0
        tuned = Run.open(here / f"{name}-f").load_network()[0]
        assert tuned.head_config == probed.head_config
        assert not torch.equal(tuned.space.output.weight, probed.space.output.weight)
        two = [*small, "--set", "reads=both"]
        assert main(["finetune", str(given), "--out", str(here / f"{name}-b"), "--recipe", "city-finetune", *two]) == 0
        heads = Run.open(here / f"{name}-b").load_network()[0].head
        assert heads.said.norm.num_features == distilled.head_config.outputs
        assert heads.features.output.weight.any()
        assert heads.said.output.weight.any()
    capsys.readouterr()
    assert main(["finetune", "--student", "waffleiron-1-8", "--out", str(here / "s"), *small]) == 2
    assert "reads = outputs needs a run that was distilled" in capsys.readouterr().err


def test_a_student_that_nobody_chose_is_named(
    here: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's own is made for a GPU."""
    monkeypatch.setattr("lidistill.apps.segment.train_head", lambda *_: (_ for _ in ()).throw(RunError("enough")))
    monkeypatch.setattr("lidistill.apps.segment.torch.cuda.is_available", lambda: False)
    assert main(["finetune", "--data", "rig", "--out", str(here / "x")]) == 1
    assert "no --student was named: waffleiron-48-768 is made for a GPU" in caplog.text
    caplog.clear()
    assert main(["finetune", "--student", "waffleiron-1-8", "--data", "rig", "--out", str(here / "y")]) == 1
    assert "made for a GPU" not in caplog.text


def test_a_warm_up_as_long_as_the_run_is_warned_of(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = [*TUNE, "--set", "schedule.warmup_epochs=20"]
    assert main(["finetune", "run", "--data", "rig", "--out", str(here / "x"), *long]) == 0
    assert "the warm-up is as long as the run (epochs = 1)" in caplog.text
    caplog.clear()
    short = [*TUNE, "--set", "schedule.warmup_epochs=0.1"]
    assert main(["finetune", "run", "--data", "rig", "--out", str(here / "y"), *short]) == 0
    assert "warm-up" not in caplog.text


def test_a_fraction_that_the_data_do_not_have_is_a_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lidistill.datasets import rig

    def few(splits: dict[str, tuple[int, ...]], _: object) -> dict[str, tuple[int, ...]]:
        return {**splits, "train-50": (0, 2)}

    monkeypatch.setattr(rig, "with_fractions", few)
    assert main(["finetune", "run", "--data", "rig", "--fraction", "0.01", "--out", str(here / "x"), *TUNE]) == 2
    said = capsys.readouterr().err
    assert "has no list for the fraction 0.01" in said
    assert "there are: 0.5 (2 scans)" in said
    assert not (here / "x").exists()


@pytest.mark.parametrize(
    ("distilled", "fraction", "few", "recipe"),
    [
        ("scalr", None, False, "finetune"),
        ("scalr", 0.01, False, "finetune-nuscenes-1"),
        ("scalr", 0.5, False, "finetune"),
        ("city", None, False, "city-finetune"),
        ("city", 0.01, False, "city-finetune"),
        ("city", None, True, "few-labels"),
        ("slidr", 0.01, False, "slidr-finetune"),
        ("ppkt", None, True, "few-labels"),
        ("scalr-plus", None, False, "scalr-plus-finetune-nuscenes"),
        ("scalr-plus", 0.1, False, "scalr-plus-finetune-nuscenes-10"),
        ("scalr-plus", None, True, "scalr-plus-few-labels"),
    ],
)
def test_the_published_recipe_is_the_default(
    here: Path, distilled: str, fraction: float | None, few: bool, recipe: str
) -> None:
    run = here / "run"
    run.mkdir()
    text = (Path("run") / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("name: city\n", f"name: {distilled}\n"))
    taught = Run.open(run).taught()
    assert taught is not None
    if distilled in ("slidr", "ppkt"):
        taught = taught.model_copy(update={"objective": distilled})
    assert default_recipe("finetune", taught, fraction, few=few, first=False) == recipe
    assert load_recipe(recipe).name == recipe
    learned = default_recipe("finetune", None, fraction, few=False, first=False)
    assert learned == "finetune"  # from labels alone
    assert default_recipe("finetune", None, fraction, few=False, first=True) == "from-scratch"


def test_from_scratch_is_the_same_network_with_other_weights(here: Path) -> None:
    for name, flag in (("tuned", []), ("scratch", ["--from-scratch"]), ("again", ["--from-scratch"])):
        assert main(["finetune", "run", *flag, "--data", "rig", "--out", str(here / name), *STILL]) == 0
    parent, tuned, scratch, again = (
        backbone(run) for run in (Path("run"), *(here / n for n in ("tuned", "scratch", "again")))
    )
    matrices = [name for name, value in parent.items() if value.ndim > 1]
    assert matrices
    for name in matrices:
        assert torch.allclose(parent[name], tuned[name], atol=1e-6)
        assert not torch.allclose(parent[name], scratch[name], atol=1e-2)
        assert torch.equal(scratch[name], again[name])
    one, other = (Run.open(here / name).config for name in ("tuned", "scratch"))
    assert one.model == other.model
    assert one.recipe == other.recipe
    assert (one.parent, other.parent) == ("run", None)


def test_finetuning_goes_on_with_a_head_that_knows_the_classes(here: Path) -> None:
    probe = ["--recipe", "city-probe", "--epochs", "2", *SMALL]
    assert main(["probe", "run", "--data", "rig", "--out", str(here / "probe"), *probe]) == 0
    for name, flag in (("tuned", []), ("scratch", ["--from-scratch"])):
        assert main(["finetune", str(here / "probe"), *flag, "--data", "rig", "--out", str(here / name), *STILL]) == 0
    assert (
        main(["probe", str(here / "probe"), "--data", "rig", "--out", str(here / "again"), *probe, "--seed", "5"]) == 0
    )
    heads = {
        name: dict(Run.open(here / name).load_network()[0].head.named_parameters())
        for name in ("probe", "tuned", "scratch", "again")
    }
    for name, value in heads["probe"].items():
        assert torch.allclose(value, heads["tuned"][name], atol=1e-6)
    weights = [name for name, value in heads["probe"].items() if value.ndim > 1]
    for other in ("scratch", "again"):  # a probe is always of the backbone alone
        assert not any(torch.allclose(heads["probe"][name], heads[other][name], atol=1e-2) for name in weights)
    assert "starts with the head" in (here / "tuned" / "log.txt").read_text()


def test_a_head_of_other_classes_is_not_kept(here: Path, place: Path) -> None:
    probe = ["--recipe", "city-probe", "--epochs", "1", *SMALL]
    assert main(["probe", "run", "--data", "rig", "--out", str(here / "probe"), *probe]) == 0
    other = shutil.copytree(place / "rig", here / "other")
    description = yaml.safe_load((other / "rig.yaml").read_text())
    names = list(Run.open(here / "probe").config.model.classes or ())
    (other / "rig.yaml").write_text(yaml.safe_dump({**description, "classes": [*names[1:], names[0]]}))
    assert main(["finetune", str(here / "probe"), "--data", str(other), "--out", str(here / "tuned"), *STILL]) == 0
    assert "starts with the head" not in (here / "tuned" / "log.txt").read_text()


def test_the_student_sees_what_the_recipe_says(here: Path) -> None:
    view = ["--set", "fov=[[-20, 20], [-20, 20], [-4, 4]]", "--set", "student.drop_path=0.1"]
    assert main(["finetune", "run", "--data", "rig", "--out", str(here / "near"), *STILL, *view]) == 0
    network, model = Run.open(here / "near").load_network()
    assert model.student.fov == ((-20, 20), (-20, 20), (-4, 4))
    assert model.student.drop_path == 0.1
    assert network.tokenizer.cells == (20, 20, 4)
    old = Run.open("run").config.model.student
    assert model.student.model_copy(update={"fov": old.fov, "drop_path": old.drop_path}) == old


def test_a_field_of_view_that_is_none_is_a_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = ["--set", "fov=[[20, -20], [-20, 20], [-4, 4]]"]
    assert main(["finetune", "run", "--data", "rig", "--out", str(here / "x"), *TUNE, *view]) == 2
    assert "must rise" in capsys.readouterr().err


def test_a_few_labels_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder of label files to predictions."""
    out = here / "mine"
    few = ["--labels", "labels", "--epochs", "2", "--set", "fraction=1.0", *SMALL]
    assert main(["finetune", "run", "--data", "bare", "--out", str(out), *few]) == 0
    log = (out / "log.txt").read_text()
    assert "5 scans with labels, 16 classes" in log
    assert "held out to evaluate on: 000006" in log
    assert "none of: " in log
    config = Run.open(out).config
    assert config.sources == ("rig:bare?labels=labels",)
    assert config.recipe.name == "few-labels"
    assert read_card(out / "card.json").data.frames == 1
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", "rig:bare?labels=labels"]) == 0
    assert "over 1 scans" in capsys.readouterr().out
    assert main(["predict", str(out), "bare", "--out", str(here / "predicted")]) == 0
    assert len(list((here / "predicted").glob("*.label"))) == 9
    assert main(["finetune", "run", "--data", "bare", "--out", str(out), *few, "--resume"]) == 0


def test_fewer_than_five_labels_hold_out_nothing(here: Path, place: Path) -> None:
    (here / "four").mkdir()
    for number in (3, 4, 5, 6):
        shutil.copy(place / "labels" / f"{number:06d}.label", here / "four")
    labels = ["--labels", str(here / "four"), "--recipe", "city-probe", "--epochs", "1", *SMALL]
    assert main(["probe", "run", "--data", "bare", "--out", str(here / "mine"), *labels]) == 0
    log = (here / "mine" / "log.txt").read_text()
    assert "4 scans with labels" in log
    assert "nothing will say how good it is" in log
    assert not (here / "mine" / "card.json").exists()


def test_classes_of_a_rig_that_names_none(here: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "bare", here / "nameless")
    values = yaml.safe_load((place / "bare" / "rig.yaml").read_text())
    del values["classes"]
    (here / "nameless" / "rig.yaml").write_text(yaml.safe_dump(values))
    few = [
        "finetune",
        "run",
        "--data",
        str(here / "nameless"),
        "--labels",
        "labels",
        "--out",
        str(here / "mine"),
        *TUNE,
    ]
    assert main(few) == 2
    assert "name one with --classes" in capsys.readouterr().err
    assert main([*few, "--classes", "city-16"]) == 0
    assert Run.open(here / "mine").config.model.taxonomy == "city-16"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: np.full(9, 1, np.uint32).tofile(file), "9 labels, expected"),
        (lambda file: (np.fromfile(file, np.uint32) + 1000).tofile(file), "does not know"),
        (lambda file: file.rename(file.with_name("3.label")), "no scan is called '3'"),
    ],
)
def test_bad_labels_stop_before_anything_is_written(
    here: Path, place: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], said: str
) -> None:
    shutil.copytree(place / "labels", here / "labels")
    damage(here / "labels" / "000003.label")
    out = here / "mine"
    assert main(["finetune", "run", "--data", "bare", "--labels", str(here / "labels"), "--out", str(out), *TUNE]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_labels_are_for_rigs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", "semantic-kitti:/nowhere", "--labels", "labels"]
    assert main(["finetune", "run", *data, "--out", str(here / "x")]) == 2
    assert "--labels labels: is for a rig folder; the data set semantic-kitti" in capsys.readouterr().err
    both = ["--labels", "labels", "--fraction", "0.1"]
    assert main(["finetune", "run", "--data", "bare", *both, "--out", str(here / "x")]) == 2
    assert "with --labels all of yours are used" in capsys.readouterr().err


def test_a_class_list_that_does_not_fit_is_doubted(
    tiny_rig: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = tiny_rig(tmp_path / "rig", frames=3)
    small = ["--recipe", "city-probe", "--student", "waffleiron-1-8", "--epochs", "1", "--set", "workers=0"]
    assert main(["probe", "--data", str(rig), "--out", str(tmp_path / "fits"), *small]) == 0
    assert "does the class list fit" not in caplog.text
    content = yaml.safe_load((rig / "rig.yaml").read_text())
    (rig / "rig.yaml").write_text(yaml.safe_dump({**content, "classes": ["nothing", "car"]}))
    for label in (rig / "labels").iterdir():
        (np.fromfile(label, np.uint32) + 5).tofile(label)
    main(["probe", "--data", str(rig), "--out", str(tmp_path / "not"), *small])
    assert "does the class list fit the label files?" in caplog.text
