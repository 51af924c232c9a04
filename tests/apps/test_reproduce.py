"""``lidistill reproduce``: shared runs are made once, finished ones kept, cells are what the cards say."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lidistill.apps import reproduce as verb
from lidistill.apps.reproduce import committed, finished, reproduce
from lidistill.apps.reproduce.cost import _student, cost, recipe_of
from lidistill.apps.reproduce.execute import check_recipes, run_here
from lidistill.apps.reproduce.plan import Place, jobs, last_job
from lidistill.apps.reproduce.show import table_rows
from lidistill.apps.reproduce.table_file import Table, load_table, parse_table, table_names
from lidistill.cli import main
from lidistill.errors import InputError, RunError
from lidistill.evaluation.card import Card, Metric
from lidistill.training.recipe import load_recipe
from lidistill.transforms.corruptions import NAMES
from programs import tiny_program

TINY = """
title: A table
paper: {says: none, columns: [A, B], rows: {one: [50.0, 10.0], none: [null, 5.0]}}
city:
  seeds: [0, 1]
  data: {rig: "{data}/rig", other: "{data}/other"}
  rows:
    - {name: distilled, paper: one, steps: [{verb: pretrain, recipe: city, data: [rig], epochs: 1}]}
    - {name: scratch, paper: none, student: waffleiron-1-8, columns: [finetuned]}
    - {name: later, open: needs another method}
  columns:
    - {name: probed, paper: A, data: rig, steps: [{verb: probe, recipe: city-probe, epochs: 1}]}
    - name: finetuned
      paper: B
      data: other
      metric: accuracy
      steps:
        - {verb: finetune, recipe: city-supervised, epochs: 1}
        - {verb: evaluate, data: [rig]}
paper_scale:
  data: {nuscenes: "nuscenes:{data}/nuscenes"}
  rows:
    - {name: all, steps: [{verb: pretrain, recipe: scalr, data: [nuscenes]}]}
  columns:
    - {name: probed, data: nuscenes, steps: [{verb: probe}]}
