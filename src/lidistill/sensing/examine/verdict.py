"""Does the calibration of every camera fit, and if not, which mistake explains it?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.sensing.cameras import project
from lidistill.sensing.examine.alignment import Agreement, Change, Look, agreement, joined
from lidistill.sensing.examine.edges import spread
from lidistill.sensing.examine.hypotheses import Hypothesis, hypotheses
from lidistill.sensing.examine.lens import best_lens
from lidistill.sensing.examine.search import Search, corrected, search

AGREES = 4.0
"""Standard errors above chance from which on scans and pictures surely agree."""
NAMED = 4.5
"""The same for a mistake to be named: dozens are tried."""
EXCHANGED = 3.0
"""The same for two cameras to be called exchanged, and for how much better that must be: pairs are fewer."""
CLEARER = 1.5
"""A mistake must explain the pictures this many times as well as the calibration as given."""
AS_GOOD = 0.9
"""Of mistakes that explain the pictures nearly equally well, the commonest is named."""
HOPELESS = 1.08
"""Agreement that a right calibration exceeds; if it surely is below, the calibration is wrong."""
TURN, SHIFT = 0.6, 0.2
"""Smallest correction that is reported, degrees and metres: healthy recordings need up to half of it."""
LENS = 1.2
"""Another lens must explain the pictures this many times as well as every small correction."""
GAIN = 2.5
"""Standard errors by which a correction must improve the agreement."""
PICTURES = 3
"""Of one camera, below which neither a small correction nor plain disagreement is told from chance."""
MOST = 4000
"""Edges of one direction per scan; more only cost time."""
BESIDE = 0.15
"""Share of the picture's size by which edges may be beside it to be moved into it by a correction."""
FEWEST = 300
"""Edges in all pictures of a camera below which nothing is called wrong."""
AXES = ("right", "down", "forward")
ENTRIES = ("first", "second", "third")
TURNED = (("upwards", "downwards"), ("to the right", "to the left"), ("clockwise", "counterclockwise"))
"""How a camera is turned when a negative or a positive turn about its axis has to be added to ``from_lidar``."""
MOVED = (("further right", "further left"), ("lower", "higher"), ("further ahead", "further back"))
"""Where it is, likewise for a shift along its axis."""

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
    if common is not None:
        return {name: _named(name, len(thin[name]), now[name], _find(tried[name], common)) for name in thin}
    exchanged = _exchanged(now, tried)
    tests = {}
    for name, seen in thin.items():
        found = exchanged.get(name) or _pick(tried[name], now[name])
        most = max(now[name].edges, *(a.edges for _, a in tried[name]))
        if found is not None:
            tests[name] = _named(name, len(seen), now[name], found)
        elif most < FEWEST and now[name].z <= AGREES:
            says = f"at most {most} edges of the scans fall into {len(seen)} pictures; record more frames"
            tests[name] = CameraTest(name, "undecided", says, now[name], len(seen))
        else:
            tests[name] = _small(name, looks[name])
    return tests


Tried = list[tuple[Hypothesis, Agreement]]


def _try(looks: Sequence[Look], ground: bool) -> Tried:
    # a frame may lack pictures: the cameras that this one may be exchanged with are those of all frames
    others = {name: view for look in reversed(looks) for name, view in look.others.items()}
    return [(h, agreement(looks, h.change)) for h in hypotheses(replace(looks[0], others=others), ground=ground)]


def _common(now: Mapping[str, Agreement], tried: Mapping[str, Tried]) -> str | None:
    """The mistake that explains all cameras together much better than what is given, by its words."""
    if not tried:
        return None
    shared = set.intersection(*({h.says for h, _ in rows} for rows in tried.values()))
    first = next(iter(tried.values()))
    pooled = [(h, joined([_find(rows, h.says)[1] for rows in tried.values()])) for h, _ in first if h.says in shared]
    found = _pick(pooled, joined(list(now.values())))
    return None if found is None else found[0].says


def _find(tried: Tried, says: str) -> tuple[Hypothesis, Agreement]:
    return next((h, a) for h, a in tried if h.says == says)


def _pick(tried: Tried, now: Agreement) -> tuple[Hypothesis, Agreement] | None:
    seen = [(h, a) for h, a in tried if a.edges >= FEWEST]
    best = max((a.z for _, a in seen), default=0.0)
    if best < NAMED or best < CLEARER * now.z:
        return None
    first, found = next((h, a) for h, a in seen if a.z > AS_GOOD * best)
    if first.camera is None:
        return first, found
    # what is exchanged differs little: the intrinsics, or not
    return max(((h, a) for h, a in seen if h.camera == first.camera), key=lambda row: row[1].z)


def _exchanged(now: Mapping[str, Agreement], tried: Mapping[str, Tried]) -> dict[str, tuple[Hypothesis, Agreement]]:
    """Pairs of cameras that fit much better when exchanged, both together; the clearest pair first."""
    pairs = []
    for one, other in itertools.combinations(tried, 2):
        ways = [[(h, a) for h, a in tried[x] if h.camera == y] for x, y in ((one, other), (other, one))]
        if not all(ways):
            continue
        # both exchange the same: from_lidar alone, or all
        best = max(zip(*ways, strict=False), key=lambda both: joined([a for _, a in both]).z)
        pooled = joined([a for _, a in best])
        before = joined([now[one], now[other]]).z
        if pooled.z > max(EXCHANGED, CLEARER * before, before + EXCHANGED):
            pairs.append((pooled.z, dict(zip((one, other), best, strict=True))))
    found: dict[str, tuple[Hypothesis, Agreement]] = {}
    for _, pair in sorted(pairs, key=lambda row: -row[0]):
        if not found.keys() & pair.keys():
            found |= pair
    return found


