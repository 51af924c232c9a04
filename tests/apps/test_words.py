"""Open vocabulary: runs with a MaskCLIP teacher are asked for classes by words, with and without labels at hand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clips import DIM, tiny_clip
from lidistill.apps.words import Best, knows_words, read_words, speaking, words_for
from lidistill.cli import main
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.evaluation.inference import look
from lidistill.sensing.files.labels import read_labels
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.text import text_vectors
from lidistill.training.run import Run
from programs import tiny_program

pytest.importorskip("transformers")

SMALL = ["--student", "waffleiron-1-8", "--epochs", "2", "--set", "student.cell=2", "--set", "batch_size=2"]
SMALL += ["--set", "points=500", "--set", "workers=0"]
DISTIL = ["--recipe", "city", *SMALL, "--set", "min_pairs=8", "--set", "teacher.image_size=[48, 96]"]
CLASSES = "tram, car; van; sports-car, road"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    """A rig, a small CLIP, a network that is no CLIP, a run distilled from the first and one from both."""
    folder = tmp_path_factory.mktemp("words")
    tiny_rig(folder / "rig", frames=4)
    tiny_clip(folder / "clip")
    tiny_program(folder, features=5)
    clip, other = str(folder / "clip"), str(folder / "patches.pt2")
    distil(folder, "run", clip, "teacher.layer=value")
    distil(folder, "both", f"{other},{clip}", "teacher.1.layer=value")
    return folder


def distil(folder: Path, out: str, teachers: str, *settings: str) -> None:
    said = [word for setting in settings for word in ("--set", setting)]
    command = ["pretrain", str(folder / "rig"), "--teacher", teachers, "--out", str(folder / out), *DISTIL, *said]
    assert main(command) == 0


def predict(world: Path, out: Path, *options: str, run: str = "run") -> int:
    return main(["predict", str(world / run), str(world / "rig"), "--out", str(out), "--no-ply", *options])


def vectors(world: Path, *phrases: str) -> torch.Tensor:
    return text_vectors(TeacherConfig(name=str(world / "clip")), phrases)


def labels(folder: Path) -> np.ndarray:
    return np.concatenate([read_labels(path) for path in sorted(folder.glob("*.label"))])


# ---- what is predicted


@pytest.mark.parametrize(("run", "columns"), [("run", slice(0, DIM)), ("both", slice(5, 5 + DIM))])
def test_predicted_is_the_phrase_with_the_largest_cosine(world: Path, tmp_path: Path, run: str, columns: slice) -> None:
    assert predict(world, tmp_path / "labels", "--classes", CLASSES, run=run) == 0
    assert json.loads((tmp_path / "labels/classes.json").read_text()) == {"0": "tram", "1": "car", "2": "road"}
    network, model = Run.open(world / run).load_network()
    text, owner = vectors(world, "tram", "car", "van", "sports car", "road"), torch.tensor([0, 1, 1, 1, 2])
    source = open_source(str(world / "rig"))
    seen = set()
    for index in range(len(source)):
        item = look(network, source[index], model.voxel)
        learned = torch.nn.functional.normalize(item.outputs[:, columns], dim=1)
        cosines = (learned @ text.T)[item.rows]
        written = read_labels(tmp_path / "labels" / f"{index:06d}.label")
        best = owner[cosines.argmax(1)].numpy()
        gap = cosines.topk(2).values.diff(dim=1).abs().squeeze(1).numpy()
        assert np.array_equal(written[gap > 1e-5], best[gap > 1e-5])
        seen |= set(best.tolist())
    assert len(seen) > 1  # else any constant would do


def test_a_head_set_by_hand_to_the_text_vectors(world: Path, tmp_path: Path) -> None:
    """What lies on one side of a plane in feature space says "tram", the other side "road", in any length."""
    shutil.copytree(world / "run", tmp_path / "run")
    file = tmp_path / "run" / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        metadata, state = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    tram, road = vectors(world, "tram", "road")
    assert "head.hidden.weight" in state
    hidden = state["head.hidden.weight"].zero_()
    hidden[0, 0], hidden[1, 0] = 1, -1  # rectified: what is above 0, and below
    state["head.hidden.bias"].zero_()
    output = state["head.output.weight"].zero_()
    output[:, 0], output[:, 1] = 3 * tram, 0.2 * road
    state["head.output.bias"].zero_()
    save_file(state, file, metadata)
    options = ["--classes", "car, road, tram", "--features"]
    assert predict(world, tmp_path / "labels", *options, run=str(tmp_path / "run")) == 0
    first = np.concatenate([np.load(path)[:, 0] for path in sorted((tmp_path / "labels").glob("*.npy"))])
    found = labels(tmp_path / "labels")
    clear = np.abs(first) > 1e-3
    assert np.array_equal(found[clear], np.where(first > 0, 2, 1)[clear])
    assert 0.01 < (first > 0).mean() < 0.99


def test_order_gives_the_ids_and_changes_no_class(world: Path, tmp_path: Path) -> None:
    assert predict(world, tmp_path / "a", "--classes", "tram, car, road") == 0
    assert predict(world, tmp_path / "b", "--classes", "road, tram, car") == 0
    assert np.array_equal(labels(tmp_path / "b"), np.array([1, 2, 0])[labels(tmp_path / "a")])


def test_a_synonym_can_only_add_points_and_takes_what_its_own_class_had(world: Path, tmp_path: Path) -> None:
    assert predict(world, tmp_path / "apart", "--classes", "tram, car, van, road") == 0
    assert predict(world, tmp_path / "joined", "--classes", "tram, car; van, road") == 0
    assert np.array_equal(labels(tmp_path / "joined"), np.array([0, 1, 1, 2])[labels(tmp_path / "apart")])


def test_file_of_phrases(world: Path, tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text("tram:\ncar: [car, van, sports-car]\nroad: road\n")
    assert predict(world, tmp_path / "file", "--classes", str(tmp_path / "words.yaml")) == 0
    assert predict(world, tmp_path / "line", "--classes", CLASSES) == 0
    assert np.array_equal(labels(tmp_path / "file"), labels(tmp_path / "line"))


def test_coloured_by_word(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    scan = str(world / "rig/scans/000000.bin")
    options = ["--columns", "5", "--classes", "tram, road"]
    assert main(["predict", str(world / "run"), scan, "--out", str(out), *options]) == 0
    assert {path.name for path in out.iterdir()} == {"000000.label", "000000.ply", "classes.json"}


@pytest.mark.parametrize("order", [("clip", "a", "b"), ("a", "clip", "b"), ("a", "b", "clip")])
def test_clips_part_of_several_teachers_is_found(world: Path, order: tuple[str, ...]) -> None:
    """The rows of the others are zeros, wherever CLIP stands among them."""
    sizes = {"clip": DIM, "a": 5, "b": 7}
    for name in ("a", "b"):
        tiny_program(world, name, features=sizes[name])
    paths = [str(world / "clip") if name == "clip" else str(world / f"{name}.pt2") for name in order]
    out = "-".join(order)
    distil(world, out, ",".join(paths), f"teacher.{order.index('clip')}.layer=value")
    run = Run.open(world / out)
    network, model = run.load_network()
    found, _ = speaking(run, {"tram": ("tram",), "road": ("road",)})
    start = sum(sizes[name] for name in order[: order.index("clip")])
    frame = open_source(str(world / "rig"))[0]
    said, outputs = look(found, frame, model.voxel).outputs, look(network, frame, model.voxel).outputs
    assert torch.allclose(said, outputs[:, start : start + DIM] @ vectors(world, "tram", "road").T, atol=1e-4)


def test_best_of_the_phrases() -> None:
    scores = torch.tensor([[1.0, 5.0, 2.0], [3.0, 0.0, -1.0]])
    assert Best([1, 2])(scores).tolist() == [[1, 5], [3, 0]]


# ---- evaluation


@pytest.fixture(scope="module")
def phrases(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random weights see one class nearly everywhere: its words, given to a class with many points, and to another."""
    names, folder = classes(world), tmp_path_factory.mktemp("phrases")
    assert predict(world, folder / "labels", "--classes", ",".join(names)) == 0
    everywhere = names[np.bincount(labels(folder / "labels")).argmax()]
    large = [name for name in ("manmade", "driveable_surface", "sidewalk") if name != everywhere]
    for name in large[:2]:
        words = {other: other for other in names} | {name: everywhere, everywhere: "something else"}
        text = "".join(f"{other}: [{word}, {word} nearby]\n" for other, word in words.items())
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{large[0]}.yaml", folder / f"{large[1]}.yaml"