"""
SMALL = ("student=waffleiron-1-8", "points=256", "workers=0", "batch_size=2")

OF_THE_PAPER = [name for name in table_names() if load_table(name).paper_scale is not None]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = parse_table(yaml.safe_load(TINY), "tiny")
    monkeypatch.setattr(verb, "load_table", lambda name: made)
    return made


@pytest.fixture
def data(tiny_rig: Callable[..., Path], tmp_path: Path) -> Path:
    tiny_rig(tmp_path / "data/rig", frames=3)
    tiny_rig(tmp_path / "data/other", frames=3, seed=1)
    return tmp_path / "data"


def test_shared_runs_are_planned_once(table: Table, tmp_path: Path) -> None:
    place = Place(tmp_path, Path("/data"))
    planned = jobs(table.city, (0, 1), place)
    assert [job.verb for job in planned if job.seed == 0] == [
        "pretrain",
        "probe",
        "finetune",
        "evaluate",
        "finetune",
        "evaluate",
    ]
    assert len({job.folder for job in planned}) == len(planned) == 12
    scratch = planned[4]
    assert scratch.parent is None
    assert dict(scratch.options)["student"] == "waffleiron-1-8"
    assert planned[2].parent == planned[0]
    assert planned[3].sources == ("/data/rig",)
    assert planned[2].sources == ("/data/other",)


def test_a_step_that_needs_a_parent_is_left_out_where_there_is_none(tmp_path: Path) -> None:
    values = yaml.safe_load(TINY)
    tuned = values["city"]["columns"][1]
    tuned["steps"].insert(0, {"verb": "probe", "recipe": "city-probe", "needs_parent": True})
    scale = parse_table(values, "tiny").city
    chains = {
        row.name: [job.verb for job in last_job(scale, row, scale.columns[1], 0, Place(tmp_path, tmp_path)).chain()]
        for row in scale.rows[:2]
    }
    assert chains["distilled"] == ["pretrain", "probe", "finetune", "evaluate"]
    assert chains["scratch"] == ["finetune", "evaluate"]


def test_normalisation_asks_for_three_backbones_of_which_another_table_has_one(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)
    ours, theirs = (
        {job.folder: job for job in jobs(load_table(name).city, (0,), place)} for name in ("normalisation", "backbones")
    )
    assert [job.verb for job in ours.values()].count("pretrain") == 3
    shared = [job.verb for folder, job in ours.items() if folder in theirs]
    assert [shared.count(verb) for verb in ("pretrain", "probe", "evaluate", "adapt")] == [1, 2, 4, 0]


def test_self_training_takes_the_backbone_the_heads_and_the_baselines_of_adaptation(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)
    ours, theirs = (jobs(load_table(name).city, (0,), place) for name in ("self-training", "adaptation"))
    there = {job.folder for job in theirs}
    new = [job for job in ours if job.folder not in there]
    assert len(ours) - len(new) == 1 + 4 + 4 + 4 * 4  # backbone, heads, their figures, four columns
    asked = {dict(job.options)["set"] for job in new}
    assert {job.verb for job in new} == {"adapt"}
    assert asked == {("mixing=sectors",), ("keep=[1,1]",), ("lovasz=1",), ("frozen=false",), ("rounds=4",)}


def test_a_setting_says_which_data_and_which_classes(tmp_path: Path) -> None:
    scale = load_table("adaptation").at("paper")
    row = next(row for row in scale.rows if row.setting == "synlidar-to-semantic-poss")

    def said(column: str) -> list[tuple[str, tuple[str, ...], str | None, str | None]]:
        (chosen,) = (one for one in scale.columns if one.name == column)
        chain = last_job(scale, row, chosen, 0, Place(tmp_path, Path("/d"))).chain()
        options = [dict(job.options) for job in chain]
        return [(j.verb, j.sources, o.get("classes"), o.get("map")) for j, o in zip(chain, options, strict=True)]

    source, target = "synlidar:/d/synlidar?split=pseudo-val&reach=50", "semantic-poss:/d/semantic-poss"
    assert said("source") == [
        ("finetune", (source,), "synlidar-22", None),
        ("evaluate", (target,), None, "poss-13"),
    ]
    assert said("oracle")[1:] == [("probe", (target,), "poss-13", None), ("evaluate", (target,), None, "poss-13")]
    backbone, head, adapted = said("self-training")
    assert (backbone[0], backbone[2:]) == ("pretrain", (None, None))
    assert head == ("probe", (source,), "synlidar-22", None)
    assert adapted == ("adapt", (source, target), "synlidar-22", "poss-13")


def test_settings_share_what_they_have_in_common(tmp_path: Path) -> None:
    """One backbone for all, one head for each source, one plain backbone for tables of the paper."""
    place = Place(tmp_path, tmp_path)
    planned = jobs(load_table("adaptation").at("paper"), (0,), place)
    assert [job.verb for job in planned].count("pretrain") == 1
    heads = [job for job in planned if job.verb == "probe" and dict(job.options)["recipe"] == "muddos-head"]
    assert len({job.folder for job in heads if dict(job.options)["classes"] in ("nuscenes-16", "synlidar-22")}) == 2
    table7 = {job.folder for job in jobs(load_table("table7").at("paper"), (0,), place)}
    assert next(job.folder for job in planned if job.verb == "pretrain") in table7


def test_data_of_a_setting_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data sets are missing: .*semantic-kitti, .*semantic-poss.*, .*waymo"):
        reproduce("adaptation", scale="paper", data=tmp_path / "nowhere", work=tmp_path / "work")


PAIRS = """
title: pairs
data: {a: {sensor: spinning-32}, b: {sensor: spinning-64}, c: {sensor: spinning-32, style: old-town}}
rows:
  - {name: a to b, data: {source: a, target: b}}
  - {name: b to c, data: {source: b, target: c}, student: waffleiron-1-8, set: [lr=0.1]}
columns:
  - name: adapted
    steps:
      - {verb: pretrain, recipe: city, data: [a, b]}
      - {verb: adapt, recipe: city-muddos, data: [source, target], set: [rounds=1]}
  - {name: oracle, steps: [{verb: finetune, recipe: city-supervised, data: [target]}]}
