"""``adapt``: from a distilled backbone to a new lidar whose labels are never learned."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import lidistill
from lidistill.apps import adapt as app
from lidistill.apps.evaluate import evaluate
from lidistill.apps.table import find_cards
from lidistill.datasets.pseudo_labels import PseudoLabels
from lidistill.datasets.source import open_source
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation.card import read_card
from lidistill.evaluation.inference import look
from lidistill.evaluation.information import information
from lidistill.evaluation.opinion import ask_pictures
from lidistill.sensing.frame import Frame
from lidistill.training import adapt as module
from lidistill.training import loop
from lidistill.training.adapt import Judge
from lidistill.training.batch_norms import measure_anew
from lidistill.training.data import open_split
from lidistill.training.loop import Interrupted
from lidistill.training.run import Run

SMALL = ("workers=0", "points=600", "batch_size=2", "voxel=0.05")
STUDENT = ("student=waffleiron-1-8",)


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapt")
    return {name: str(tiny_rig(folder / name, frames=4, seed=seed)) for seed, name in enumerate(("here", "there"))}


@pytest.fixture(scope="module")
def head(rigs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that was trained on the source."""
    out = tmp_path_factory.mktemp("head") / "head"
    lidistill.finetune(data=rigs["here"], out=out, recipe="city-supervised", epochs=3, set=(*SMALL, *STUDENT))
    return out


def adapt(run: Path, rigs: dict[str, str], out: Path, *options: str, **given: object) -> Path:
    said = ("rounds=2", "keep=[0.5,0.8]", "mixing=sectors", "epochs=2", *SMALL, *options)
    where = {"source": rigs["here"], "target": rigs["there"], "out": out, "recipe": "city-muddos", "set": said}
    return lidistill.adapt(run, **{**where, **given})


def state(run: Path) -> dict[str, torch.Tensor]:
    return Run.open(run).load_network()[0].state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], part: str = "") -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items() if name.startswith(part))


@pytest.fixture(scope="module")
def adapted(head: Path, rigs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapt(head, rigs, tmp_path_factory.mktemp("adapted") / "run")


def test_a_round_teaches_the_head_and_spares_the_backbone(head: Path, adapted: Path) -> None:
    before, first, second = state(head), state(adapted / "rounds/1"), state(adapted / "rounds/2")
    assert same(before, first, "backbone")
    assert same(before, second, "backbone")
    assert not same(before, first, "head")
    assert not same(first, second, "head")


def test_the_round_that_is_judged_best_is_kept(head: Path, adapted: Path) -> None:
    rows = [row for row in Run.open(adapted).metrics() if row.get("split") == "target"]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["keep"] for row in rows] == [0.0, 0.5, 0.8]
    best = max(rows, key=lambda row: row["judged"])
    chosen = best["step"] if best["judged"] > rows[0]["judged"] else 0
    assert same(state(head if chosen == 0 else adapted / "rounds" / str(chosen)), state(adapted))


@pytest.mark.parametrize(("said", "kept"), [((0.7, 0.75, 0.72), 1), ((0.7, 0.7, 0.69), 0), ((0.7, 0.72, 0.74), 2)])
def test_a_round_must_be_judged_better(
    head: Path,
    rigs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: tuple[float, ...],
    kept: int,
) -> None:
    figures = iter(said)
    monkeypatch.setattr(app, "who_judges", lambda *_: Judge("dice <1>", lambda _: {"one": 0.5, "other": next(figures)}))
    run = adapt(head, rigs, tmp_path / "run")
    logged = (run / "log.txt").read_text()
    assert "rounds are compared by dice <1>" in logged
    assert f"before the first round: judged {50 + 100 * said[0]:.1f} = one 50.0 + other {100 * said[0]:.1f}" in logged
    assert ("before, and so it stays: nothing was adapted" in logged) == (kept == 0)
    report = (run / "report.html").read_text()
    assert "Compared by dice &lt;1&gt;; x 100." in report
    assert "<h2>Learning" not in report  # of rounds, each of which has a report of its own
    rows = Run.open(run).metrics()
    assert [row for row in rows if row["split"] == "kept"] == [{"step": kept, "split": "kept", "by": "dice <1>"}]
    assert [row["kept_round"] for row in rows if row["split"] == "val"] == [kept]
    assert read_card(run / "card.json").recipe["evaluation"] == {"kept_round": kept}
    assert "evaluation" not in read_card(run / "source-only.json").recipe
    assert not same(state(head), state(run / "rounds/1"))
    assert same(state(head if kept == 0 else run / "rounds" / str(kept)), state(run))


