"""Whether another lens explains the pictures: one that is missing in the file, or of another model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lidistill.sensing.examine.alignment import Agreement, Look, agreement
from lidistill.sensing.frame import Distortion

RADIAL = (-0.4, -0.3, -0.2, -0.15, -0.1, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Coarse first coefficients k1: what lenses without a fisheye have."""


@dataclass(frozen=True, eq=False)
class Lens:
    """What explains the pictures instead of the lens in the file, in words, and its ``agreement``."""

    says: str
    agreement: Agreement


def best_lens(looks: Sequence[Look]) -> Lens:
    """The lens that fits the pictures of one camera best, among coarse ones and none."""
    known = looks[0].view.distortion
    tried = [(says, agreement([_through(look, lens) for look in looks])) for says, lens in _lenses(known)]
    return Lens(*max(tried, key=lambda row: row[1].sums.sum()))


def _lenses(known: Distortion | None) -> Iterator[tuple[str, Distortion | None]]:
    if known is None:
        for k1 in RADIAL:
            yield f"the file has none, a radial k1 of about {k1:g} fits", Distortion("radtan", (k1, 0, 0, 0))
        return
    yield "the pictures have none", None
    for k1 in RADIAL:
        yield f"a radial k1 of about {k1:g} alone fits better", Distortion("radtan", (k1, 0, 0, 0))
        if known.model == "radtan":
            first, *rest = known.coefficients
            yield f"k1 fits at about {first + k1:.2g}", Distortion("radtan", (first + k1, *rest))


def _through(look: Look, lens: Distortion | None) -> Look:
    return replace(look, view=replace(look.view, distortion=lens))