"""


def test_a_row_says_what_source_and_target_are(tmp_path: Path) -> None:
    scale = parse_table(yaml.safe_load(PAIRS), "pairs").city
    place = Place(tmp_path, tmp_path)
    found = {(row.name, column.name): last_job(scale, row, column, 0, place) for row, column in scale.cells()}
    a, b, c = (str(place.city(city)) for city in scale.data.values())
    assert found["a to b", "adapted"].sources == (a, b)
    assert found["b to c", "adapted"].sources == (b, c)
    assert found["b to c", "oracle"].sources == (c,)
    one, other = found["a to b", "adapted"], found["b to c", "adapted"]
    assert one.parent is not None
    assert other.parent is not None
    assert one.parent.sources == other.parent.sources == (a, b)
    assert f"adapt {one.parent.folder}" in one.command()
    assert f"--source {a} --target {b} --seed 0" in one.command()
    # a row's student and overrides are those of what starts from random weights, not of what follows
    assert dict(other.parent.options) == {"recipe": "city", "student": "waffleiron-1-8", "set": ("lr=0.1",)}
    assert dict(other.options)["set"] == ("rounds=1",)
    assert dict(found["b to c", "oracle"].options)["student"] == "waffleiron-1-8"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("target: c}", "target: d}", "row 'b to c': no data 'd'; known: a, b, c"),
        (
            "data: {source: a, target: b}",
            "data: {target: b}",
            "row 'a to b': no data 'source'; say what they are in this row",
        ),
        ("data: [target]", "data: [targt]", "no data 'targt'; did you mean 'target'"),
        (
            "data: [source, target]",
            "data: [source]",
            r"pairs: row 'a to b': a step of adapt needs .*found \['source'\]",
        ),
        ("data: [source, target]", "data: source", r"data: expected a list, such as \[source\]"),
        ("verb: adapt, ", "verb: adapt, date: [a], ", "adapt has no option 'date'; did you mean 'data'"),
        ("data: [target]", "data: [target], without_parent: {data: a}", "finetune has no option 'data'"),
        ("title:", "titled:", "titled: there is no such key here; did you mean 'title'"),
        ("verb: adapt", "verb: adpt", "there is no verb 'adpt'; did you mean 'adapt'"),
        ("title: pairs", "", "title: is missing"),
    ],
)
def test_a_row_without_its_data_is_one_sentence(old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_table(yaml.safe_load(PAIRS.replace(old, new, 1)), "pairs")


def test_a_row_may_have_recipes_of_its_own_and_options_may_be_data() -> None:
    place = Place(Path("work"), Path("/data"))
    tuned = load_table("table5").at("paper")
    row = next(row for row in tuned.rows if row.recipes)
    chosen = [dict(last_job(tuned, row, column, 0, place).options)["recipe"] for column in tuned.columns]
    assert chosen == ["scalr-plus-" + column.steps[0].options["recipe"] for column in tuned.columns]
    assert {load_recipe(name).name for name in chosen} == set(chosen)
    corrupted = load_table("table6").at("paper")
    job = last_job(corrupted, corrupted.rows[0], corrupted.columns[0], 0, place)
    assert dict(job.options)["released"] == "nuscenes-c:/data/nuScenes-C?tables=/data/nuscenes"
    moved = last_job(corrupted, corrupted.rows[0], corrupted.columns[0], 0, Place(Path("work"), Path("/elsewhere")))
    assert moved.folder == job.folder
    pairs = PAIRS.replace(
        "{name: oracle, steps: [", "{name: oracle, steps: [{verb: evaluate, data: [a], released: source},"
    )
    scale = parse_table(yaml.safe_load(pairs), "pairs").city
    of_rows = [last_job(scale, row, scale.columns[1], 0, place).chain()[0] for row in scale.rows]
    assert [dict(one.options)["released"] for one in of_rows] == [str(place.city(scale.data[name])) for name in "ab"]
    assert of_rows[0].folder != of_rows[1].folder


@pytest.mark.parametrize(
    ("distilled", "step", "recipe"),
    [
        ("scalr", "verb: adapt, data: [a, b]", "muddos"),
        ("scalr", "verb: probe", "linear-probe"),
        ("slidr", "verb: probe", "slidr-probe"),
        ("scalr", "verb: finetune", "finetune"),
        ("scalr", "verb: finetune, fraction: 0.01", "finetune-nuscenes-1"),
        ("scalr-plus", "verb: finetune, fraction: 0.1", "scalr-plus-finetune-nuscenes-10"),
        ("city", "verb: finetune", "city-finetune"),
        (None, "verb: finetune", "from-scratch"),
    ],
)
def test_a_step_without_a_recipe_has_that_of_its_verb(distilled: str | None, step: str, recipe: str) -> None:
    before = "" if distilled is None else f"{{verb: pretrain, recipe: {distilled}, data: [a]}}, "
    text = f"""
