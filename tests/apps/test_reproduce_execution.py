"""Running the jobs of a table: who stops one stops all, options of a cluster, what must be there beforehand."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import lidistill
from lidistill.apps.reproduce import execute, reproduce
from lidistill.apps.reproduce.cost import cost, recipe_of
from lidistill.apps.reproduce.execute import cluster_parameters, cut_pictures, run_here, submit
from lidistill.apps.reproduce.plan import Job, Place, _defined, jobs
from lidistill.apps.reproduce.table_file import City, load_table
from lidistill.errors import InputError, RunError
from lidistill.students.config import HeadConfig, StudentConfig
from lidistill.teachers.image_network import ImageModel
from lidistill.training.image_recipe import ImageRecipe
from lidistill.training.image_run import ImageRun, ImageRunConfig
from lidistill.training.loop import Interrupted
from lidistill.training.recipe import SegmentRecipe, load_recipe
from lidistill.training.run import ModelConfig, Run, RunConfig


def test_who_stops_a_run_stops_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(student=StudentConfig(depth=1, width=8, norm="batch"), head=HeadConfig(kind="probe", outputs=2))
    stopped = Run(tmp_path, RunConfig(verb="probe", model=model))
    asked: list[Path] = []

    def stops(job: Job) -> None:
        asked.append(job.folder)
        raise Interrupted(stopped.path, 7, signal.SIGINT) if len(asked) == 2 else RunError("diverged")

    monkeypatch.setattr("lidistill.apps.reproduce.execute.run", stops)
    jobs = [Job("probe", ("rig",), (), seed, tmp_path / str(seed)) for seed in range(4)]
    with pytest.raises(Interrupted) as raised:
        run_here(jobs)
    assert asked == [job.folder for job in jobs[:2]]
    assert raised.value.exit_code == 130


def test_a_run_that_dies_of_anything_else_spares_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def dies(job: Job) -> None:
        asked.append(job.folder)
        if len(asked) == 1:
            raise RuntimeError("CUDA out of memory\nand so on")

    monkeypatch.setattr("lidistill.apps.reproduce.execute.run", dies)
    jobs = [Job("probe", ("rig",), (), seed, tmp_path / str(seed)) for seed in range(2)]
    assert run_here(jobs) == [f"{jobs[0].folder}: RuntimeError: CUDA out of memory"]
    assert len(asked) == 2


def test_pictures_are_cut_for_those_who_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("lidistill.superpixels", lambda source, **named: asked.append((source, named)))
    divided = ("recipe", "slidr"), ("set", ("superpixels.n_segments=50",))
    learning = [Job("pretrain", ("rig", "other"), divided, seed, tmp_path / str(seed)) for seed in range(2)]
    cut_pictures([*learning, Job("pretrain", ("rig",), (("recipe", "scalr"),), 0, tmp_path / "plain")])
    options = ("n_segments=50", "compactness=6.0", "sigma=3.0")
    assert asked == [(source, {"method": "slic", "model": None, "set": options}) for source in ("rig", "other")]


def test_data_of_one_name_that_differ_are_not_shared(tmp_path: Path) -> None:
    """Tables 1 and 2 take a part of nuScenes where table 3 takes all; one's own may call anything the same."""
    part, whole = ({job.folder for job in planned(name, "paper", tmp_path)} for name in ("table1", "table3"))
    assert not part & whole
    assert {job.folder for job in planned("table1", "city", tmp_path)} & {
        job.folder for job in planned("table4", "city", tmp_path)
    }
    other = City(sensor="spinning-32", scenes=5)
    assert _defined("spinning-32", other) != _defined("spinning-32", City(sensor="spinning-32"))
    assert _defined("mine", "/data/a") != _defined("mine", "/data/b")


def test_options_of_steps_are_read_before_anything_is_run(tmp_path: Path) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text("""
title: mine
data: {a: "rig:nowhere", b: "rig:here"}
rows: [{name: one}]
columns:
  - name: two
    steps:
      - {verb: pretrain, recipe: city, data: [a]}
      - {verb: adapt, recipe: city-muddos, data: [a, b], set: [batchsize=2]}
""")
    (tmp_path / "here").mkdir()
    for dry_run in (True, False):
        with pytest.raises(InputError, match="recipe city-muddos: unknown key 'batchsize'; did you mean 'batch_size'"):
            reproduce(str(table), dry_run=dry_run)
    table.write_text(table.read_text().replace("batchsize", "batch_size").replace("rig:here", f"rig:{tmp_path}/here"))
    said = reproduce(str(table), dry_run=True).splitlines()
    assert {"  rig:nowhere (missing)", f"  rig:{tmp_path}/here (there)"} <= set(said)


