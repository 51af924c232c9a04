"""Sources as a training run sees them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from lidistill.errors import InputError
from lidistill.training.data import open_mixture


def test_all_frames_of_a_source_without_the_split_and_a_word_about_it(
    tmp_path: Path, tiny_rig: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A part of a data set may have validation scenes alone: who learns from them must know it."""
    one, other = (tiny_rig(tmp_path / name, frames=3) for name in ("one", "other"))
    (other / "splits.yaml").write_text('val: ["000000", "000001"]')
    with caplog.at_level(logging.WARNING, "lidistill"):
        assert len(open_mixture([str(one), str(other)], "train")) == 2 + 3
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{other}: no split 'train' (there is val): all its frames are used"]
    (other / "splits.yaml").write_text("train: []")
    with pytest.raises(InputError, match="split 'train' has no frame"):
        open_mixture([str(one), str(other)], "train")
