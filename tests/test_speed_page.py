"""The figures of the page about speed are those of the committed result, and the steps agree."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["loader", "sparse_conv", "methods_cost"])
def test_table_is_that_of_the_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filled in with ``python benchmarks/NAME.py --table``."""
    if name == "loader":
        pytest.importorskip("embreex")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    page = (ROOT / "docs/explanation/speed.md").read_text()
    shown = re.search(f"<!-- begin {name} -->\n(.*?)<!-- end {name} -->", page, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == import_module(name).table().strip()


def test_the_published_steps_gave_the_same() -> None:
    inputs = json.loads((ROOT / "benchmarks/results/loader.json").read_text())["inputs"]
    assert len(inputs) >= 2
    for result in inputs.values():
        differing = dict(result["disagreement"])
        assert differing.pop("picture, largest difference") < 1e-6
        assert differing
        assert not any(differing.values())
