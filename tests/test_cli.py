"""The command line: help screens are quick and complete, faults are one sentence with the right exit code."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import lidistill
from lidistill.cli import VERBS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lidistill", *arguments], capture_output=True, text=True, check=False)


def test_overview_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_every_verb_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"$ lidistill {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["pretrain", "--help"], ["demo", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from lidistill.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'transformers', 'scipy', 'matplotlib', 'embreex', 'laspy', 'skimage'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_needs_less_than_a_second_of_processor_time() -> None:
    # processor time, not the clock's: the machine may be busy with something else
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "lidistill", "pretrain", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pretrian"], "did you mean 'pretrain'?"),
        (["recipes", "scalr-pluss"], "did you mean 'scalr-plus'?"),
        (["recipes", "nowhere.yaml"], "does not exist"),
        (["pretrain", "nowhere", "--out", "x"], "nowhere"),
        (["pretrain", "--out", "x"], "name at least one source"),
        (["probe", "nowhere", "--data", "here", "--out", "x"], "does not exist"),
        (["evaluate", "nowhere", "--data", "here"], "does not exist"),
        (["predict", "nowhere", "a.bin", "--out", "x"], "does not exist"),
        (["import-checkpoint", "nowhere.pth", "x"], "nowhere.pth"),
        (["report", "nowhere"], "nowhere"),
        (["probe", "--data", "here", "--out", "x", "--set", "lr"], "expected key=value"),
        (["probe", "--data", "here", "--out", "x", "--set", "learning_rate=1"], "learning_rate"),
        (["probe", "--data", "here", "--out", "x", "--recipe", "scalr"], "takes one of kind segment"),
        (["pretrain", "here", "--out", "x", "--recipe", "linear-probe"], "takes one of kind distil"),
        (["pretrain", "here", "--out", "x", "--recipe", "city-images"], "is of kind teach; pretrain takes one of kind"),
        (["teach-images", "here", "--out", "x", "--recipe", "city"], "city is of kind distil; teach-images takes one"),
        (["teach-images", "nowhere", "--out", "x"], "nowhere"),
    ],
)
def test_fault_is_one_sentence(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.startswith("lidistill: ")
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["pretrain", "here", "--ouut", "x"], ["pretrain", "here", "--epochs", "many"]])
def test_unknown_option_and_wrong_type_exit_with_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_python_functions_are_the_verbs() -> None:
    assert sorted(lidistill.__all__) == sorted(name.replace("-", "_") for name in VERBS)
    for name in lidistill.__all__:
        assert callable(getattr(lidistill, name))
    with pytest.raises(AttributeError):
        lidistill.nothing  # noqa: B018


def test_threads_that_wait_do_not_spin() -> None:
    """Unless somebody said otherwise, and before torch reads it."""
    code = "import os; from lidistill.cli import main; main(['--version']); print(os.environ['OMP_WAIT_POLICY'])"
    for said, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": said} if said else {}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == expected
