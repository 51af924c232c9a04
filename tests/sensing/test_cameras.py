import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.sensing.cameras import in_image, project
from lidistill.sensing.frame import CameraView, Distortion

HEIGHT, WIDTH = 480, 640
FOCAL = 400.0
CENTER = np.array([320.0, 240.0])
# typical calibrations of wide lenses: both polynomials fold back outside the picture
RADTAN = (-0.37, 0.20, 0.001, -0.0006, -0.07)
RATIONAL = (0.9, 0.3, 0.0002, -0.0001, 0.01, 1.2, 0.5, 0.05)
FISHEYE = (-0.04, 0.005, -0.003, 0.0002)


def camera(model=None, coefficients=(), focal=FOCAL, from_lidar=None):
    intrinsics = np.array([[focal, 0, CENTER[0]], [0, focal, CENTER[1]], [0, 0, 1.0]])
    lens = Distortion(model, tuple(coefficients)) if model else None
    return CameraView("test", HEIGHT, WIDTH, intrinsics, np.eye(4) if from_lidar is None else from_lidar, None, lens)


def ray(angle, turn=0.3):
    """Points 10 m away at ``angle`` (radians) from the optical axis."""
    angle = np.atleast_1d(angle)
    return 10 * np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], axis=1)


def test_pinhole_by_hand():
    from_lidar = np.array([[0, -1, 0, 0.1], [0, 0, -1, 0.2], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])
    view = camera(from_lidar=from_lidar)
    pixels, depth = project(np.array([[4.3, 1.1, 0.2]], np.float32), view)
    assert np.allclose(depth, 4.0)
    assert np.allclose(pixels, [[320 + 400 * -1.0 / 4, 240]], atol=1e-4)
    assert pixels.dtype == depth.dtype == np.float64


def test_skew_is_used():
    view = camera()
    view.intrinsics[0, 1] = 7
    pixels, _ = project(np.array([[0, 2.0, 4.0]]), view)
    assert np.allclose(pixels, [[320 + 3.5, 440]])


def test_behind_the_camera_is_never_in_the_image():
    points = np.array([[0.1, 0.1, -5.0], [0, 0, 0.0], [0.1, 0.1, 5.0]])
    for view in (camera(), camera("radtan", RADTAN)):
        pixels, depth = project(points, view)
        assert (depth[:2] <= 0).all()
        assert in_image(pixels, depth, HEIGHT, WIDTH, min_depth=-np.inf).tolist() == [False, False, True]


def test_border_rule_is_strict():
    pixels = np.array([[0, 5], [0.001, 5], [WIDTH - 1, 5], [WIDTH - 1.001, 5], [5, HEIGHT - 1], [5, 0], [5, 5], [5, 5]])
    depth = np.array([2, 2, 2, 2, 2, 2, 1.0, 1.001])
    expected = [False, True, False, True, False, False, False, True]
    assert in_image(pixels, depth, HEIGHT, WIDTH).tolist() == expected
    outer = np.array([[WIDTH - 0.5, 5], [WIDTH, 5], [5, HEIGHT - 0.5], [5, HEIGHT]])
    assert in_image(outer, np.full(4, 0.1), HEIGHT, WIDTH, min_depth=0, margin=0).tolist() == [True, False, True, False]
    assert not in_image(outer, np.full(4, 2.0), HEIGHT, WIDTH).any()


def test_radtan_formula():
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    k1, k2, p1, p2, k3 = RADTAN
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    expected = [
        320 + FOCAL * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)),
        240 + FOCAL * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y),
    ]
    pixels, _ = project(np.array([[3 * x, 3 * y, 3.0]]), camera("radtan", RADTAN))
    assert np.allclose(pixels, [expected], atol=1e-9)
    four, _ = project(np.array([[3 * x, 3 * y, 3.0]]), camera("radtan", RADTAN[:4]))
    five, _ = project(np.array([[3 * x, 3 * y, 3.0]]), camera("radtan", (*RADTAN[:4], 0.0)))
    assert np.array_equal(four, five)


def test_rational_denominator():
    x = 0.5
    k1, k2, _, p2, k3, k4, k5, k6 = RATIONAL
    s = x * x
    radial = (1 + k1 * s + k2 * s**2 + k3 * s**3) / (1 + k4 * s + k5 * s**2 + k6 * s**3)
    pixels, _ = project(np.array([[x, 0, 1.0]]), camera("radtan", RATIONAL))
    assert np.allclose(pixels[0, 0], 320 + FOCAL * (x * radial + 3 * p2 * s), atol=1e-9)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [("radtan", RADTAN), ("radtan", (-0.3, 0.05, 0, 0)), ("radtan", RATIONAL), ("fisheye", FISHEYE),
     ("fisheye", (-0.1, -0.02, 0, 0))],
)  # fmt: skip
def test_nothing_folds_back(model, coefficients):
    """Walking away from the optical axis a point only moves outward, then it is gone for good."""
    angles = np.radians(np.linspace(0.1, 179, 2000))
    pixels, _ = project(ray(angles), camera(model, coefficients))
    radius = np.linalg.norm(pixels - CENTER, axis=1)
    gone = np.isnan(radius)
    assert gone.any()
    last = np.flatnonzero(~gone)[-1]
    assert not gone[: last + 1].any()
    assert (np.diff(radius[: last + 1]) > -1e-3).all()
    assert radius[last] > 280


def test_fold_back_would_have_landed_in_the_picture():
    """The guard matters: the bare polynomial puts a point far outside the field of view into the image."""
    k1 = -0.3
    tangent = np.sqrt(1 / 0.3) * 0.97
    bare = tangent * (1 + k1 * tangent**2)
    assert 0 < 320 + FOCAL * bare < WIDTH
    pixels, depth = project(np.array([[10 * tangent, 0, 10.0]]), camera("radtan", (k1, 0, 0, 0)))
    assert np.isnan(pixels).all()
    assert not in_image(pixels, depth, HEIGHT, WIDTH).any()


def test_fisheye_is_equidistant_without_coefficients_and_sees_behind():
    view = camera("fisheye", (0, 0, 0, 0), focal=100)
    angles = np.radians([0, 30, 89.9, 90, 95, 120])
    pixels, depth = project(ray(angles), view)
    assert np.allclose(np.linalg.norm(pixels - CENTER, axis=1), 100 * angles)
    assert np.allclose(depth, 10)
    assert in_image(pixels, depth, HEIGHT, WIDTH).all()
    assert np.allclose(pixels[0], CENTER)


def test_fisheye_formula():
    angle = 0.7
    k = np.array(FISHEYE)
    radius = angle + (k * angle ** np.array([3, 5, 7, 9])).sum()
    pixels, _ = project(ray(angle, turn=0.5), camera("fisheye", FISHEYE))
    assert np.allclose(pixels, [CENTER + FOCAL * radius * np.array([np.cos(0.5), np.sin(0.5)])], atol=1e-9)


def test_wrong_number_of_coefficients():
    with pytest.raises(InputError, match="radtan distortion takes 4 or 5 or 8 coefficients, found 3"):
        project(np.ones((1, 3)), camera("radtan", (1, 2, 3)))
    with pytest.raises(InputError, match="fisheye"):
        project(np.ones((1, 3)), camera("fisheye", (1, 2)))


def test_no_points():
    for view in (camera(), camera("radtan", RADTAN), camera("fisheye", FISHEYE)):
        pixels, depth = project(np.zeros((0, 3), np.float32), view)
        assert pixels.shape == (0, 2)
        assert depth.shape == (0,)
