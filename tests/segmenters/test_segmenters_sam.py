"""SAM's automatic masks, against the masks that transformers' own functions give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from networks import tiny_sam, tiny_segformer

from lidistill.errors import InputError
from lidistill.segmenters.methods import Sam, open_segmenter
from lidistill.segmenters.sam import suppress

POINTS, IOU, STABLE, OVERLAP = 6, 0.02, 0.2, 0.95


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(1)
    return np.kron(rng.integers(0, 255, (6, 10, 3)), np.ones((12, 12, 1))).astype(np.uint8)


def method(folder, **changes):
    options = {"points": POINTS, "min_iou": IOU, "min_stability": STABLE, "max_overlap": OVERLAP}
    return Sam.model_validate({"model": str(folder), **options, **changes})


def overlap(one, other):
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def reference(folder, image, most):
    """The same from the library's functions, with the removal of doubles (it needs torchvision there) written out."""
    network = transformers.SamModel.from_pretrained(folder).eval()
    processor = transformers.SamImageProcessorPil.from_pretrained(folder)
    boxes, points, crops, labels = processor.generate_crop_boxes(image, 64, points_per_crop=POINTS)
    inputs = processor(images=crops, return_tensors="pt", input_data_format="channels_first")
    with torch.no_grad():
        said = network(pixel_values=inputs["pixel_values"], input_points=points.float(), input_labels=labels)
    masks = processor.post_process_masks(
        said.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )
    runs, scores, found = processor.filter_masks(
        masks[0], said.iou_scores[0], image.shape[:2], boxes[0], IOU, STABLE, stability_score_offset=1
    )
    painted = []
    for row in torch.argsort(scores, descending=True).tolist():
        if all(overlap(found[row].tolist(), found[other].tolist()) <= OVERLAP for other in painted):
            painted.append(row)
    masks = []
    for row in painted:
        starts = np.cumsum([0, *runs[row]["counts"]])
        mask = np.zeros(image.shape[0] * image.shape[1], bool)
        for begin, end in zip(starts[1::2], starts[2::2], strict=False):
            mask[begin:end] = True
        masks.append(mask.reshape(image.shape[1], image.shape[0]).T)
    ids = np.zeros(image.shape[:2], int)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -mask.sum())[:most], start=1):
        ids[mask] = number
    return ids, len(masks)


@pytest.mark.parametrize("most", [255, 2])
def test_equals_the_masks_of_the_library(folder, image, most):
    segmenter = open_segmenter(method(folder, max_masks=most))
    ids = segmenter(image)
    expected, number = reference(folder, image, most)
    assert number > 3
    assert ids.dtype == np.uint16
    assert np.array_equal(ids, expected)
    assert segmenter.unassigned == 0
    assert ids.max() < segmenter.count == most + 1


def test_a_picture_without_any_mask_is_unassigned(folder, image):
    assert not open_segmenter(method(folder, min_iou=1.0))(image).any()


def test_of_doubles_the_better_stays():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 4.0]])
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.1, 0.3]), 0.7).tolist() == [1, 3, 2]
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.1, 0.3]), 0.95).tolist() == [1, 0, 3, 2]
    assert suppress(boxes[:0], torch.zeros(0), 0.7).tolist() == []


def test_another_kind_of_network_and_none(tmp_path):
    with pytest.raises(InputError, match="a network of type 'segformer' is not known, only sam"):
        open_segmenter(method(tiny_segformer(tmp_path)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"cannot be loaded .* a local folder with what save_pretrained writes"):
        open_segmenter(method(tmp_path / "empty"))
