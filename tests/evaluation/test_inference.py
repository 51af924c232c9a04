"""Whole scans through a network: every recorded point gets its own answer, and the evaluator counts each once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill.datasets.source import Source, open_source
from lidistill.evaluation.confusion import Confusion
from lidistill.evaluation.inference import Scanned, evaluate, look, scan
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config
from lidistill.training.samples import Skip

CLASSES = tuple(f"c{i}" for i in range(16))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Path:
    return tiny_rig(tmp_path_factory.mktemp("inference") / "rig", frames=4)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    built = Network(student_config("waffleiron-2-16", cell=1.0, neighbors=8), HeadConfig(kind="linear", outputs=16))
    return built.eval()


def results(network: Network, source: Source, **options: tuple[int, int]) -> list[Scanned]:
    return [item for item in scan(network, source, 0.3, **options) if isinstance(item, Scanned)]


def test_every_recorded_point_has_an_answer(rig: Path, network: Network) -> None:
    source = open_source(str(rig))
    for index, item in enumerate(results(network, source)):
        frame = source[index]
        assert item.index == index
        assert item.token == frame.token
        assert item.prediction().shape == (len(frame),)
        assert len(item.outputs) < len(frame)


def test_one_frame_alone_gives_the_same(rig: Path, network: Network) -> None:
    source = open_source(str(rig))
    alone, among = look(network, source[2], 0.3), results(network, source)[2]
    assert torch.equal(alone.rows, among.rows)
    assert torch.allclose(alone.outputs, among.outputs, atol=1e-5)


def test_parts_are_disjoint_and_complete(rig: Path, network: Network) -> None:
    source = open_source(str(rig))
    parts = [results(network, source, part=(rank, 3)) for rank in range(3)]
    assert sorted(item.index for part in parts for item in part) == [0, 1, 2, 3]
    assert [item.index for item in parts[0]] == [0, 3]


def test_the_evaluator_counts_every_labelled_point_once(rig: Path, network: Network) -> None:
    source = open_source(str(rig))
    evaluation = evaluate(network, source, CLASSES, 0.3)
    expected = Confusion(CLASSES)
    for index, item in enumerate(results(network, source)):
        expected.add(source[index].labels, item.prediction())
    assert np.array_equal(evaluation.confusion.matrix, expected.matrix)
    labelled = sum(int((source[i].labels != 255).sum()) for i in range(len(source)))
    assert evaluation.confusion.matrix.sum() == labelled
    assert evaluation.tokens == tuple(source[i].token for i in range(4))


def test_a_bad_frame_is_left_out_and_named(rig: Path, network: Network, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(rig, tmp_path / "rig")
    (tmp_path / "rig" / "scans" / "000001.bin").write_bytes(b"\0" * 30)
    source = open_source(str(tmp_path / "rig"))
    items = list(scan(network, source, 0.3))
    assert [isinstance(item, Skip) for item in items] == [False, True, False, False]
    evaluation = evaluate(network, source, CLASSES, 0.3)
    assert len(evaluation.tokens) == 3
    assert "000001.bin" in evaluation.skipped[0].reason
