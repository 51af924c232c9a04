"""Test-time augmentation: fixed poses, one pose changes nothing, several are the mean of the softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill.datasets.source import Source, open_source
from lidistill.errors import InputError
from lidistill.evaluation.inference import Scanned, evaluate, look, scan
from lidistill.evaluation.poses import AMOUNT, Viewpoint, poses
from lidistill.sensing.frame import Frame
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config
from lidistill.training.samples import Skip

CLASSES = tuple(f"c{i}" for i in range(16))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_rig: Callable[..., Path]) -> Source:
    return open_source(str(tiny_rig(tmp_path_factory.mktemp("poses") / "rig", frames=2)))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    built = Network(student_config("waffleiron-2-16", cell=1.0, neighbors=8), HeadConfig(kind="linear", outputs=16))
    return built.eval()


def test_more_poses_go_on_where_fewer_stop() -> None:
    assert poses(1) == (Viewpoint(),)
    assert poses(9)[:4] == poses(4)
    assert len(set(poses(50))) == 50


def test_poses_cover_turns_mirrors_and_sizes_evenly() -> None:
    many = poses(60)
    turns = np.sort([pose.angle for pose in many])
    assert np.diff([*turns, 2 * np.pi]).max() < 3 * 2 * np.pi / 60
    assert [sum(pose.axis == axis for pose in many) for axis in (None, 0, 1)] == [20, 20, 20]
    factors = np.array([pose.factor for pose in many])
    assert np.all(np.abs(factors - 1) <= AMOUNT)
    assert factors.min() < 1 - 0.9 * AMOUNT
    assert factors.max() > 1 + 0.9 * AMOUNT


@pytest.mark.parametrize("count", [0, -1])
def test_no_pose_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"--tta {count}"):
        poses(count)


def test_a_pose_moves_the_points_alone(source: Source) -> None:
    frame = source[0]
    assert Viewpoint().apply(frame) is frame
    turned = Viewpoint(np.pi / 2, axis=1, factor=2).apply(frame)
    assert np.allclose(turned.points, frame.points[:, [1, 0, 2]] * (-2, -2, 2), atol=1e-4)
    assert turned.labels is frame.labels
    assert turned.intensity is frame.intensity
    assert turned.views == ()  # its pictures no longer fit


def test_one_pose_is_none(source: Source, network: Network) -> None:
    plain, one = ([*scan(network, source, 0.3, **options)] for options in ({}, {"poses": poses(1)}))
    for ours, theirs in zip(plain, one, strict=True):
        assert isinstance(ours, Scanned)
        assert isinstance(theirs, Scanned)
        assert torch.equal(ours.outputs, theirs.outputs)
        assert torch.equal(ours.rows, theirs.rows)
    without, with_one = (evaluate(network, source, CLASSES, 0.3, **options) for options in ({}, {"poses": poses(1)}))
    assert np.array_equal(without.confusion.matrix, with_one.confusion.matrix)


def test_several_poses_are_the_mean_of_the_softmax_per_recorded_point(source: Source, network: Network) -> None:
    frame = source[1]
    each = [look(network, pose.apply(frame), 0.3) for pose in poses(3)]
    expected = sum(item.outputs.softmax(1)[item.rows] for item in each) / 3
    found = [*scan(network, source, 0.3, poses=poses(3))][1]
    assert isinstance(found, Scanned)
    assert torch.allclose(found.outputs[found.rows], expected, atol=1e-6)
    assert np.array_equal(found.prediction(), expected.argmax(1).numpy())
    assert torch.allclose(found.features[found.rows], each[0].features[each[0].rows], atol=1e-5)
    assert not np.array_equal(found.prediction(), each[0].prediction())


def test_a_frame_that_fails_is_skipped_once(source: Source, network: Network) -> None:
    class Far:
        name = "far"

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Frame:
            frame = source[index]
            return frame if index else replace(frame, points=frame.points + np.float32(1000))

    items = [*scan(network, Far(), 0.3, poses=poses(3))]
    assert [isinstance(item, Skip) for item in items] == [True, False]
    evaluation = evaluate(network, Far(), CLASSES, 0.3, poses=poses(3))
    assert len(evaluation.skipped) == len(evaluation.tokens) == 1
    labelled = int((source[1].labels != 255).sum())
    assert evaluation.confusion.matrix.sum() == labelled  # once, however many poses
