"""The Seal losses: the numbers of SuperFlow, their nearest published relative, and loops over segments."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lidistill.objectives.contrast import info_nce
from lidistill.objectives.pooling import pixel_means, segment_means
from lidistill.objectives.seal import point_to_segment, temporal
from lidistill.objectives.slidr import slidr


def assert_close(found, expected):
    """Relative 1e-5 as the fixtures define it."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


class Frame:
    """Unit features of the pairs of one frame of the fixture, their segments, and the means of its pixels."""

    def __init__(self, data, frame, images):
        self.leaf = torch.tensor(data[f"{frame}_feat3d"], requires_grad=True)
        unit, count = functional.normalize(self.leaf, dim=1), int(data["superpixel_size"])
        points, segments, superpixels, offset = [], [], [], 0
        for scan, voxels in enumerate(data["num_voxels"].tolist()):
            superpixels.append(torch.tensor(data[f"{images}_superpixels_{scan}"]))
            camera, row, column = torch.tensor(data[f"{frame}_pair_pixels_{scan}"]).long().T
            pairs = torch.tensor(data[f"{frame}_pair_points_{scan}"]).long()
            points.append(unit[torch.tensor(data[f"{frame}_point2voxel_{scan}"]).long()[pairs] + offset])
            segments.append(superpixels[-1][camera, row, column] + scan * count)
            offset += voxels
        self.points, self.segments, self.count = torch.cat(points), torch.cat(segments), len(superpixels) * count
        scans = [scan for scan, ids in enumerate(superpixels) for _ in ids]
        maps = torch.tensor(data[f"{images}_feat2d"])
        self.pixel_means = pixel_means(maps, torch.cat(superpixels), count, scans)


def test_reference_values(parity):
    data = np.load(parity("04_distillation_losses/superflow_temporal.npz"))
    temperature = float(data["temperature"])
    frames = {name: Frame(data, name, name) for name in ("cur", "prev", "next")}
    spatial = sum(slidr(f.points, f.segments, f.pixel_means, temperature) for f in frames.values()) / 3
    now = frames["cur"]
    consistency = sum(
        temporal(now.points, now.segments, then.points, then.segments, now.count, temperature)
        for then in (frames["prev"], frames["next"])
    )
    assert_close(spatial.detach(), data["loss_spatial"])
    assert_close(consistency.detach() / 2, data["loss_temporal"])
    # the gradients are those of the sum with SuperFlow's third loss, against the merged sweeps
    frames["sweep"] = sweep = Frame(data, "sweep", "cur")
    dense = segment_means(sweep.points, sweep.segments, sweep.count)
    third = slidr(now.points, now.segments, dense, temperature)
    total = spatial + consistency / 2 + third
    assert_close(third.detach(), data["loss_d2s"])
    assert_close(total.detach(), data["total"])
    total.backward()
    for name, frame in frames.items():
        assert_close(frame.leaf.grad, data[f"{name}_grad3d"])


