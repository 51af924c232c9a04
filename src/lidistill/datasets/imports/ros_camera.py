"""ROS ``camera_info``, from a message or a YAML file, as an entry of ``cameras`` in ``rig.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lidistill.datasets import calibration
from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Matrix

LENSES = {
    "plumb_bob": ("radtan", (4, 5)),
    "radtan": ("radtan", (4, 5)),
    "rational_polynomial": ("radtan", (8,)),
    "equidistant": ("fisheye", (4,)),
    "fisheye": ("fisheye", (4,)),
}
"""Model of ROS -> ours, and how many coefficients it takes (the order is OpenCV's in both)."""

UPWARD = 0.8
"""z component of the optical axis in the lidar frame above which the camera would look into the sky (53 degrees)."""


def documents(path: Path) -> list[Any]:
    """The documents of a YAML file that say something: ``ros2 topic echo`` ends each message with a line ``---``."""
    try:
        found = [document for document in yaml.safe_load_all(path.read_bytes()) if document is not None]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a YAML file there") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    if not found:
        raise InputError(f"{path}: the file is empty, expected YAML; write it again")
    return found


def read_info(path: Path) -> dict[str, Any]:
    """The fields of a ``camera_info`` YAML file under the names of the ROS 2 message: width, height, k, d, p, ...

    Two layouts: what ``camera_calibration`` saves (``image_width``, ``camera_matrix: {data: ...}``) and a printed
    message (``K`` or ``k``). Raises ``InputError`` when it is neither.
    """
    content = documents(path)[0]
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a ROS camera_info (image_width, camera_matrix, ...), found {content!r:.60}")
    renamed = {"image_width": "width", "image_height": "height", "camera_matrix": "k", "projection_matrix": "p"}
    renamed |= {"distortion_coefficients": "d", "rectification_matrix": "r"}
    fields = {renamed.get(str(key), str(key).lower()): value for key, value in content.items()}
    return {
        key: value["data"] if isinstance(value, dict) and "data" in value else value for key, value in fields.items()
    }


def message_info(message: Any) -> dict[str, Any]:
    """The fields of a ``sensor_msgs/CameraInfo``; ROS 1 writes K, D, R, P in capitals."""
    return {name.lower(): value for name, value in vars(message).items()}


def camera_entry(info: Mapping[str, Any], from_lidar: Matrix, where: str, rectified: bool = False) -> dict[str, Any]:
    """An entry of ``cameras``: size, intrinsics, distortion and the lidar -> camera transform (4, 4), checked.

    Pictures that ``image_proc`` has ``rectified`` have the matrix P, the turn R and no distortion; others K and D.

    Raises ``InputError`` (naming ``where``) for missing fields, an unknown model, a wrong number of coefficients,
    binned or cropped pictures, and a pose that is not rigid or not that of an optical frame.
    """
    for key in ("width", "height", "p" if rectified else "k"):
        if info.get(key) is None:
            raise InputError(f"{where}: no {key!r} in the camera_info; found {', '.join(info)}")
    width, height = (_size(info[key], f"{where}: {key}") for key in ("width", "height"))
    _check_whole(info, width, height, where)
    matrix = _square(info["p"] if rectified else info["k"], (3, 4) if rectified else (3, 3), where)[:, :3]
    from_lidar = calibration.rigid(from_lidar.tolist(), f"{where}: lidar to camera")
    if rectified:
        turn = np.eye(4)
        turn[:3, :3] = _square(info.get("r"), (3, 3), where)
        from_lidar = calibration.rigid((turn @ from_lidar).tolist(), f"{where}: rectification")
    check_optical(from_lidar, where)
    entry = {
        "height": height,
        "width": width,
        "intrinsics": calibration.intrinsics(matrix.tolist(), where).tolist(),
        "from_lidar": from_lidar.tolist(),
    }
    lens = None if rectified else _distortion(info, where)
    return entry if lens is None else {**entry, "distortion": lens}


def check_optical(from_lidar: Matrix, where: str) -> None:
    """``InputError`` when the z axis, which must be the optical axis, points up in the lidar frame (z up)."""
    if from_lidar[2, 2] > UPWARD:
        raise InputError(
            f"{where}: z of the camera frame points up, expected an optical frame (x right, y down, z forward); use "
            "the frame that ends in _optical_frame, or check that z of the lidar frame is up"
        )


def _distortion(info: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    given = info.get("d")
    values = _numbers([] if given is None else given, f"{where}: distortion").ravel()
    model = str(info.get("distortion_model") or "")
    if not values.any():
        if model in LENSES and LENSES[model][0] == "fisheye":  # four zeros bend the picture, unlike a pinhole
            return {"model": "fisheye", "coefficients": [0.0] * 4}
        return None
    if model not in LENSES:
        raise InputError(f"{where}: unknown distortion model {model!r}{nearest(model, LENSES)}")
    name, lengths = LENSES[model]
    longest = max(lengths)
    if len(values) not in lengths and (len(values) < longest or values[longest:].any()):
        expected = " or ".join(map(str, lengths))
        raise InputError(f"{where}: {model} takes {expected} coefficients, found {len(values)}: {values.tolist()}")
    return {"model": name, "coefficients": values[:longest].tolist()}  # OpenCV fills up with zeros


def _check_whole(info: Mapping[str, Any], width: int, height: int, where: str) -> None:
    """The matrices are those of the whole sensor: a binned or cropped picture has others."""
    roi = info.get("roi") or {}
    roi = roi if isinstance(roi, Mapping) else vars(roi)
    binned = max(int(info.get(key) or 0) for key in ("binning_x", "binning_y")) > 1
    cropped = (roi.get("width") or width, roi.get("height") or height) != (width, height)
    if binned or cropped or roi.get("x_offset") or roi.get("y_offset"):
        raise InputError(
            f"{where}: pictures are binned or cropped (binning or roi in the camera_info), expected whole ones; give a "
            "camera_info for the pictures as they are"
        )


def _square(values: Any, shape: tuple[int, int], where: str) -> Matrix:
    matrix = _numbers([] if values is None else values, where)
    if matrix.size != shape[0] * shape[1]:
        raise InputError(f"{where}: a matrix has {matrix.size} numbers, expected {shape[0]} x {shape[1]}")
    return matrix.reshape(shape)


def _numbers(values: Any, where: str) -> Matrix:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected a list of numbers, found {values!r:.60}") from None


def _size(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{where} = {value!r:.40}: expected pixels above 0")
    return int(value)
