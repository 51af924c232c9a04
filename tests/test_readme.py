"""The front page: its commands run in the order they stand there, its table is the committed result."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill.apps.reproduce import committed
from lidistill.apps.reproduce.table_file import parse_table, table_names
from lidistill.datasets.source import open_source
from lidistill.sensing.pairing import pair

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(console|python|yaml)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

# The commands run as written, then made smaller: what is added at the end wins.
FEW = "--epochs 1 --set workers=0 --set points=2000 --set batch_size=2"
SMALLER = {
    "simulate": "--scenes 3 --frames 1",
    "pretrain": f"{FEW} --set teacher.image_size=[112,224]",
    "probe": FEW,
    "finetune": FEW,
}
# What a test cannot download or wait for.
INSTEAD = {
    "dinov2-vitl14": "city",
    "waffleiron-48-256": "waffleiron-2-32",
    "--out runs/large ": "--out runs/large --recipe city ",
}


def commands() -> list[str]:
    lines = [line for kind, block in BLOCKS if kind == "console" for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


def smaller(command: str) -> str:
    command += " "
    for written, small in INSTEAD.items():
        command = command.replace(written, small)
    return f"{command} {SMALLER.get(command.split()[1], '')}"


@pytest.mark.slow
def test_commands_and_python_run_in_the_order_of_the_page(tmp_path: Path) -> None:
    """Nothing here may reach outside: no download, no file beside the folder it runs in."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
    }
    for kind, block in BLOCKS:
        if kind == "python":
            run = [[sys.executable, "-c", block]]
        elif kind == "console":
            lines = [line.removeprefix("$ ") for line in block.splitlines()]
            run = [["bash", "-c", smaller(line)] for line in lines if line.startswith("lidistill ")]
        else:
            continue
        for command in run:
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    scans = {path.stem for path in (tmp_path / "my_rig" / "scans").iterdir()}
    for folder, suffixes in (("labels", {".label", ".ply"}), ("more_labels", {".label", ".ply", ".npy"})):
        written = {path.name for path in (tmp_path / folder).iterdir()} - {"classes.json"}
        assert written == {scan + suffix for scan in scans for suffix in suffixes}
    for run_folder in ("a", "a-probe", "large", "large-finetuned"):
        assert (tmp_path / "runs" / run_folder / "report.html").stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "doctor-my_rig.html",
        "labels",
        "more_labels",
        "my_rig",
        "runs",
    ]


def test_other_commands_are_make_targets_and_installable_extras() -> None:
    others = [command for command in commands() if not command.startswith("lidistill ")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for command in others:
        words = shlex.split(command)
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        else:
            assert words[:2] == ["pip", "install"]
            assert (ROOT / words[words.index("-c") + 1]).is_file()
            extras = re.fullmatch(r"\.\[([\w,]+)\]", words[-1])
            assert extras is not None
            assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_rig_of_the_page_opens_and_its_points_meet_its_image(tmp_path: Path) -> None:
    (text,) = [block for kind, block in BLOCKS if kind == "yaml"]
    camera = yaml.safe_load(text)["cameras"]["front"]
    for folder in ("scans", "images/front"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "rig.yaml").write_text(text)
    points = np.random.default_rng(0).uniform((5, -5, -1, 0), (40, 5, 1, 1), (200, 4)).astype(np.float32)
    points.tofile(tmp_path / "scans" / "000000.bin")
    picture = np.zeros((camera["height"], camera["width"], 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "images" / "front" / "000000.jpg")
    frame = open_source(str(tmp_path))[0]
    assert len(frame) == 200
    assert len(pair(frame, frame.view("front"), occlusion=False).rows) == 200


@pytest.mark.parametrize(
    ("page", "benchmark"),
    [
        ("README.md", "city_quality"),
        ("docs/explanation/real-data.md", "real_kitti"),
        ("docs/explanation/real-data.md", "few_scans"),
        ("docs/explanation/real-data.md", "real_methods"),
        ("docs/explanation/real-data.md", "real_zero_shot"),
        ("docs/explanation/real-data.md", "real_adaptation"),
        ("docs/explanation/visibility.md", "visibility"),
        ("docs/how-to/new-lidar.md", "which_round"),
        ("docs/how-to/new-lidar.md", "which_round.gains"),
        ("docs/explanation/tables.md", "real_mixture"),
    ],
)
def test_table_is_that_of_the_committed_cards(page: str, benchmark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filled in with ``python benchmarks/BENCHMARK.py --table``, by its ``table`` or the function that is named."""
    text = (ROOT / page).read_text()
    shown = re.search(f"<!-- begin {re.escape(benchmark)} -->\n(.*?)<!-- end", text, re.DOTALL)
    assert shown is not None
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module, _, function = benchmark.partition(".")
    assert shown[1].strip() == getattr(import_module(module), function or "table")().strip()


def test_reproduced_tables_are_those_of_the_committed_cards() -> None:
    """Filled in with ``lidistill reproduce TABLE --cards benchmarks/results/reproduce/TABLE --format markdown``."""
    page = (ROOT / "docs/explanation/tables.md").read_text()
    parts = re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", page, re.DOTALL)
    shown = {name: text for name, text in parts if name in table_names()}
    made = {folder.name for folder in (ROOT / "benchmarks/results/reproduce").iterdir()}
    assert set(shown) == made
    own = re.search(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert own is not None
    assert len(list(parse_table(yaml.safe_load(own[1]), "own").city.cells())) == 4
    for name, text in shown.items():
        assert text.strip() == committed(name, ROOT / "benchmarks/results/reproduce" / name).strip()


def test_front_page_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_page_has_its_picture() -> None:
    (target,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    with Image.open(ROOT / target) as picture:
        assert picture.width >= 1200
    assert (ROOT / target).stat().st_size < 1_500_000
