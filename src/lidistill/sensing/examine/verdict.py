"""Does the calibration of every camera fit, and if not, which mistake explains it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lidistill.sensing.examine.alignment import Agreement, Change, Look, agreement, given, joined
from lidistill.sensing.examine.edges import spread
from lidistill.sensing.examine.hypotheses import Hypothesis, hypotheses
from lidistill.sensing.examine.search import Search, corrected, search

AGREES = 4.0
"""Standard errors above chance from which on scans and pictures surely agree."""
NAMED = 6.0
"""The same for a mistake to be named: dozens are tried."""
CLEARER = 1.5
"""A mistake must explain the pictures this many times as well as the calibration as given."""
AS_GOOD = 0.9
"""Of mistakes that explain the pictures nearly equally well, the commonest is named."""
HOPELESS = 1.08
"""Agreement that a right calibration exceeds; if it surely is below, the calibration is wrong."""
TURN, SHIFT = 0.6, 0.2
"""Smallest correction that is reported, degrees and metres: healthy recordings need up to half of it."""
GAIN = 2.5
"""Standard errors by which a correction must improve the agreement."""
MOST = 1500
"""Edges of one direction per picture; more only cost time."""
FEWEST = 300
"""Edges in all pictures of a camera below which nothing is said."""
AXES = ("right", "down", "forward")

Verdict = Literal["good", "wrong", "undecided"]


@dataclass(frozen=True, eq=False)
class CameraTest:
    """What was found of a camera.

    ``code``: the mistake, None if there is none or it has no name; ``says``, ``fix`` in words; ``agreement`` of the
    calibration as given and of the ``change`` that undoes the mistake (``after``); ``search``: the small corrections.
    """

    camera: str
    verdict: Verdict
    says: str
    agreement: Agreement
    frames: int
    code: str | None = None
    fix: str = ""
    scans: bool = False
    after: Agreement | None = None
    change: Change | None = None
    search: Search | None = None


def examine_cameras(looks: Mapping[str, Sequence[Look]], *, ground: bool) -> dict[str, CameraTest]:
    """Test the calibration of every camera; ``looks`` by camera, ``ground`` = z of the scans is surely up."""
    thin = {name: [replace(look, edges=spread(look.edges, MOST)) for look in seen] for name, seen in looks.items()}
    now = {name: agreement(seen) for name, seen in thin.items()}
    tried = {name: _try(seen, ground) for name, seen in thin.items()}
    common = _common(now, tried)
    return {name: _camera(name, thin[name], now[name], tried[name], common) for name in thin}


Tried = list[tuple[Hypothesis, Agreement]]


def _try(looks: Sequence[Look], ground: bool) -> Tried:
    return [(h, agreement(looks, h.change)) for h in hypotheses(looks[0], ground=ground)]


def _common(now: Mapping[str, Agreement], tried: Mapping[str, Tried]) -> str | None:
    """The mistake that explains all cameras together much better than what is given, by its words."""
    shared = set.intersection(*({h.says for h, _ in rows} for rows in tried.values())) if tried else set[str]()
    first = next(iter(tried.values()), [])
    pooled = [
        (h, joined([next(a for other, a in rows if other.says == h.says) for rows in tried.values()]))
        for h, _ in first
        if h.says in shared
    ]
    found = _pick(pooled, joined(list(now.values()))) if pooled else None
    return None if found is None else found[0].says


def _pick(tried: Tried, now: Agreement) -> tuple[Hypothesis, Agreement] | None:
    best = max((a.z for _, a in tried), default=0.0)
    if best < NAMED or best < CLEARER * now.z:
        return None
    return next((h, a) for h, a in tried if a.z > AS_GOOD * best)


def _camera(name: str, looks: Sequence[Look], now: Agreement, tried: Tried, common: str | None) -> CameraTest:
    found = next(((h, a) for h, a in tried if h.says == common), None) or _pick(tried, now)
    if found is not None:
        mistake, after = found
        named = (mistake.code, mistake.fix, mistake.scans, after, mistake.change)
        return CameraTest(name, "wrong", mistake.says, now, len(looks), *named)
    if max(now.edges, *(a.edges for _, a in tried)) < FEWEST:
        says = f"only {now.edges} edges of the scans fall into {len(looks)} pictures; record more frames"
        return CameraTest(name, "undecided", says, now, len(looks))
    return _small(name, looks, now)


def _small(name: str, looks: Sequence[Look], now: Agreement) -> CameraTest:
    """No gross mistake: is a small turn or shift needed?"""
    turn, shift = search(looks, "rotation"), search(looks, "translation")
    better = max((turn, shift), key=lambda s: s.agreement.sums.sum())
    enough = better.size >= (TURN if better.kind == "rotation" else SHIFT) - 1e-6
    if enough and better.agreement.z > AGREES and better.agreement.better(now) > GAIN:
        return CameraTest(
            name,
            "wrong",
            _words(better),
            now,
            len(looks),
            better.kind,
            f"{'turn' if better.kind == 'rotation' else 'move'} the camera by that much (the report has the matrix)",
            after=better.agreement,
            change=corrected(better.kind, better.offset.tolist(), given),
            search=turn,
        )
    if now.z > AGREES:
        says = "edges of scans and pictures agree"
        return CameraTest(name, "good", says, now, len(looks), search=turn)
    if now.ratio + 2 * (now.ratio - 1) / (now.z or 1) < HOPELESS and now.edges >= FEWEST:
        says = "edges of scans and pictures do not agree, and no usual mistake explains it"
        fix = "look at the overlay below; check that pictures and scans belong together, then calibrate again"
        return CameraTest(name, "wrong", says, now, len(looks), "no-agreement", fix, search=turn)
    says = f"{now.edges} edges in {len(looks)} pictures are not enough to tell; record more frames"
    return CameraTest(name, "undecided", says, now, len(looks), search=turn)


def _words(found: Search) -> str:
    unit, least = ("degrees", TURN / 2) if found.kind == "rotation" else ("m", SHIFT / 2)
    parts = [
        f"{value:+.2g} {unit} {'about' if found.kind == 'rotation' else 'along'} its {'xyz'[axis]} axis ({AXES[axis]})"
        for axis, value in enumerate(found.offset)
        if abs(value) >= least
    ]
    return f"the camera is {'turned' if found.kind == 'rotation' else 'displaced'}: it fits after {' and '.join(parts)}"


def shifted(looks: Mapping[int, Sequence[Look]]) -> int:
    """By how many frames the pictures are off: the pairing that agrees clearly better than that of 0 frames, else 0.

    ``looks`` by shift, the same scans in the same order throughout.
    """
    agreements = {shift: agreement(seen) for shift, seen in looks.items() if seen}
    if 0 not in agreements:
        return 0
    now = agreements.pop(0)
    best = max(agreements, key=lambda shift: agreements[shift].z, default=0)
    if best == 0 or agreements[best].z < max(NAMED, CLEARER * now.z):
        return 0
    return best


def signed(search_: Search) -> str:
    """Axis and sign of the largest component, such as ``+y``."""
    axis = int(np.abs(search_.offset).argmax())
    return ("-" if search_.offset[axis] < 0 else "+") + "xyz"[axis]
