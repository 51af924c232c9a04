"""Parts of a long evaluation: kept, not repeated, dropped when they are of something else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import Evaluation
from lidistill.evaluation.parts import Parts
from lidistill.training.samples import Skip


def made(count: int) -> Evaluation:
    confusion = Confusion(("a", "b"))
    confusion.add(np.array([0, 1, 1]), np.array([0, 1, count % 2]))
    return Evaluation(confusion, tuple(f"t{i}" for i in range(count)), (Skip("x", "damaged"),), 2.0)


def never() -> Evaluation:
    raise AssertionError("evaluated again")


def test_a_finished_part_is_kept_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "some" / "city.parts"
    first = Parts(path, "key")
    first.take("clean", lambda: made(3))
    first.take("fog/1", lambda: made(4))
    assert (first.seconds, first.scans) == (4.0, 7)
    again = Parts(path, "key")
    for name, count in (("clean", 3), ("fog/1", 4)):
        part = again.take(name, never)
        assert np.array_equal(part.confusion.matrix, made(count).confusion.matrix)
        assert (part.tokens, part.skipped) == (made(count).tokens, made(count).skipped)
    assert (again.seconds, again.scans) == (0.0, 0)
    assert not list(path.parent.glob("*.json"))  # where cards are looked for


def test_what_is_interrupted_is_not_kept(tmp_path: Path) -> None:
    def interrupted() -> Evaluation:
        raise KeyboardInterrupt

    parts = Parts(tmp_path / "parts", "key")
    parts.take("clean", lambda: made(1))
    with pytest.raises(KeyboardInterrupt):
        parts.take("fog/1", interrupted)
    assert set(Parts(tmp_path / "parts", "key").found) == {"clean"}


def test_parts_of_another_key_are_dropped(tmp_path: Path) -> None:
    Parts(tmp_path / "parts", "one").take("clean", lambda: made(1))
    other = Parts(tmp_path / "parts", "two")
    assert not other.found
    other.take("fog/1", lambda: made(1))
    assert set(Parts(tmp_path / "parts", "two").found) == {"fog/1"}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"key": "key"}', json.dumps({"key": "key", "parts": {"clean": {"tokens": []}}})]
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "parts").write_text(content)
    parts = Parts(tmp_path / "parts", "key")
    assert not parts.found
    assert "evaluating anew" in caplog.text
    assert len(parts.take("clean", lambda: made(2)).tokens) == 2
