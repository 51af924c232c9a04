"""``docs/reference/taxonomies.md`` says what there is, and its examples load."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lidistill import taxonomy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "taxonomies.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_table_of_built_in_lists():
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| ([^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)
    assert tuple(name for name, *_ in rows) == taxonomy.names()
    for name, count, data, lists in rows:
        assert int(count) == len(taxonomy.load(name).classes)
        written = [*data.split(", "), *filter(None, lists.strip().split(", "))]
        assert written[0] == taxonomy.sources(name)[0]
        assert set(written) == set(taxonomy.sources(name))
        assert set(filter(None, lists.strip().split(", "))) <= set(taxonomy.names())


@pytest.mark.parametrize(
    ("example", "raw", "expected"),
    [(0, [1, 2, 7, 12, 90, 5], [0, 0, 1, 2, 255, 255]), (1, [4, 9, 17], [3, 13, 255])],
)
def test_examples_load(tmp_path, example, raw, expected):
    path = tmp_path / "my-classes.yaml"
    path.write_text(FILES[example])
    assert taxonomy.load(str(path)).apply(np.array(raw)).tolist() == expected


def test_the_example_merges_predictions(tmp_path):
    path = tmp_path / "my-classes.yaml"
    path.write_text(FILES[0])
    fine = taxonomy.load("nuscenes-16")
    merged = taxonomy.load(str(path), "nuscenes-16").apply(np.arange(16))
    names = [*taxonomy.load(str(path)).classes]
    assert {fine.classes[i]: names[c] for i, c in enumerate(merged) if c != 255} == {
        "car": "vehicle",
        "driveable_surface": "ground",
        "vegetation": "plant",
    }
    assert taxonomy.raw_names(str(path), "nuscenes-16") == {i: fine.classes[i] for i in (3, 10, 15)}