def classes(world: Path) -> tuple[str, ...]:
    taxonomy = open_source(str(world / "rig")).taxonomy
    assert taxonomy is not None
    return taxonomy.classes


def evaluate(world: Path, out: Path, *options: str) -> int:
    return main(["evaluate", str(world / "run"), "--data", str(world / "rig"), "--out", str(out), *options])


def test_evaluated_by_the_names_of_the_datas_classes(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an option and without a label learned."""
    assert evaluate(world, tmp_path) == 0
    card = read_card(tmp_path / "rig-val-words.json")
    assert card.recipe["evaluation"] == {"words": {name: [name] for name in classes(world)}}
    assert "driveable_surface" in capsys.readouterr().out
    line = Run.open(world / "run").metrics()[-1]
    assert (line["split"], line["frames"]) == ("val", 1)
    assert main(["report", str(world / "run")]) == 0
    assert evaluate(world, tmp_path, "--tta", "2") == 0
    assert (tmp_path / "rig-val-words-tta2.json").is_file()


def test_figures_are_those_of_what_predict_writes(world: Path, tmp_path: Path, phrases: tuple[Path, Path]) -> None:
    assert evaluate(world, tmp_path / "cards", "--classes", str(phrases[0])) == 0
    assert predict(world, tmp_path / "labels", "--classes", str(phrases[0])) == 0
    truth = open_source(str(world / "rig"))[3].labels
    assert truth is not None
    right = (read_labels(tmp_path / "labels/000003.label") == truth)[truth != 255]
    assert right.mean() > 0.1
    card = read_card(tmp_path / "cards" / "rig-val-words.json")
    assert card.metrics["accuracy"].mean == pytest.approx(right.mean())


def test_two_lists_of_phrases_are_two_results(
    world: Path, tmp_path: Path, phrases: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--classes", str(phrases[0])) == 0
    assert "sidewalk; sidewalk nearby" in capsys.readouterr().out
    for _ in range(2):
        assert evaluate(world, tmp_path) == 0
    assert "sidewalk; sidewalk nearby" not in capsys.readouterr().out
    cards = {path.name: read_card(path) for path in tmp_path.glob("*.json")}
    assert len(cards) == 2
    told = cards.pop("rig-val-words.json")
    (names,) = cards.values()
    assert told.recipe["evaluation"]["words"]["sidewalk"] == ["sidewalk", "sidewalk nearby"]
    assert names.recipe["evaluation"]["words"]["sidewalk"] == ["sidewalk"]
    assert told.metrics["accuracy"].mean != names.metrics["accuracy"].mean


def test_corrupted_scans_by_words(world: Path, tmp_path: Path, phrases: tuple[Path, Path]) -> None:
    for file in phrases:
        assert evaluate(world, tmp_path, "--corruptions", "beam-missing", "--classes", str(file)) == 0
    # finished parts of other words were not taken for these, and both cards stay
    first, second = (read_card(path).metrics["miou/beam-missing/1"].mean for path in tmp_path.glob("*.json"))
    assert first != second


# ---- words


def test_words_in_a_line_and_in_a_file(tmp_path: Path) -> None:
    assert read_words("car; van , tram") == {"car": ("car", "van"), "tram": ("tram",)}
    (tmp_path / "words.yaml").write_text("no: [no entry sign]\ntram:\nvan: minivan\n")
    expected = {"no": ("no entry sign",), "tram": ("tram",), "van": ("minivan",)}
    assert read_words(str(tmp_path / "words.yaml")) == expected


def test_words_of_data_are_their_names_but_for_what_is_told() -> None:
    assert words_for(("car", "other_flat"), None) == {"car": ("car",), "other_flat": ("other_flat",)}
    assert words_for(("car", "truck"), "truck; lorry") == {"car": ("car",), "truck": ("truck", "lorry")}
    with pytest.raises(InputError, match="no class 'trunk'; did you mean 'truck'"):
        words_for(("car", "truck"), "trunk")


BAD = {
    "car,, tram": "a name is empty",
    "car; , tram": "a name is empty",
    "car, -": "a name is empty",
    "": "a name is empty",
    "car, tram, car": "'car' is there twice",
    "car": "expected 2 to 255, found 1",
    "car; van, truck; Van": "'Van' stands for 'car' and for 'truck'",
    ",".join(f"thing{i}" for i in range(256)): "expected 2 to 255, found 256",
    "gone.yaml": "gone.yaml: cannot be read",
}


@pytest.mark.parametrize("said", BAD)
def test_bad_words(world: Path, tmp_path: Path, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(world, tmp_path / "labels", "--classes", said) == 2
    assert BAD[said] in capsys.readouterr().err
    assert not (tmp_path / "labels").exists()


NO_WORDS = ("[car, tram]", "car: {van: 1}", "car: []", "car: [van, [truck]]", "car: [van", "a: b\nc: d\na: e")


@pytest.mark.parametrize("text", NO_WORDS)
def test_files_that_are_no_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "words.yaml").write_text(text)
    with pytest.raises(InputError, match=r"words\.yaml: "):
        read_words(str(tmp_path / "words.yaml"))


# ---- what the page says


def test_commands_of_the_page(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, with its files, on the small rig; the catalogue's CLIP, which no test downloads, is the small one."""
    page = (Path(__file__).parents[2] / "docs/how-to/open-vocabulary.md").read_text(encoding="utf-8")
    monkeypatch.setitem(CATALOG, "maskclip-vitb16", replace(CATALOG["maskclip-vitb16"], hub=str(world / "clip")))
    monkeypatch.chdir(tmp_path)
    Path("my_rig").symlink_to(world / "rig")
    files = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, text in zip(("words.yaml", "phrases.yaml"), files, strict=True):
        Path(name).write_text(text)
    for line in re.findall(r"^\$ lidistill (.*)$", page, re.MULTILINE):
        words = shlex.split(line)
        assert main([*words, *(DISTIL if words[0] == "pretrain" else ())]) == 0
    assert json.loads(Path("labels/classes.json").read_text())["4"] == "building"
    assert json.loads(Path("by_file/classes.json").read_text())["3"] == "other"
    assert len(list(Path("runs/clip/evaluations").glob("rig-val-words*.json"))) == 2


# ---- runs that know no words


def test_run_without_clip_and_probed_run(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distil(world, "other", str(world / "patches.pt2"))
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run="other") == 2
    assert "patches.pt2) has features in CLIP's text space; distil from maskclip-vitb16" in capsys.readouterr().err
    assert main(["evaluate", str(world / "other"), "--data", str(world / "rig")]) == 2
    assert "probe, finetune or adapt it first" in capsys.readouterr().err
    probe = ["probe", str(world / "run"), "--data", str(world / "rig"), "--out", str(tmp_path / "probe")]
    assert main([*probe, "--recipe", "city-probe", "--epochs", "1", "--set", "workers=0"]) == 0
    assert not knows_words(Run.open(tmp_path / "probe").config)
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=str(tmp_path / "probe")) == 2
    assert f"words are for a run that was only distilled, {world / 'run'}" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "probe"), "--data", str(world / "rig"), "--classes", "car; van"]) == 2
    assert "words are for a run that was only distilled" in capsys.readouterr().err


