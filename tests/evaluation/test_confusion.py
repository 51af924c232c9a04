"""Confusion and its scores against five published evaluators and against hand counts."""

import json

import numpy as np
import pytest

from lidistill.errors import InputError
from lidistill.evaluation.confusion import Confusion

SETS = ["nuscenes", "kitti"]


@pytest.fixture(scope="module")
def reference(parity):
    data = np.load(parity("05_downstream/metrics.npz"))
    expected = json.loads(parity("05_downstream/metrics.json").read_text())

    def load(name, prediction="pred_train_ids"):
        confusion = Confusion([f"class {i}" for i in range(expected[name]["num_classes"])])
        truth, predicted = data[f"{name}_gt_train_ids"], data[f"{name}_{prediction}"]
        if prediction == "pred_with_ignore_ids":  # counted from 1, 0 = ignore; uint8, so that 0 becomes 255
            predicted = predicted - np.uint8(1)
        for part in np.array_split(np.arange(len(truth)), 3):
            confusion.add(truth[part], predicted[part])
        return confusion, expected[name]["results"]

    return load


def same(found, expected):
    expected = np.array([np.nan if value is None else value for value in expected], float)
    return np.allclose(found, expected, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", SETS)
def test_scalr(reference, name):
    confusion, results = reference(name)
    expected = results["scalr"]
    assert np.array_equal(confusion.matrix, expected["confusion_rows_gt_cols_pred"])
    assert same(confusion.iou("scalr"), expected["per_class_iou"])
    assert 100 * confusion.miou() == pytest.approx(expected["miou_percent"], abs=1e-4)
    assert 100 * confusion.accuracy() == pytest.approx(expected["overall_acc_percent"], abs=1e-4)
    assert same(confusion.class_accuracy(), expected["per_class_acc"])
    assert 100 * np.nanmean(confusion.class_accuracy()) == pytest.approx(expected["mean_acc_percent"], abs=1e-4)


@pytest.mark.parametrize("name", SETS)
def test_nuscenes_devkit(reference, name):
    confusion, results = reference(name)
    expected = results["nuscenes_lidarseg_devkit"]
    assert same(confusion.iou("nuscenes"), expected["per_class_iou_index0_is_ignore"][1:])
    assert confusion.miou("nuscenes") == pytest.approx(expected["miou"], abs=1e-6)
    assert confusion.frequency_weighted_iou() == pytest.approx(expected["freq_weighted_iou"], abs=1e-6)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("prediction", "evaluator"),
    [("pred_train_ids", "semantic_kitti_api"), ("pred_with_ignore_ids", "semantic_kitti_api_pred_contains_0")],
)
def test_semantic_kitti_api(reference, name, prediction, evaluator):
    confusion, results = reference(name, prediction)
    expected = results[evaluator]
    assert (confusion.missed.sum() > 0) == (prediction == "pred_with_ignore_ids")
    assert same(confusion.iou("semantic-kitti"), expected["per_class_iou_index0_is_ignore"][1:])
    assert confusion.miou("semantic-kitti") == pytest.approx(expected["miou"], abs=1e-6)
    # Its accuracy leaves out the points that were predicted as ignore.
    accuracy = np.trace(confusion.matrix) / confusion.matrix.sum()
    assert accuracy == pytest.approx(expected["accuracy"], abs=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_slidr(reference, name):
    confusion, results = reference(name)
    assert same(confusion.iou("slidr"), results["slidr"]["per_class_iou_without_ignore"])
    assert confusion.miou("slidr") == pytest.approx(results["slidr"]["miou"], abs=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_saluda(reference, name):
    confusion, results = reference(name)
    expected = results["saluda_without_ignore_row_col"]
    assert same(confusion.iou("saluda"), expected["per_class_iou"])
    assert confusion.miou("saluda") == pytest.approx(expected["miou"], abs=1e-6)


def small():
    """Two classes and an absent one: truth a a a b b; predicted a a b b none; one ignored point."""
    confusion = Confusion(["a", "b", "c"])
    confusion.add(np.array([0, 0, 0, 1, 1, 255]), np.array([0, 0, 1, 1, 255, 0]))
    return confusion


def test_counts_by_hand():
    confusion = small()
    assert confusion.matrix.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion.missed.tolist() == [0, 1, 0]
    assert same(confusion.iou(), [2 / 3, 1 / 3, None])
    assert same(confusion.iou(missed="drop"), [2 / 3, 1 / 2, None])
    assert confusion.miou() == pytest.approx(1 / 2)
    assert confusion.miou(missed="drop") == pytest.approx(7 / 12)
    assert confusion.accuracy() == pytest.approx(3 / 5)
    assert same(confusion.class_accuracy(), [2 / 3, 1 / 2, None])
    assert confusion.frequency_weighted_iou() == pytest.approx(3 / 5 * 2 / 3 + 2 / 5 * 1 / 3)


def test_predictions_beyond_the_classes_are_misses():
    confusion = Confusion(["a", "b"])
    confusion.add(np.zeros(3, np.uint8), np.array([-1, 2, 200]))
    assert confusion.missed.tolist() == [3, 0]
    assert confusion.miou() == 0


def test_parts_add_up():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, 100).astype(np.uint8), rng.integers(0, 4, 100).astype(np.uint8)
    whole, first, second = (Confusion("abc") for _ in range(3))
    whole.add(truth, prediction)
    first.add(truth[:30], prediction[:30])
    second.add(truth[30:], prediction[30:])
    total = first + second
    assert np.array_equal(total.matrix, whole.matrix)
    assert np.array_equal(total.missed, whole.missed)
    assert first.matrix.sum() + first.missed.sum() == 30  # unchanged
    with pytest.raises(InputError, match="different classes"):
        first + Confusion("abd")


def test_nothing_labelled_is_undefined_without_a_warning(recwarn):
    confusion = Confusion(["a", "b"])
    confusion.add(np.full(4, 255, np.uint8), np.zeros(4, np.uint8))
    confusion.add(np.empty(0, np.uint8), np.empty(0, np.uint8))
    for score in (confusion.miou(), confusion.accuracy(), confusion.frequency_weighted_iou(), confusion.miou("saluda")):
        assert np.isnan(score)
    assert (confusion.miou("zero"), confusion.miou("one")) == (0, 1)
    assert not recwarn


def test_round_trip_through_json():
    confusion = small()
    again = Confusion.from_dict(json.loads(json.dumps(confusion.to_dict())))
    assert again.classes == confusion.classes
    assert np.array_equal(again.matrix, confusion.matrix)
    assert np.array_equal(again.missed, confusion.missed)
    again.add(np.array([2]), np.array([2]))
    with pytest.raises(InputError, match="lacks missed"):
        Confusion.from_dict({"classes": ["a"], "matrix": [[1]]})
    with pytest.raises(InputError, match=r"matrix of a confusion must be \(2, 2\)"):
        Confusion.from_dict({"classes": ["a", "b"], "matrix": [[1]], "missed": [0, 0]})


def test_bad_input_is_named():
    confusion = Confusion(["a", "b"])
    with pytest.raises(InputError, match=r"shapes \(3,\) and \(2,\)"):
        confusion.add(np.zeros(3, int), np.zeros(2, int))
    for wrong in (2, -1):
        with pytest.raises(InputError, match=f"the id {wrong}, but there are 2 classes"):
            confusion.add(np.array([0, wrong]), np.array([0, 0]))
    assert confusion.matrix.sum() == 0
    with pytest.raises(InputError, match="did you mean 'slidr'"):
        confusion.miou("slider")
