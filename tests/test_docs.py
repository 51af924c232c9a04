"""What the documents say: every command parses, every link leads somewhere, the plug-ins of CONTRIBUTING work."""

from __future__ import annotations

import functools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
import yaml

from lidistill import cli
from lidistill.apps.reproduce.plan import Place, jobs
from lidistill.apps.reproduce.table_file import parse_table
from lidistill.evaluation.card import read_card

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def written_commands() -> Iterator[tuple[str, str]]:
    """(where, command line) of every lidistill command in the documents, the help screens and the makefile."""
    for page in PAGES:
        for block in re.findall(r"^```(?:console|bash|sh|)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if match := re.match(r"(?:\$ )?(lidistill .*)", line):
                    yield str(page.relative_to(ROOT)), match[1]
    for verb, function in cli.VERBS.items():
        for line in re.findall(r"\$ (lidistill .*)", function.__doc__ or ""):
            yield f"lidistill {verb} --help", line
    for line in re.findall(r"\$ (lidistill .*)", cli.overview()):
        yield "lidistill --help", line
    for line in re.findall(r"bin/(lidistill .*)", (ROOT / "Makefile").read_text()):
        yield "Makefile", line


COMMANDS = sorted(set(written_commands()))


def test_the_tables_of_the_documents_can_be_planned(tmp_path: Path) -> None:
    pages = blocks(ROOT / "docs/explanation/tables.md", "yaml")
    assert len(pages) == 2
    for text in pages:
        scale = parse_table(yaml.safe_load(text), "page").city
        planned = jobs(scale, scale.seeds, Place(tmp_path, tmp_path))
        assert {"pretrain", "probe"} < {job.verb for job in planned}


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{where}: {command}" for where, command in COMMANDS])
def test_written_command_parses(where: str, command: str) -> None:
    """With verbs that do nothing: names, options and types must be right."""
    words = shlex.split(command.split("  #")[0].split("  ")[0], comments=True)
    if ">" in words:
        words = words[: words.index(">")]
    _, verb, *arguments = words
    if verb in {"VERB", "--help"}:
        return
    assert verb in cli.VERBS, f"{where} names a verb that there is not"
    called = []

    @functools.wraps(cli.VERBS[verb])
    def idle(*positional: Any, **named: Any) -> None:
        called.append((positional, named))

    tyro.cli(idle, args=arguments, use_underscores=False, config=(tyro.conf.FlagCreatePairsOff,))
    assert called


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    for target in targets:
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name} points to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} points to {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    missing = sorted(page for page in pages if f"]({page})" not in index)
    assert not missing, f"docs/README.md has no link to {missing}"


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cli.__version__ == project["version"]
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_constraints_pin_every_package_once_and_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0].lower()) for line in lines]
    assert len(names) == len(set(names))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    needed = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[;! ]", r)[0].lower()) for r in wanted} - {"lidistill"}
    assert needed <= set(names)


# ---- the plug-ins of CONTRIBUTING


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example package of CONTRIBUTING, as pip would install it."""
    page = ROOT / "CONTRIBUTING.md"
    place = tmp_path / "site"
    (place / "my_plugin").mkdir(parents=True)
    (place / "my_plugin" / "__init__.py").touch()
    for block in blocks(page, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        assert name.startswith("my_plugin/")
        (place / name).write_text(block)
    project = tomllib.loads(blocks(page, "toml")[0])["project"]
    information = place / f"my_plugin-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(str(place))
    assert {point.name for point in entry_points(group="lidistill.teachers")} >= {"patches"}
    return place


def test_examples_of_contributing_work_together(
    plugin: Path, tmp_path: Path, tiny_rig: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands, as written, on a small rig and a small car park; the verbs run here, where the plug-ins are."""
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    tiny_rig(tmp_path / "my_rig", frames=3)
    (tmp_path / "parking").mkdir()
    for scan in range(3):
        points = rng.uniform(-20, 20, (500, 3)) * (1, 1, 0.1)
        rows = np.column_stack([points, rng.uniform(0, 1, 500), rng.integers(0, 3, 500)])
        np.save(tmp_path / "parking" / f"{scan}.npy", rows)
    (commands,) = [block for block in blocks(ROOT / "CONTRIBUTING.md", "console") if "lidistill" in block]
    for line in commands.splitlines():
        words = shlex.split(line.removeprefix("$ ").replace("/data/parking", "parking"))
        assert words[0] == "lidistill"
        small = ["--epochs", "1", "--set", "workers=0", "--set", "points=1000", "--set", "batch_size=2"]
        if words[1] == "pretrain":
            small += ["--set", "teacher.image_size=[64, 128]", "--recipe", "city"]
        assert cli.main([*words[1:], *small]) == 0
    recipe = (tmp_path / "runs" / "mine" / "recipe.yaml").read_text()
    assert all(f"{key}\n" in recipe for key in ("kind: pointmlp", "name: patches", "objective: cosine"))
    card = read_card(tmp_path / "runs" / "mine-probe" / "card.json")
    assert card.data.spec == "parking:parking"
    assert {name for name in card.metrics if name.startswith("iou/")} == {"iou/ground", "iou/car", "iou/pillar"}
