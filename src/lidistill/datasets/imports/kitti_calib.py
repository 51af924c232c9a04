"""KITTI's ``calib.txt``, whatever wrote it: projections P0..P3 of rectified cameras and the pose of the lidar.

Three dialects of one content: odometry (``Tr``), object (``R0_rect``, ``Tr_velo_to_cam``) and tracking (``R_rect``,
``Tr_velo_cam``, without colons).
"""

from __future__ import annotations

import re
from pathlib import Path

from lidistill.datasets.kitti_layout import Calibration, calibration_lines, camera, rigid, rotation
from lidistill.errors import InputError

POSES = ("Tr", "Tr_velo_to_cam", "Tr_velo_cam")
RECTIFICATIONS = ("R0_rect", "R_rect")


def read_calib(path: Path) -> dict[int, Calibration]:
    """The camera of every number: pixel = P_i R0 Tr [p; 1].

    Raises ``InputError`` when there is no P line, no pose or more than one, or a line does not hold what it must.
    """
    matches = (re.match(r"\s*(\w+)\s*[:\s]\s*(.+)", line) for line in calibration_lines(path))
    rows = {match[1]: match[2] for match in matches if match}
    projections = sorted(key for key in rows if re.fullmatch(r"P\d", key))
    poses = [key for key in POSES if key in rows]
    if not projections or len(poses) != 1:
        raise InputError(
            f"{path}: expected lines P0 to P3 and one of {', '.join(POSES)}, found {', '.join(rows) or 'none'}; give "
            "the calib.txt of KITTI odometry or object"
        )
    to_camera_0 = rigid(rows, poses[0], path)
    for key in RECTIFICATIONS:
        if key in rows:
            to_camera_0 = rotation(rows, key, path) @ to_camera_0
    return {int(key[1:]): camera(rows, key, path, to_camera_0) for key in projections}