title: x
data: {{a: "rig:a", b: "rig:b"}}
rows: [{{name: one}}]
columns: [{{name: two, data: a, steps: [{before}{{{step}}}]}}]
"""
    scale = parse_table(yaml.safe_load(text), "x").city
    job = last_job(scale, scale.rows[0], scale.columns[0], 0, Place(Path("work"), Path("data")))
    assert recipe_of(job).name == recipe


def test_costs_are_of_the_student_that_was_distilled() -> None:
    place = Place(Path("work"), Path("/data"))
    for name in OF_THE_PAPER:
        for job in jobs(load_table(name).at("paper"), (0,), place):
            if job.verb != "evaluate":
                assert _student(job) == recipe_of(job.chain()[0]).student
    methods = load_table("table2").at("paper")
    small = [job for job in jobs(methods, (0,), place) if "minkunet" in dict(job.chain()[0].options).get("student", "")]
    assert small
    assert max(cost(job).memory for job in small if job.verb == "finetune") < 30


def test_other_options_are_another_run(table: Table, tmp_path: Path) -> None:
    place = Place(tmp_path, Path("/data"))
    row, column = table.city.rows[0], table.city.columns[0]
    one, other = (last_job(table.city, row, column, 0, place, options) for options in ((), ("epochs=2",)))
    assert one.folder != other.folder
    assert one.parent is not None
    assert other.parent is not None
    assert one.parent.folder != other.parent.folder


def test_options_for_the_machine_are_the_same_run(table: Table, tmp_path: Path) -> None:
    place = Place(tmp_path, Path("/data"))
    row, column = table.city.rows[0], table.city.columns[0]
    one, other = (last_job(table.city, row, column, 0, place, options) for options in ((), ("workers=1",)))
    assert one.folder == other.folder
    assert dict(other.options)["set"] == ("workers=1",)


def test_a_table_is_made_shown_and_not_made_again(
    table: Table, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: dict[str, Any] = {"data": data, "work": tmp_path / "work", "set": SMALL, "cards": tmp_path / "cards"}
    text = reproduce("tiny", seeds=(0,), **where)
    lines = {line.split("  ")[0]: line for line in text.splitlines()[2:]}
    assert lines["distilled"].split()[-1] == "10.0"
    assert "open: needs another method" in lines["later"]
    made = finished(table.city, (0,), Place(tmp_path / "work", data), SMALL)
    assert set(made) == {("distilled", "probed"), ("distilled", "finetuned"), ("scratch", "finetuned")}
    assert f"{100 * (made['scratch', 'finetuned'].metrics['accuracy'].mean or 0):.1f}" in lines["scratch"]
    assert made["distilled", "finetuned"].data.spec == str(data / "rig")
    assert "distilled" in committed("tiny", tmp_path / "cards")
    monkeypatch.setattr("lidistill.apps.reproduce.execute.run", lambda job: pytest.fail("made again"))
    assert reproduce("tiny", seeds=(0,), **where) == text


def test_a_run_that_nothing_can_evaluate_is_made_once(table: Table, data: Path, tmp_path: Path) -> None:
    splits = data / "other/splits.yaml"
    splits.write_text(yaml.safe_dump({"train": yaml.safe_load(splits.read_text())["train"]}))
    planned = jobs(table.city, (0,), Place(tmp_path / "work", data), SMALL)
    head = next(job for job in planned if job.verb == "finetune" and job.parent is None)
    assert run_here([head]) == []
    assert head.card() is None
    assert head.done()


def test_runs_of_a_recipe_that_has_changed_are_named(table: Table, data: Path, tmp_path: Path) -> None:
    """A run is known by the name of its recipe; what the recipe says now may be something else."""
    where: dict[str, Any] = {"data": data, "work": tmp_path / "work", "set": SMALL, "seeds": (0,)}
    run_here(jobs(table.city, (0,), Place(tmp_path / "work", data), SMALL)[:1])
    assert reproduce("tiny", **where), "a recipe as it was is no other one"
    made = next((tmp_path / "work").glob("pretrain*/seed-0/recipe.yaml"))
    made.write_text(re.sub(r"(?m)^(  (lr|temperature)): .*$", r"\1: 0.0123", made.read_text()))
    with pytest.raises(InputError, match=r"1 runs were made when .*pretrain.*seed-0 \(lr\); remove them"):
        reproduce("tiny", **where)


def test_runs_of_a_teacher_that_was_trained_anew_are_named(table: Table, data: Path, tmp_path: Path) -> None:
    teacher, place = tiny_program(tmp_path, edge=8), Place(tmp_path / "work", data)
    options = (*SMALL, f"teacher.name={teacher}", "teacher.image_size=[48, 96]")
    planned = jobs(table.city, (0,), place, options)[:1]
    assert run_here(planned) == []
    check_recipes(planned)
    tiny_program(tmp_path, edge=6)
    with pytest.raises(InputError, match=r"1 runs were made .*pretrain.*\(weights of .*patches.pt2\); remove"):
        check_recipes(planned)
    teacher.unlink()  # what was learned from it is still there
    check_recipes(planned)


def test_a_failed_backbone_spares_what_needs_it(table: Table, data: Path, tmp_path: Path) -> None:
    for scan in (data / "rig/scans").glob("*.bin"):
        scan.write_bytes(b"x")
    with pytest.raises(RunError, match=r"runs failed, the first: .*pretrain"):
        reproduce("tiny", seeds=(0,), data=data, work=tmp_path / "work", set=(*SMALL, "bad_frames=0"))
    planned = jobs(table.city, (0,), Place(tmp_path / "work", data), (*SMALL, "bad_frames=0"))
    assert not planned[0].done()
    assert planned[4].done(), "the run from scratch on the other rig needs no backbone"


def test_runs_are_spread_by_submitit(table: Table, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    where: dict[str, Any] = {"data": data, "work": tmp_path / "work", "set": SMALL, "seeds": (0,)}
    run_here(jobs(table.city, (0,), Place(tmp_path / "work", data), SMALL)[:4])
    said = reproduce("tiny", cluster="local", cluster_options=("timeout_min=5",), **where)
    assert said.startswith("2 runs submitted to local")
    sent = jobs(table.city, (0,), Place(tmp_path / "work", data), SMALL)[4:]
    until = time.monotonic() + 120
    while not all(job.done() for job in sent):
        assert time.monotonic() < until, "the submitted runs did not finish"
        time.sleep(0.2)
    assert "scratch" in reproduce("tiny", **where)


def test_missing_data_are_named(table: Table, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data sets are missing: .*rig \(rig\), .*other \(other\); name the folder"):
        reproduce("tiny", data=tmp_path / "nowhere", work=tmp_path / "work")


def test_cost_grows_with_the_work(table: Table, tmp_path: Path) -> None:
    place = Place(tmp_path, Path("/data"))
    scale = table.at("paper")
    row, column = scale.rows[0], scale.columns[0]
    probe = last_job(scale, row, column, 0, place)
    assert probe.parent is not None
    distil = cost(probe.parent)
    # 25 passes of nuScenes, 1.36 T multiply-adds a scan forward: at least 25 x 28130 x 3 x 2.7e12 / 100e12 seconds
    assert 16 < distil.hours < 60
    assert distil.scans == 28_130
    assert cost(probe).hours < distil.hours
    assert cost(last_job(scale, row, column, 0, place, ("points=10000",))).memory < cost(probe).memory


def test_adaptation_costs_rounds_of_pseudo_labels_and_passes_over_the_target(tmp_path: Path) -> None:
    scale, place = load_table("adaptation").at("paper"), Place(tmp_path, Path("/data"))
    row = next(row for row in scale.rows if row.name == "nuScenes -> SemanticPOSS")
    columns = {column.name: column for column in scale.columns}

    def hours(name: str, *options: str) -> float:
        job = last_job(scale, row, columns[name], 0, place)
        said = (*dict(job.options).get("set", ()), *options)
        found = cost(replace(job, options=tuple({**dict(job.options), "set": said}.items())))
        assert found.scans == 2_488
        return found.hours

    once = hours("self-training")
    assert hours("AdaBN") == 0  # of no round
    assert hours("self-training", "rounds=3") == pytest.approx(3 * once)
    assert hours("self-training", "epochs=11") == pytest.approx(2 * once)  # 5 passes and the labels before them
    assert hours("self-training", "frozen=false") == pytest.approx(once * (3 * 5 + 1) / 6)


def test_a_mean_of_rows_is_that_of_the_seeds_that_all_have() -> None:
    values = {
        "title": "means",
        "data": {"a": {"sensor": "spinning-32"}},
        "rows": [{"name": "one", "mean": "both"}, {"name": "two", "mean": "both"}, {"name": "three"}],
        "columns": [{"name": c, "data": "a", "steps": [{"verb": "probe"}]} for c in ("there", "not all there")],
    }
    table = parse_table(values, "means")

    def card(*figures: float) -> Card:
        seeds = tuple(range(len(figures)))
        return Card.model_construct(seeds=seeds, metrics={"miou": Metric.of(figures)})

    cells = {("one", "there"): card(0.2, 0.3, 0.9), ("two", "there"): card(0.4, 0.5), ("three", "there"): card(0.7)}
    cells["one", "not all there"] = card(0.1)
    (*_, mean) = table_rows(table, table.city, cells)
    assert mean == {"": "both", "there": "35.0 ± 7.1", "not all there": ""}


def test_errors_under_corruption_count_in_those_of_the_baseline() -> None:
    scale = load_table("table6").city
    column = next(column for column in scale.columns if column.metric == "mce")
    cards = {}
    for row, (one, other) in {"none": (0.2, 0.6), "all four": (0.6, 0.7)}.items():
        miou = {f"miou/{name}": Metric.of([one, other]) for name in NAMES}
        cards[row, column.name] = Card.model_construct(seeds=(0, 1), metrics=miou)
    shown = {row[""]: row[column.name] for row in table_rows(load_table("table6"), scale, cards)}
    assert (shown["none"], shown["all four"]) == ("100.0 ± 0.0", "62.5 ± 17.7")
    assert {value for row, value in shown.items() if row not in ("none", "all four")} == {""}


def test_a_table_of_ones_own(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "norms.yaml"
    file.write_text(f"""