def _named(name: str, frames: int, now: Agreement, found: tuple[Hypothesis, Agreement]) -> CameraTest:
    mistake, after = found
    named = (mistake.code, mistake.fix, mistake.scans, after, mistake.change)
    return CameraTest(name, "wrong", mistake.says, now, frames, *named)


def _small(name: str, looks: Sequence[Look]) -> CameraTest:
    """No gross mistake: is a small turn or shift needed?"""
    looks = [replace(look, edges=spread(look.edges.select(_beside(look)), MOST)) for look in looks]
    now = agreement(looks)
    turn, shift = search(looks, "rotation"), search(looks, "translation")
    better = max((turn, shift), key=lambda s: s.agreement.sums.sum())
    enough = better.size >= (TURN if better.kind == "rotation" else SHIFT) - 1e-6
    surely = now.edges >= FEWEST and better.agreement.z > AGREES and better.agreement.better(now) > GAIN
    lens = best_lens(looks)
    if now.edges >= FEWEST and _explains(lens.agreement, [now, turn.agreement, shift.agreement]):
        says = f"the lens distorts otherwise than the file says: {lens.says}"
        if len(looks) < PICTURES:
            says += f"; {len(looks)} pictures are too few to be sure, record more frames"
            return CameraTest(name, "undecided", says, now, len(looks), search=turn)
        fix = "calibrate intrinsics and distortion again and write both into the file, with the model of the lens"
        return CameraTest(name, "wrong", says, now, len(looks), "distortion", fix, after=lens.agreement, search=turn)
    if enough and surely and len(looks) < PICTURES:
        says = f"{_words(better)}; {len(looks)} pictures are too few to be sure, record more frames"
        return CameraTest(name, "undecided", says, now, len(looks), search=turn)
    if enough and surely:
        change = corrected(better.kind, better.offset.tolist())
        found = (better.kind, _advice(better), False, better.agreement, change, turn)
        return CameraTest(name, "wrong", _words(better), now, len(looks), *found)
    if now.z > AGREES:
        return CameraTest(name, "good", "edges of scans and pictures agree", now, len(looks), search=turn)
    if now.ratio + 2 * now.error < HOPELESS and now.edges >= FEWEST and len(looks) >= PICTURES:
        says = "edges of scans and pictures do not agree, and no usual mistake explains it"
        fix = "look at the overlay; check that pictures and scans belong together, then calibrate again"
        return CameraTest(name, "wrong", says, now, len(looks), "no-agreement", fix, search=turn)
    says = f"{now.edges} edges in {len(looks)} pictures are not enough to tell; record more frames"
    return CameraTest(name, "undecided", says, now, len(looks), search=turn)


def _explains(lens: Agreement, others: Sequence[Agreement]) -> bool:
    """Whether another lens surely fits, and clearly better than anything else does."""
    best = max(others, key=lambda found: found.sums.sum())
    return bool(lens.z > AGREES and lens.sums.sum() > LENS * best.sums.sum() and lens.better(best) > GAIN)


def _beside(look: Look) -> NDArray[np.bool_]:
    """The edges in the picture or little beside it."""
    pixels, depth = project(look.edges.places, look.view)
    size = np.array([look.view.width, look.view.height])
    near: NDArray[np.bool_] = (np.abs(pixels / size - 0.5) < 0.5 + BESIDE).all(1) & (depth > 1)
    return near


def _words(found: Search) -> str:
    """Where the camera really is: it moves and turns against what is added to ``from_lidar``."""
    if found.kind == "rotation":
        parts = [f"{abs(value):.2g} degrees {TURNED[axis][value > 0]}" for axis, value in _components(found)]
        return f"from_lidar is turned: against it, the camera really is turned {' and '.join(parts)}"
    parts = [f"{abs(value):.2g} m {MOVED[axis][value > 0]}" for axis, value in _components(found)]
    return f"from_lidar is displaced: against it, the camera really is {' and '.join(parts)}"


def _advice(found: Search) -> str:
    """What to do to ``from_lidar``, in words that give the ``change`` of the report."""
    if found.kind == "rotation":
        parts = [f"{value:+.2g} degrees about {'xyz'[axis]} ({AXES[axis]})" for axis, value in _components(found)]
        return f"multiply from_lidar from the left by a turn of {' and '.join(parts)}; the corrected matrix is given"
    parts = [f"{value:+.2g} m to the {ENTRIES[axis]} entry" for axis, value in _components(found)]
    return (
        f"in the translation of from_lidar (its last column) add {' and '.join(parts)}; the corrected matrix is given"
    )


def _components(found: Search) -> list[tuple[int, float]]:
    """The axes about or along which the correction is more than chance gives; at least the largest."""
    least = min(TURN / 2 if found.kind == "rotation" else SHIFT / 2, found.size)
    return [(axis, float(value)) for axis, value in enumerate(found.offset) if abs(value) >= least]


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
