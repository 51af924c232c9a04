"""``corrupt``: a scan under one of the corruptions, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import Frame
from lidistill.transforms.corruptions.beam_missing import beam_missing
from lidistill.transforms.corruptions.cross_sensor import cross_sensor
from lidistill.transforms.corruptions.crosstalk import crosstalk
from lidistill.transforms.corruptions.fog import fog
from lidistill.transforms.corruptions.incomplete_echo import incomplete_echo
from lidistill.transforms.corruptions.motion_blur import motion_blur
from lidistill.transforms.corruptions.snow import snow
from lidistill.transforms.corruptions.wet_ground import wet_ground

Corruption = Callable[[Frame, int, np.random.Generator, Sequence[str] | None], Frame]

SEVERITIES = (1, 2, 3)
"""Light, moderate, heavy."""

_BY_NAME: Mapping[str, Corruption] = {
    "fog": lambda frame, severity, rng, _: fog(frame, severity, rng),
    "wet-ground": lambda frame, severity, _, classes: wet_ground(frame, severity, classes),
    "snow": lambda frame, severity, rng, _: snow(frame, severity, rng),
    "motion-blur": lambda frame, severity, rng, _: motion_blur(frame, severity, rng),
    "beam-missing": lambda frame, severity, rng, _: beam_missing(frame, severity, rng),
    "crosstalk": lambda frame, severity, rng, _: crosstalk(frame, severity, rng),
    "incomplete-echo": incomplete_echo,
    "cross-sensor": lambda frame, severity, _rng, _: cross_sensor(frame, severity),
}

NAMES = tuple(_BY_NAME)
"""In the published order."""


def corrupt(
    frame: Frame, name: str, severity: int, rng: np.random.Generator, classes: Sequence[str] | None = None
) -> Frame:
    """The scan under a corruption of ``NAMES``, in one of ``SEVERITIES``; all chance comes from ``rng``.

    Intensity, ring, time and labels go with their points. Points that show no surface any more (of fog, snow,
    crosstalk) have the label ``IGNORE``. ``classes`` are the names of the train ids (``taxonomy.classes``): wet ground
    and incomplete echo look for ground and vehicles among them. Pictures stay as they were.

    Raises ``InputError`` for an unknown name or severity, and where classes are needed and there are none.
    """
    check(name, severity)
    return _BY_NAME[name](frame, severity, rng, classes) if len(frame) else frame


def check(name: str, severity: int) -> None:
    """Raise ``InputError`` unless there is such a corruption in such a severity."""
    if name not in NAMES:
        raise InputError(f"there is no corruption {name!r}{nearest(name, NAMES)}")
    if severity not in SEVERITIES:
        raise InputError(f"{name}: there is no severity {severity!r}; choose 1 (light), 2 (moderate) or 3 (heavy)")