def test_the_run_is_one_like_any_other(adapted: Path, rigs: dict[str, str]) -> None:
    config = Run.open(adapted).config
    assert (config.verb, config.sources) == ("adapt", (rigs["here"], rigs["there"]))
    card, before = read_card(adapted / "card.json"), read_card(adapted / "source-only.json")
    assert card.data.spec == before.data.spec == rigs["there"]
    assert card.verb == "adapt"
    of_round = evaluate(adapted / "rounds/1", data=rigs["there"])
    assert set(find_cards([adapted])) == {adapted / "card.json"}
    assert set(find_cards([adapted / "rounds"])) == set(find_cards([adapted / "rounds/1"])) == {of_round}
    (rounds := adapted.parent / "mine/rounds").mkdir(parents=True)  # a user's name for a folder
    shutil.copy(of_round, rounds / "card.json")
    assert set(find_cards([rounds.parent])) == {rounds / "card.json"}
    of_round.unlink()
    again = read_card(evaluate(adapted, data=rigs["there"], out=adapted.parent / "again"))
    assert again.metrics["miou"].values == card.metrics["miou"].values
    assert (adapted / "report.html").is_file()
    assert (adapted / "pictures/prediction.jpg").is_file()
    page = (adapted / "report.html").read_text()
    assert f"{rigs['here']} -&gt; {rigs['there']}" in page
    assert "before adaptation" in page
    rounds = page.split("<h2>Rounds</h2>")[1].split("<h2>")[0]
    kept = [row["step"] for row in Run.open(adapted).metrics() if row["split"] == "kept"]
    assert [line.count(">kept<") for line in rounds.split("<tr>")[2:]] == [int(n == kept[0]) for n in (0, 1, 2)]


def test_a_target_that_nothing_can_evaluate_or_whose_first_scan_is_too_far_is_adapted_to(
    head: Path, rigs: dict[str, str], tmp_path: Path
) -> None:
    """What comes after training, the record and the pictures, does not fail it."""
    rig = tmp_path / "there"
    shutil.copytree(rigs["there"], rig, ignore=shutil.ignore_patterns(".lidistill"))
    for file in (rig / "labels").iterdir():
        np.zeros_like(np.fromfile(file, np.uint32)).tofile(file)  # noise, of no class
    far = sorted((rig / "scans").iterdir())[1]
    scan = np.fromfile(far, np.float32)
    scan[::4] += 1e4
    scan.tofile(far)
    run = adapt(head, {**rigs, "there": str(rig)}, tmp_path / "run", "rounds=1", "bad_frames=0.5")
    assert not (run / "card.json").exists()
    assert (run / "report.html").is_file()
    assert (run / "log.txt").read_text().count("not evaluated: ") == 1


def test_no_label_of_the_target_is_learned(head: Path, adapted: Path, rigs: dict[str, str], tmp_path: Path) -> None:
    """Other labels, damaged ones and none at all give the very same network."""
    for name in ("other", "damaged", "none"):
        rig = tmp_path / name / "there"
        shutil.copytree(rigs["there"], rig, ignore=shutil.ignore_patterns(".lidistill"))
        for file in (rig / "labels").iterdir():
            labels = np.fromfile(file, np.uint32)
            file.unlink()
            if name != "none":
                np.full_like(labels[: None if name == "other" else -1], 1).tofile(file)
        run = adapt(head, {**rigs, "there": str(rig)}, tmp_path / f"run-{name}")
        assert same(state(run), state(adapted))
        assert same(state(run / "rounds/2"), state(adapted / "rounds/2"))
        assert (run / "card.json").is_file() == (name == "other")


def test_the_run_that_is_adapted_stays_as_it_is(head: Path, rigs: dict[str, str], tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in head.rglob("*") if file.is_file()}
    adapt(head, rigs, tmp_path / "run", "rounds=0")
    assert {file: file.read_bytes() for file in head.rglob("*") if file.is_file()} == before