def test_space_of_its_own_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distil(world, "ppkt", str(world / "clip"), "teacher.layer=value", "objective=ppkt", "image_head=8")
    for command in ("predict", "evaluate"):
        rest = [str(world / "rig")] if command == "predict" else ["--data", str(world / "rig")]
        arguments = [command, str(world / "ppkt"), *rest, "--out", str(tmp_path / "out"), "--classes", "car, bus"]
        assert main(arguments) == 2
        assert "has an image_head, so its features lie in a space of their own" in capsys.readouterr().err


def test_map_is_not_needed(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(world / "run"), "--data", str(world / "rig"), "--map", "kitti-10"]) == 2
    assert "words need no map" in capsys.readouterr().err


def test_another_model_in_the_folder(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's own folder of the teacher, with a CLIP of another size since."""
    import transformers

    shutil.copytree(world / "run", tmp_path / "run")
    shutil.copytree(world / "clip", tmp_path / "clip")
    config = transformers.CLIPConfig.from_pretrained(tmp_path / "clip")
    config.projection_dim = DIM + 1
    transformers.CLIPModel(config).save_pretrained(tmp_path / "clip")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(world / "clip"), str(tmp_path / "clip")))
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=str(tmp_path / "run")) == 2
    assert f"has {DIM} features, the text encoder of {tmp_path / 'clip'} {DIM + 1}" in capsys.readouterr().err


