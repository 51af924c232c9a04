"""One confusion matrix over all labelled points, and the scores read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import IGNORE

ABSENT = {
    "skip": "skip",
    "zero": "zero",
    "one": "one",
    "others": "others",
    "scalr": "skip",
    "nuscenes": "skip",
    "semantic-kitti": "zero",
    "slidr": "one",
    "saluda": "others",
}
"""What a class counts that is absent: the four rules, and the published evaluators by name.

``skip``: absent from truth and prediction -> undefined, left out of the mean. ``zero``, ``one``: it counts 0 or 1.
``others``: a class without truth, predicted or not, gets the mean of the classes with truth.
"""


class Confusion:
    """Counts of (true class, predicted class) over any number of scans.

    ``matrix`` (C, C) int64: rows are the truth, columns the prediction. ``missed`` (C,) int64: labelled points whose
    prediction was none of the classes (255, or beyond the list); every score counts them as errors.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.matrix: NDArray[np.int64] = np.zeros((len(self.classes), len(self.classes)), np.int64)
        self.missed: NDArray[np.int64] = np.zeros(len(self.classes), np.int64)

    def add(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Count one scan: ``truth`` and ``prediction`` (N,) train ids; points with truth 255 are left out.

        Raises ``InputError`` when the lengths differ or the truth holds an id that is no class.
        """
        if truth.shape != prediction.shape or truth.ndim != 1:
            raise InputError(
                f"truth and prediction must have one id per point, found shapes {truth.shape} and {prediction.shape}"
            )
        size = len(self.classes)
        labelled = truth != IGNORE
        truth = truth[labelled].astype(np.int64)
        prediction = prediction[labelled].astype(np.int64)
        if len(truth) and (truth.min() < 0 or truth.max() >= size):
            wrong = truth.max() if truth.max() >= size else truth.min()
            raise InputError(
                f"the truth holds the id {wrong}, but there are {size} classes (0 to {size - 1}); check the taxonomy"
            )
        prediction[(prediction < 0) | (prediction >= size)] = size
        counts = np.bincount(truth * (size + 1) + prediction, minlength=size * (size + 1)).reshape(size, size + 1)
        self.matrix += counts[:, :size]
        self.missed += counts[:, size]

    def __add__(self, other: Confusion) -> Confusion:
        """Counts of both (the parts of a data-parallel evaluation)."""
        if self.classes != other.classes:
            raise InputError(f"confusions of different classes cannot be added: {self.classes} and {other.classes}")
        total = Confusion(self.classes)
        total.matrix = self.matrix + other.matrix
        total.missed = self.missed + other.missed
        return total

    def iou(self, absent: str = "skip", missed: Literal["count", "drop"] = "count") -> NDArray[np.float64]:
        """(C,) intersection over union = TP / (TP + FP + FN), NaN where undefined.

        ``absent``: one of ``ABSENT``. ``missed="drop"`` leaves out the points that were predicted as no class, as
        evaluators do that zero the column of the ignored class.
        """
        rule = _rule(absent)
        hits = self.matrix.diagonal()
        truth = self.truth(missed)
        union = truth + self.matrix.sum(0) - hits
        iou = _ratio(hits, union)
        if rule == "others":
            iou[truth == 0] = _mean(iou[truth > 0])
        elif rule != "skip":
            iou[union == 0] = {"zero": 0.0, "one": 1.0}[rule]
        return iou

    def miou(self, absent: str = "skip", missed: Literal["count", "drop"] = "count") -> float:
        """Mean of ``iou`` over the classes where it is defined; NaN when there is none."""
        return _mean(self.iou(absent, missed))

    def frequency_weighted_iou(self) -> float:
        """Sum over classes of (share of the labelled points) x IoU; NaN without labelled points."""
        truth = self.truth()
        present = truth > 0
        return float((truth[present] / truth.sum() * self.iou()[present]).sum()) if present.any() else float("nan")

    def accuracy(self) -> float:
        """Share of the labelled points with the right class; NaN without labelled points."""
        return float(_ratio(np.trace(self.matrix), self.truth().sum()))

    def class_accuracy(self) -> NDArray[np.float64]:
        """(C,) share of the points of each class that were found; NaN for a class without points."""
        return _ratio(self.matrix.diagonal(), self.truth())

    def truth(self, missed: Literal["count", "drop"] = "count") -> NDArray[np.int64]:
        """(C,) labelled points of each class; ``missed`` as in ``iou``."""
        truth: NDArray[np.int64] = self.matrix.sum(1)
        return truth + self.missed if missed == "count" else truth

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, for JSON."""
        return {"classes": list(self.classes), "matrix": self.matrix.tolist(), "missed": self.missed.tolist()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Confusion:
        """Read what ``to_dict`` wrote; raises ``InputError`` when a part is missing or has another size."""
        missing = {"classes", "matrix", "missed"} - record.keys()
        if missing:
            raise InputError(f"the record of a confusion lacks {', '.join(sorted(missing))}; evaluate again")
        confusion = cls(record["classes"])
        for name in ("matrix", "missed"):
            counts = np.asarray(record[name], np.int64)
            expected = getattr(confusion, name).shape
            if counts.shape != expected:
                raise InputError(f"the {name} of a confusion must be {expected}, found {counts.shape}; evaluate again")
            setattr(confusion, name, counts)
        return confusion


def _rule(absent: str) -> str:
    if absent not in ABSENT:
        raise InputError(f"there is no rule {absent!r} for absent classes{nearest(absent, ABSENT)}")
    return ABSENT[absent]


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """``part / whole``, NaN where ``whole`` is 0."""
    ratio = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=np.asarray(whole) > 0)
    return ratio


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN (and no warning) when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