def test_a_head_that_is_there_is_not_chosen_again(head: Path, rigs: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--set head: run {head} has a head already and is taken as it is"):
        adapt(head, rigs, tmp_path / "run", "head=linear-probe")
    with pytest.raises(InputError, match=r"set = 'rounds=1': expected a list of such texts, \['rounds=1'\]"):
        lidistill.adapt(head, source=rigs["here"], target=rigs["there"], out=tmp_path / "run", set="rounds=1")


def test_resume_of_nothing_is_said(
    head: Path, rigs: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapt(head, rigs, tmp_path / "run", "rounds=0", resume=True)
    assert f"--resume: {tmp_path / 'run'} holds no run to go on with; a new one starts there" in caplog.text


def test_where_statistics_cost_the_network_as_it_was_is_kept(
    head: Path, rigs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter((0.7, 0.6))
    monkeypatch.setattr(app, "who_judges", lambda *_: Judge("dice", lambda _: {"dice": next(figures)}))
    run = adapt(head, rigs, tmp_path / "run", "statistics=target", "rounds=1")
    assert same(state(head), state(run))
    assert not same(state(head), state(run / "rounds/1"), "backbone")  # which has the statistics of the target


def test_a_lidar_of_the_same_name_is_on_the_scale_that_the_run_stores(
    tmp_path: Path, tiny_rig: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own scans are brighter; but so it is predicted and evaluated, so it has to be learned."""
    rigs = {name: tiny_rig(tmp_path / name, frames=3, seed=n) for n, name in enumerate(("far", "here", "there"))}
    for name, rig in rigs.items():
        text = (rig / "rig.yaml").read_text()
        assert "tiny-16" in text
        measured = re.sub(r"  intensity:\n(  - .*\n){2}", "", text)
        assert "intensity" not in measured
        (rig / "rig.yaml").write_text(measured.replace("tiny-16", "other") if name == "far" else measured)
    for scan in (rigs["there"] / "scans").iterdir():
        points = np.fromfile(scan, np.float32).reshape(-1, 5)
        points[:, 3] *= 1.5
        points.tofile(scan)
    given = {name: str(rig) for name, rig in rigs.items()}
    small = (*SMALL, *STUDENT, "teacher.image_size=[48,96]", "min_pairs=8")
    lidistill.pretrain((given["far"],), out=tmp_path / "both", recipe="city", epochs=1, set=small)
    seen = []

    def noted(_run: Run, _network: object, target: Unlabelled, _rounds: int) -> Judge:
        seen.append(target.sensor)
        return Judge("dice", lambda _: {})

    monkeypatch.setattr(app, "who_judges", noted)
    run = adapt(tmp_path / "both", given, tmp_path / "run", "rounds=0")
    stored = next(one for one in Run.open(run).config.model.sensors if one.name == "tiny-16")
    assert seen[0].intensity == stored.intensity
    assert stored.intensity == open_split(given["here"], None).sensor.intensity
    assert stored.intensity != pytest.approx(open_split(given["there"], None).sensor.intensity, rel=0.1)


def test_a_round_that_was_killed_before_it_learned_ends_alike(
    rigs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are dropped at random, so nothing that a resumed round need not do again may draw from that chance."""
    set_ = (*SMALL, "student=waffleiron-3-8", "student.drop_path=0.5")
    head = lidistill.finetune(data=rigs["here"], out=tmp_path / "head", recipe="city-supervised", epochs=1, set=set_)
    learns = ("rounds=1", "frozen=false")
    whole = adapt(head, rigs, tmp_path / "whole", *learns)

    def stop(*_: object, **__: object) -> None:
        raise InputError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit", stop)
        with pytest.raises(InputError, match="stopped here"):
            adapt(head, rigs, tmp_path / "run", *learns)
    torch.rand(1)
    run = adapt(head, rigs, tmp_path / "run", *learns, resume=True)
    assert same(state(whole / "rounds/1"), state(run / "rounds/1"))


@pytest.mark.parametrize("when", ["in the last iteration", "while its end is saved"])
def test_a_signal_at_the_end_of_a_round_stops_what_follows(
    when: str, head: Path, adapted: Path, rigs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = (loop._step, []) if when == "in the last iteration" else (loop._save, [])

    def told(*given: object) -> object:
        calls.append(1)
        if len(calls) == (2 if when == "in the last iteration" else 1):  # the last of two; saved at the end
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, real.__name__, told)
        with pytest.raises(Interrupted, match="stopped by SIGTERM after iteration 2; to go on with"):
            adapt(head, rigs, tmp_path / "run", "checkpoint_minutes=60")
    assert not (tmp_path / "run/rounds/2").exists()
    adapt(head, rigs, tmp_path / "run", resume=True)
    assert same(state(tmp_path / "run/rounds/2"), state(adapted / "rounds/2"))


def test_who_stops_a_round_is_told_where_to_go_on(
    head: Path, rigs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(fabric: object, run: Run, *_: object) -> None:
        raise Interrupted(run.path, 3, 2)

    monkeypatch.setattr(module, "fit", stop)
    with pytest.raises(Interrupted, match=f"to go on with {tmp_path / 'run'}, give the same command and --resume$"):
        adapt(head, rigs, tmp_path / "run")


def test_statistics_come_from_the_scans_that_can_be_read(head: Path, rigs: dict[str, str]) -> None:
    class Damaged:
        spec = name = "damaged"

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Frame:
            if index == 1:
                raise InputError("scan 1 is truncated")
            return open_source(rigs["there"])[index]

    network, model = Run.open(head).load_network()
    norm = network.head.norm
    momentum = norm.momentum
    measure_anew(network, Unlabelled(Damaged()), model.voxel)  # type: ignore[arg-type]
    assert not any(part.training for part in network.modules())
    assert norm.momentum == momentum
    found = [look(network, open_source(rigs["there"])[index], model.voxel).features for index in (0, 2)]
    means = torch.stack([features.mean(0) for features in found])
    # the mean of both scans, not one of them; in training mode every scan is normed by itself, which differs a little
    distances = [float((norm.running_mean - value).abs().max()) for value in (means.mean(0), *means)]
    assert distances[0] < 0.2 * min(distances[1:])


def test_statistics_of_no_scan_are_an_error(head: Path, rigs: dict[str, str], tmp_path: Path) -> None:
    rig = tmp_path / "there"
    shutil.copytree(rigs["there"], rig, ignore=shutil.ignore_patterns(".lidistill"))
    network, model = Run.open(head).load_network()
    target = Unlabelled(open_source(str(rig)))
    for file in (rig / "scans").iterdir():
        file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"scans.00000\d\.bin"):
        measure_anew(network, target, model.voxel)


def test_finished_rounds_are_not_repeated(
    head: Path, adapted: Path, rigs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise InputError("stopped here")

    real = module.fit
    calls: list[int] = []

    def once(*given: object, **options: object) -> None:
        calls.append(1)
        stop() if len(calls) == 2 else real(*given, **options)

    monkeypatch.setattr(module, "fit", once)
    with pytest.raises(InputError, match="stopped here"):
        adapt(head, rigs, tmp_path / "run")
    assert (tmp_path / "run/rounds/1/model.safetensors").is_file()
    asked = list(tmp_path.glob("run/rounds/2/pseudo-labels/*"))
    assert len(asked) == 3 + 1  # the scans, and that they are all there
    monkeypatch.setattr(PseudoLabels, "write", stop)  # nor is the network asked again
    adapt(head, rigs, tmp_path / "run", resume=True)
    assert len(calls) == 3
    assert same(state(tmp_path / "run"), state(adapted))
    assert same(state(tmp_path / "run/rounds/2"), state(adapted / "rounds/2"))


@pytest.mark.parametrize(("base", "verb"), [("city-muddos-head", "probe"), ("city-finetune", "finetune")])
def test_a_distilled_backbone_gets_a_head_first(rigs: dict[str, str], tmp_path: Path, base: str, verb: str) -> None:
    small = (*SMALL, *STUDENT, "teacher.image_size=[48,96]", "min_pairs=8")
    lidistill.pretrain(tuple(rigs.values()), out=tmp_path / "both", recipe="city", epochs=1, set=small)
    recipe = tmp_path / "head.yaml"
    recipe.write_text(f"base: {base}\nepochs: 2\npoints: 600\n")
    run = adapt(tmp_path / "both", rigs, tmp_path / "run", f"head={recipe}", "rounds=1")
    head = Run.open(tmp_path / "run-head").config
    assert (head.verb, head.sources) == (verb, (rigs["here"],))
    assert Run.open(run).config.model.head.hidden == head.model.head.hidden == (128 if verb == "probe" else None)
    assert Run.open(run).taught().recipe == "city"
    # a head in the space of the teacher reads the pictures of the target as well
    judged = (
        "their agreement with the pictures of 3 scans + 0.4 x the information they give"
        if verb == "probe"
        else "the information they give; the pictures were not asked: no head"
    )
    assert f"rounds are compared by {judged}" in (run / "log.txt").read_text()
    network, model = Run.open(tmp_path / "run-head").load_network()
    target = Unlabelled(open_split(rigs["there"], "train", model.sensors))
    expected = information(network, target, model.voxel)
    if verb == "probe":
        distilled = Run.open(tmp_path / "both").config.recipe
        expected = 0.4 * expected + ask_pictures(network, distilled, target, model.voxel)(network)
    assert Run.open(run).metrics()[0]["judged"] == pytest.approx(expected)
    assert same(state(tmp_path / "both"), state(run), "backbone") == (verb == "probe")
    if verb == "probe":
        both = tmp_path / "both" / "recipe.yaml"
        both.write_text(re.sub(r"(teacher_weights:\n  city): .*", r"\1: 0123456789ab", both.read_text()))
        again = adapt(tmp_path / "run-head", rigs, tmp_path / "again", "rounds=1", "frozen=false")
        assert "not asked: teacher city is another one than that it was" in (again / "log.txt").read_text()
        moved = adapt(again / "rounds/1", rigs, tmp_path / "moved", "rounds=1")
        assert "what was learned since" in (moved / "log.txt").read_text()
        assert "has moved more than a head" in (moved / "log.txt").read_text()
    swapped = {"here": rigs["there"], "there": rigs["here"]}
    with pytest.raises(InputError, match="the head there is of"):
        adapt(tmp_path / "both", swapped, tmp_path / "run", f"head={recipe}", resume=True)
    recipe.write_text(f"base: {base}\nepochs: 2\npoints: 600\nlr: 0.0123\n")
    with pytest.raises(InputError, match=r"run-head: the head there is of another recipe \(lr\); use another --out"):
        adapt(tmp_path / "both", rigs, tmp_path / "run", f"head={recipe}", "rounds=1", resume=True)
    with pytest.raises(InputError, match="head = 'city': expected a recipe of kind segment"):
        adapt(tmp_path / "both", rigs, tmp_path / "no", "head=city")


WAYS = [("mixing=classes",), ("mixing=none", "entropy=0.1", "keep=[0,0]"), ("frozen=false",)]


@pytest.mark.parametrize("options", WAYS)
def test_other_ways(head: Path, rigs: dict[str, str], tmp_path: Path, options: tuple[str, ...]) -> None:
    run = adapt(head, rigs, tmp_path / "run", *options, "rounds=1")
    assert not same(state(head), state(run / "rounds/1"), "head")
    assert same(state(head), state(run / "rounds/1"), "backbone") == ("frozen=false" not in options)
    logged = [json.loads(line) for line in (run / "rounds/1/metrics.jsonl").read_text().splitlines()]
    assert ("loss/entropy" in logged[0]) == ("entropy=0.1" in options)


def test_statistics_of_the_target_alone(head: Path, rigs: dict[str, str], tmp_path: Path) -> None:
    run = adapt(head, rigs, tmp_path / "run", "statistics=target", "rounds=0")
    said = (run / "log.txt").read_text()
    assert "judged" not in said  # there is nothing to compare
    assert "compared" not in said
    assert f"the batch norms' statistics are measured anew on {rigs['there']} (AdaBN)" in said
    before, after = state(head), state(run)
    norms = {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert len(norms) >= 8
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if "num_batches" not in name} <= norms
    assert len(changed & norms) >= len(norms) - 1  # one mean is always 0


def test_what_does_not_fit_is_one_sentence(head: Path, rigs: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="adapt takes one of kind adapt"):
        adapt(head, rigs, tmp_path / "a", recipe="city-probe", set=())
    with pytest.raises(InputError, match="is the run that is to be adapted"):
        adapt(head, rigs, head, overwrite=True)
    assert (head / "model.safetensors").is_file()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no run"):
        adapt(head, rigs, tmp_path / "full")
    with pytest.raises(InputError, match="class list 'kiti-10'"):
        adapt(head, rigs, tmp_path / "e", map="kiti-10")
    with pytest.raises(InputError, match=r"poss-13: no table"):
        adapt(head, rigs, tmp_path / "e", map="poss-13")
    assert not (tmp_path / "e").exists()
    with pytest.raises(InputError, match=r"read with the classes of kitti-10, .* of city-16; leave out --classes"):
        adapt(head, rigs, tmp_path / "b", classes="kitti-10")
    with pytest.raises(InputError, match="unknown key 'round'; did you mean 'rounds'"):
        adapt(head, rigs, tmp_path / "c", "round=3")
    for keep in ("[0.5,2]", "0.5", "[1,2,3]", "[a,b]"):
        with pytest.raises(InputError, match=r"keep = .*two shares from 0 to 1"):
            adapt(head, rigs, tmp_path / "d", f"keep={keep}")
    with pytest.raises(InputError, match="is source and target"):
        adapt(head, {**rigs, "there": rigs["here"] + "/"}, tmp_path / "f")
    bare = tmp_path / "bare"
    shutil.copytree(rigs["here"], bare)
    shutil.rmtree(bare / "labels")
    with pytest.raises(InputError, match="bare: its frames have no labels to learn from"):
        adapt(head, {**rigs, "here": str(bare)}, tmp_path / "g")
    assert not (tmp_path / "g").exists()