def test_the_teacher_is_found_from_elsewhere(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path in a run is of the folder in which its command was given, wherever one is now."""
    shutil.copytree(world / "run", tmp_path / "runs" / "run")
    shutil.copytree(world / "clip", tmp_path / "models" / "clip")
    recipe = tmp_path / "runs" / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(world / "clip"), "models/clip"))
    monkeypatch.chdir(world)
    run = str(tmp_path / "runs" / "run")
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=run) == 0
    shutil.move(tmp_path / "models" / "clip", tmp_path / "gone")
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=run) == 2
    said = capsys.readouterr().err
    assert "teacher models/clip: cannot be loaded" in said or "the path does not exist" in said
    (tmp_path / "models").rmdir()
    (world / "models").mkdir()  # a folder here, so that no hub name can be meant
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=run) == 2
    assert "teacher models/clip: the path does not exist, from here or from a folder above the run; words need" in (
        capsys.readouterr().err
    )


def test_folder_that_has_moved(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(world / "run", tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(world / "clip"), str(tmp_path / "clip")))
    run = str(tmp_path / "run")
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=run) == 2
    assert "if the folder has moved, put a link in its place" in capsys.readouterr().err
    (tmp_path / "clip").symlink_to(world / "clip")
    assert predict(world, tmp_path / "labels", "--classes", "car, tram", run=run) == 0
