"""The command that trains other small teachers of the city, in its smallest form."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from lidistill import taxonomy
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.registry import load_teacher

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("embreex", reason="the simulator needs the extra sim")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import city_teachers
    finally:
        sys.path.remove(str(BENCHMARKS))
    return city_teachers


def two_pictures(script: ModuleType) -> object:
    """Left half road, right half cars of another colour."""
    images = np.full((2, 224, 448, 3), 80, np.uint8)
    images[:, :, 224:] = (200, 40, 40)
    labels = np.ones((2, 224, 448), np.uint8)
    labels[:, :, 224:] = 21
    return script.Pictures(images, labels, np.where(labels == 1, 4, 12).astype(np.uint8), ["a", "b"])


def test_specialists_know_one_half_each(script: ModuleType) -> None:
    raw = np.arange(37, dtype=np.uint8)[None]
    seen = script.Pictures(raw, raw, raw, [])
    things, stuff = (script.KINDS[kind].labels(seen)[0] for kind in ("things", "stuff"))
    classes = taxonomy.load("city-16").apply(raw[0])
    moving = classes <= 9  # barrier ... truck; 10 and up: surfaces, manmade, vegetation
    assert np.array_equal(things[moving], raw[0, moving])
    assert set(things[~moving]) == {0, 1}
    assert np.array_equal(stuff[~moving], raw[0, ~moving])
    assert set(stuff[moving]) == {21}


def test_a_program_is_the_network_that_was_trained(script: ModuleType, tmp_path: Path) -> None:
    seen = two_pictures(script)
    kind = script.KINDS["tiny"]
    network, _ = script.train(seen.images, kind.labels(seen), 6, 2, 2e-3, 0, kind.width)
    path = tmp_path / "city-tiny.pt2"
    script.export(network, path)
    teacher = load_teacher(TeacherConfig(name=str(path), image_size=(96, 160)))
    assert (teacher.name, teacher.dim, teacher.stride, teacher.grid) == ("city-tiny", 64, 4, "origin")
    images = torch.rand(2, 3, 96, 160)
    with torch.no_grad():
        expected = network.float()((images - teacher.mean) / teacher.std)
    assert expected.isfinite().all()
    assert torch.allclose(teacher(images), expected, atol=1e-4)
    assert path.stat().st_size < 2**21
    read = script.read(str(path), seen, 30)
    assert read.shape == (60, 64)
    assert script.probe(read, script.classes(seen, 30), read, script.classes(seen, 30)) > 0.9


def test_what_features_lack_cannot_be_read(script: ModuleType) -> None:
    truth = torch.arange(400) % 4
    known = torch.nn.functional.one_hot(truth // 2, 2).float()
    assert script.probe(known, truth, known, truth) == pytest.approx(0.25, abs=0.01)
    both = torch.nn.functional.one_hot(truth, 4).float()
    assert script.probe(both, truth, both, truth) == 1
