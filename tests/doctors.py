"""Sources with injected faults, for the tests of the doctor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lidistill.apps.doctor import DoctorReport, diagnose, plan
from lidistill.apps.doctor_frames import examine_frames
from lidistill.datasets.source import Source
from lidistill.sensing.frame import CameraView, Frame

OPTICAL_TO_BODY = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Changed:
    """A source whose frames went through ``change``."""

    source: Source
    change: Callable[[Frame], Frame]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        return self.change(self.source[index])


def examined(source: Any) -> DoctorReport:
    """The report, without processes and page."""
    return diagnose(source, list(examine_frames(source, plan(len(source), None), 1)))


def views(change: Callable[[CameraView], CameraView]) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, views=tuple(change(view) for view in frame.views))


def exchanged(frame: Frame) -> Frame:
    one, other, *rest = frame.views
    swapped = (replace(one, from_lidar=other.from_lidar), replace(other, from_lidar=one.from_lidar))
    return replace(frame, views=(*swapped, *rest))


def transposed(view: CameraView) -> CameraView:
    pose = view.from_lidar.copy()
    pose[:3, :3] = pose[:3, :3].T
    return replace(view, from_lidar=pose)


def columns(order: list[int], factor: float = 1.0) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, points=frame.points[:, order] * np.float32(factor))


GROSS = {
    "camera-axes": views(lambda view: replace(view, from_lidar=OPTICAL_TO_BODY @ view.from_lidar)),
    "inverted-matrix": views(lambda view: replace(view, from_lidar=np.linalg.inv(view.from_lidar))),
    "transposed-rotation": views(transposed),
    "swapped-cameras": exchanged,
    "picture-size": views(lambda view: replace(view, intrinsics=np.diag([2.0, 2, 1]) @ view.intrinsics)),
    "units": columns([0, 1, 2], 1000.0),
    "scan-up": columns([2, 1, 0]),
    "mirrored": columns([1, 0, 2]),
    "intensity": lambda frame: replace(frame, intensity=frame.intensity / 255),
}