@pytest.mark.parametrize("begun", ["run", "run-head", None])
def test_adaptation_that_was_stopped_goes_on(
    begun: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the head was being trained, before the run itself was there."""
    asked = []
    monkeypatch.setattr(lidistill, "adapt", lambda *_, **named: asked.append(named["resume"]))
    if begun is not None:
        (tmp_path / begun).mkdir()
        (tmp_path / begun / "recipe.yaml").touch()
    execute.run(Job("adapt", ("a", "b"), (), 0, tmp_path / "run", Job("pretrain", ("a",), (), 0, tmp_path / "both")))
    assert asked == [begun is not None]


def test_options_of_a_cluster() -> None:
    said = ("slurm_partition=gpu", "timeout_min=90", "slurm_time=12:00:00", "slurm_setup=[module load a=b]")
    expected = {
        "slurm_partition": "gpu",
        "timeout_min": 90,
        "slurm_time": "12:00:00",
        "slurm_setup": ["module load a=b"],
    }
    assert cluster_parameters(said) == expected


@pytest.mark.parametrize("option", ["slurm_partition", "=gpu", "slurm_partition=[gpu"])
def test_a_wrong_option_is_a_sentence(option: str) -> None:
    with pytest.raises(InputError, match="--cluster-option"):
        cluster_parameters([option])


@pytest.mark.parametrize(
    ("parameters", "said"), [({"timeout": 3}, "need to be prefixed"), ({"timeout_min": "long"}, "expected type")]
)
def test_what_submitit_does_not_know_is_a_sentence(parameters: dict[str, object], said: str, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    job = Job("probe", ("rig",), (), 0, tmp_path / "run")
    with pytest.raises(InputError, match=f"--cluster local: .*{said}"):
        submit([job], tmp_path / "cluster", "local", parameters)


def test_a_failed_backbone_on_a_cluster_spares_what_needs_it_not(tmp_path: Path) -> None:
    """The second generation is sent although a job of the first one failed."""
    pytest.importorskip("submitit")
    first = Job("pretrain", (str(tmp_path / "nothing"),), (), 0, tmp_path / "first")
    second = Job("probe", (str(tmp_path / "nothing"),), (), 0, tmp_path / "second", first)
    assert len(submit([first, second], tmp_path / "cluster", "local", {"timeout_min": 1})) == 2


def planned(name: str, scale: str, tmp_path: Path) -> list[Job]:
    table = load_table(name).at(scale)
    return jobs(table, (0,), Place(tmp_path, Path("/data")))


def test_scans_of_the_divisions_of_nuscenes(tmp_path: Path) -> None:
    """SLidR's mini-train has 600 of the 700 training scenes."""
    assert {cost(job).scans for job in planned("table1", "paper", tmp_path)} == {24_109}
    assert cost(planned("table3", "paper", tmp_path)[0]).scans == 28_130


def test_memory_is_what_the_backward_pass_keeps(tmp_path: Path) -> None:
    """48 layers, 20 000 points, 768 channels in bf16: 8.3 values per point and layer at 0.5 m were counted."""
    recipes = {"finetune-nuscenes", "finetune-pandaset"}
    tuned = [j for j in planned("table5", "paper", tmp_path) if dict(j.options).get("recipe") in recipes]
    finetune = {job.sources: cost(job) for job in tuned}
    kept = 8 * 48 * 8.3 * 20_000 * 768 * 2 / 1e9
    assert kept < finetune["nuscenes:/data/nuscenes",].memory < 1.1 * kept
    # the planes of a field of view of 256 m have four times the cells
    assert finetune["pandaset-64:/data/pandaset",].memory > 1.5 * kept


def test_a_teacher_that_was_taught_here_says_on_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ImageModel(network="small", width=1.0, classes=("road", "car"), taxonomy="mine")
    recipe = load_recipe("city-images")
    assert isinstance(recipe, ImageRecipe)
    ImageRun.create("runs/images", ImageRunConfig(sources=("my/pictures",), model=model, recipe=recipe))
    said = "  runs/images (there: an image network taught on my/pictures by recipe city-images)"
    assert said in reproduce("fskd", dry_run=True, seeds=(0,)).splitlines()


def test_teachers_are_needed_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that must be made first is named by --dry-run, and before anything is run."""
    monkeypatch.chdir(tmp_path)
    said = reproduce("table8", dry_run=True, seeds=(0,)).splitlines()
    assert "  runs/teachers/city-things.pt2 (missing)" in said
    with pytest.raises(InputError, match=r"teachers are missing: runs/teachers/city-things.pt2, .*city-stuff.pt2"):
        reproduce("table8", seeds=(0,))
    assert not (tmp_path / "runs").exists()
    said = reproduce("table8", scale="paper", dry_run=True).splitlines()
    assert "  dinov2-vitl14 (weights facebook/dinov2-large of the hub)" in said
    assert sum(line.startswith("  maskclip-vitb16 (") for line in said) == 1


def test_data_sets_are_compared_after_equally_many_iterations(tmp_path: Path) -> None:
    """ScaLR's ablation of data sets: batch 16, as many iterations on each; probes with the recipes of the data sets."""
    made = planned("table4", "paper", tmp_path)
    iterations = {}
    for job in made:
        recipe = recipe_of(job)
        if job.verb == "pretrain":
            assert recipe.batch_size == 16
            iterations[job.sources] = cost(job).scans * recipe.epochs / 16
        elif "pandaset" in job.sources[0]:
            assert isinstance(recipe, SegmentRecipe)
            assert (recipe.epochs, recipe.fov) == (50, ((-128, 128), (-128, 128), (-8, 8)))
    assert len(iterations) == 6
    assert max(iterations.values()) < 1.01 * min(iterations.values())