def sweeps(dtype=torch.float64, seed=0):
    """Two sweeps: segments 0, 2, 3, 5 now, 0, 2, 4, 5 then; -1 is no segment."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for ids in ([0, 2, 3, 5, -1], [0, 2, 4, 5, -1]):
        features = functional.normalize(torch.randn(30, 6, dtype=dtype, generator=generator), dim=1)
        segments = torch.tensor(ids)[torch.randint(0, 5, (30,), generator=generator)]
        segments[:5] = torch.tensor(ids)
        found += [features.requires_grad_(), segments]
    return found


def test_temporal_is_a_contrast_of_common_segments():
    now, now_segments, then, then_segments = (t.detach() for t in sweeps())
    rows = [
        torch.stack([features[segments == s].sum(0) / (int((segments == s).sum()) + 1e-6) for s in (0, 2, 5)])
        for features, segments in ((now, now_segments), (then, then_segments))
    ]
    found = float(temporal(now, now_segments, then, then_segments, 7, 0.3))
    assert found == pytest.approx(float(info_nce(*rows, 0.3)), rel=1e-12)
    assert found != pytest.approx(float(info_nce(*rows[::-1], 0.3)), rel=1e-3)


def test_temporal_consistency_is_rewarded():
    ids = torch.arange(4).repeat(3)
    same, other = torch.eye(4)[ids], torch.eye(4)[(ids + 1) % 4]
    assert float(temporal(same, ids, same, ids, 4)) < 1e-4
    assert float(temporal(same, ids, other, ids, 4)) == pytest.approx(1 / 0.07, rel=1e-3)


def test_points_of_no_common_segment_do_not_matter():
    now, now_segments, then, then_segments = (t.detach() for t in sweeps())
    expected = float(temporal(now, now_segments, then, then_segments, 7))
    now[(now_segments == 3) | (now_segments == -1)] = 9
    then[(then_segments == 4) | (then_segments == -1)] = 9
    assert float(temporal(now, now_segments, then, then_segments, 7)) == expected


def test_point_to_segment_is_a_loop():
    points, segments, *_ = (t.detach() for t in sweeps())
    present = [0, 2, 3, 5]
    means = torch.stack([points[segments == s].sum(0) / (int((segments == s).sum()) + 1e-6) for s in present])
    per_segment = []
    for row, segment in enumerate(present):
        losses = [-(means @ point / 0.3).log_softmax(0)[row] for point in points[segments == segment]]
        per_segment.append(sum(losses) / len(losses))
    expected = float(sum(per_segment) / len(present))
    assert float(point_to_segment(points, segments, 7, 0.3)) == pytest.approx(expected, rel=1e-10)


def test_points_close_to_their_segment_are_rewarded():
    ids = torch.arange(4).repeat(3)
    together = torch.eye(4)[ids]
    mixed = torch.eye(4)[torch.arange(12) // 3]  # all segments hold about the same
    assert float(point_to_segment(together, ids, 4)) < 1e-4
    assert float(point_to_segment(mixed, ids, 4)) > 1


@pytest.mark.parametrize("loss", ["temporal", "point to segment"])
def test_the_order_and_the_numbers_do_not_matter(loss):
    now, now_segments, then, then_segments = (t.detach() for t in sweeps())
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    names = torch.tensor([6, 0, 3, 1, 5, 2, 4, -1])  # the last stands for -1
    if loss == "temporal":
        found = temporal(now[order], names[now_segments][order], then, names[then_segments], 7)
        expected = temporal(now, now_segments, then, then_segments, 7)
    else:
        found = point_to_segment(now[order], names[now_segments][order], 7)
        expected = point_to_segment(now, now_segments, 7)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_gradients_match_finite_differences():
    now, now_segments, then, then_segments = sweeps()
    assert torch.autograd.gradcheck(lambda a, b: temporal(a, now_segments, b, then_segments, 7, 0.5), (now, then))
    assert torch.autograd.gradcheck(lambda a: point_to_segment(a, now_segments, 7, 0.5), (now,))


@pytest.mark.parametrize("kind", ["no points", "no segment"])
def test_nothing_to_contrast_gives_zero(kind):
    count = 0 if kind == "no points" else 8
    points, then = (torch.ones(count, 3, requires_grad=True) for _ in range(2))
    nowhere = torch.full((count,), -1)
    loss = temporal(points, nowhere, then, nowhere, 4) + point_to_segment(points, nowhere, 4)
    loss.backward()
    assert float(loss.detach()) == 0
    assert points.grad.shape == then.grad.shape == (count, 3)
    assert not points.grad.any()
    assert not then.grad.any()


def test_sweeps_without_a_common_segment_give_zero():
    now, now_segments, then, then_segments = sweeps()
    loss = temporal(now, now_segments, then, torch.full_like(then_segments, 6), 7)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not now.grad.any()


def test_half_precision_is_computed_in_single():
    now, now_segments, then, then_segments = (t.detach() for t in sweeps(torch.float32))
    exact = [float(temporal(now, now_segments, then, then_segments, 7)), float(point_to_segment(now, now_segments, 7))]
    with torch.autocast("cpu", torch.bfloat16):
        found = [temporal(now, now_segments, then, then_segments, 7), point_to_segment(now, now_segments, 7)]
        assert [float(loss) for loss in found] == exact
        rounded = [
            temporal(now.bfloat16(), now_segments, then.bfloat16(), then_segments, 7),
            point_to_segment(now.bfloat16(), now_segments, 7),
        ]
    assert [loss.dtype for loss in rounded] == [torch.float32] * 2