title: Norms
data: {{rig: {data}/rig}}
rows:
  - {{name: batch, student: waffleiron-1-8}}
  - {{name: layer, student: waffleiron-1-8, steps: []}}
columns:
  - {{name: scratch, data: rig, metric: accuracy, steps: [{{verb: finetune, recipe: city-supervised, epochs: 1}}]}}
""")
    small = [word for option in SMALL[1:] for word in ("--set", option)]
    assert main(["reproduce", str(file), "--work", str(tmp_path / "work"), *small]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "Norms" in shown
    rows = {line.split()[0]: float(line.split()[1]) for line in shown if line.startswith(("batch ", "layer "))}
    assert rows["batch"] == rows["layer"]  # the same run
    assert len(list((tmp_path / "work").glob("finetune-*"))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file; built-in tables: adaptation, "),
        ("[1, 2]", "holds no table"),
        ("a: [", "no readable YAML"),
        ("title: x\ndata: {}\nrows: []\n", "t.yaml: columns: is missing"),
    ],
)
def test_a_file_that_is_no_table_is_a_sentence(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "t.yaml").write_text(text)
    assert main(["reproduce", str(tmp_path / "t.yaml"), "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_table_of_the_paper_has_one_scale(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "students", "--scale", "paper", "--dry-run"]) == 2
    assert "no --scale paper; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in table_names() for scale in ("city", "paper") if scale == "city" or name in OF_THE_PAPER],
)
def test_every_table_can_be_planned(name: str, scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", name, "--scale", scale, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert load_table(name).title in shown
    assert "lidistill pretrain" in shown
    assert ("GPU hours in all" in shown) == (scale == "paper")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("verb: probe, recipe", "verb: probe, recip", "probe has no option 'recip'; did you mean 'recipe'"),
        ("data: [rig], epochs", "data: [rigg], epochs", "no data 'rigg'; did you mean 'rig'"),
        ("data: rig, steps", "data: rigg, steps", "no data 'rigg'; did you mean 'rig'"),
        ("paper: one", "paper: two", "the paper has no row 'two'"),
        ("paper: B", "paper: C", "the paper has no column 'C'"),
        ("columns: [finetuned]", "columns: [tuned]", "there is no column 'tuned'"),
        ("[50.0, 10.0]", "[50.0]", "1 figures for 2 columns"),
        ("title: A table", "titel: A table", "titel: there is no such key here; did you mean 'title'"),
    ],
)
def test_a_wrong_table_is_one_sentence(old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_table(yaml.safe_load(TINY.replace(old, new, 1)), "tiny")


def test_unknown_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "tabel4"]) == 2
    assert "did you mean 'table4'" in capsys.readouterr().err


def test_a_plan_tells_which_superpixels_are_made(tmp_path: Path) -> None:
    city = tmp_path / "cities/spinning-32-grid-25x2-1"
    assert f"superpixels, made first where they are not there\n  slic of {city}\n" in reproduce(
        "table2", work=tmp_path, dry_run=True
    )
    assert "superpixels" not in reproduce("table4", work=tmp_path, dry_run=True)
