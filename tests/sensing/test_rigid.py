import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.sensing.rigid import from_quaternion, invert, rotation_z, to_quaternion, transform


def some_pose(rng):
    return from_quaternion(rng.normal(size=4), rng.normal(size=3) * 10)


def test_quarter_turns():
    half = np.sqrt(0.5)
    about_z = from_quaternion((half, 0, 0, half), (1, 2, 3))
    assert np.allclose(transform(np.array([[1.0, 0, 0]]), about_z), [[1, 3, 3]])
    about_x = from_quaternion((half, half, 0, 0))
    assert np.allclose(transform(np.array([[0.0, 1, 0]]), about_x), [[0, 0, 1]])
    about_y = from_quaternion((half, 0, half, 0))
    assert np.allclose(transform(np.array([[0.0, 0, 1]]), about_y), [[1, 0, 0]])
    assert np.allclose(rotation_z(np.pi / 2) @ [1, 0, 0], [0, 1, 0])


def test_quaternion_agrees_with_scipy_and_ignores_length():
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    for _ in range(20):
        wxyz = rng.normal(size=4)
        expected = Rotation.from_quat(wxyz[[1, 2, 3, 0]]).as_matrix()
        assert np.allclose(from_quaternion(wxyz)[:3, :3], expected, atol=1e-12)
        assert np.allclose(from_quaternion(3 * wxyz)[:3, :3], expected, atol=1e-12)


@pytest.mark.parametrize("wxyz", [(0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 0)])
def test_no_rotation_is_refused(wxyz):
    with pytest.raises(InputError, match="quaternion"):
        from_quaternion(wxyz)


def test_a_matrix_becomes_the_quaternion_that_made_it():
    rng = np.random.default_rng(2)
    for wxyz in (*rng.normal(size=(20, 4)), (1, 0, 0, 0), (0, 0, 0, -1), (-0.5, 0.5, 0.5, 0.5)):
        pose = from_quaternion(wxyz, (4, 5, 6))
        found = to_quaternion(pose)
        assert found[0] >= 0
        assert np.linalg.norm(found) == pytest.approx(1)
        assert np.allclose(from_quaternion(found, (4, 5, 6)), pose, atol=1e-12)
    assert np.allclose(to_quaternion(from_quaternion((-0.8, 0, 0.6, 0))), (0.8, 0, -0.6, 0))


def test_inverse_undoes():
    rng = np.random.default_rng(1)
    pose = some_pose(rng)
    points = rng.normal(size=(50, 3)) * 100
    assert np.allclose(transform(transform(points, pose), invert(pose)), points, atol=1e-10)
    rounded = np.round(pose, 3)
    assert np.allclose(transform(transform(points, rounded), invert(rounded)), points, atol=1e-10)


def test_precision_follows_the_points_but_the_sum_is_wide():
    pose = np.eye(4)
    pose[:3, 3] = [-1e6, 0, 0]
    points = np.array([[1e6 + 1, 0.1, 0]], np.float32)
    moved = transform(points, pose)
    assert moved.dtype == np.float32
    assert moved[0, 0] == 1
    assert transform(points.astype(np.float64), pose).dtype == np.float64
    assert transform(np.zeros((0, 3), np.float32), pose).shape == (0, 3)
