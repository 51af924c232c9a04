"""Classes as superpixels: a network of transformers, a program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from networks import tiny_sam, tiny_segformer
from torch import nn
from torch.nn import functional

from lidistill.errors import InputError
from lidistill.evaluation.pixels import classify
from lidistill.segmenters.methods import open_segmenter, parse_method
from lidistill.teachers.export import save_teacher
from lidistill.teachers.image_network import ImageModel, ImageNetwork
from lidistill.teachers.images import prepare


@pytest.fixture
def image():
    rng = np.random.default_rng(2)
    return np.kron(rng.integers(0, 255, (4, 9, 3)), np.ones((20, 20, 1))).astype(np.uint8)


def test_ids_are_the_networks_classes(tmp_path, image):
    folder = tiny_segformer(tmp_path, classes=5)
    segmenter = open_segmenter(parse_method({"name": "argmax", "model": str(folder)}))
    ids = segmenter(image)
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    inputs = transformers.SegformerImageProcessorPil.from_pretrained(folder)(images=image, return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits
    expected = functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False).argmax(1)[0]
    assert np.array_equal(ids, expected.numpy())
    assert ids.dtype == np.uint16
    assert len(np.unique(ids)) > 1
    assert segmenter.count == 5
    assert segmenter.unassigned is None


class Channels(nn.Module):
    """Features, and logits that say which of R, G, B is strongest in a cell."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both

    def forward(self, images):
        cells = functional.avg_pool2d(images, 4)
        return (-cells.repeat(1, 2, 1, 1), cells) if self.both else cells


@pytest.mark.parametrize("both", [True, False])
def test_program_with_logits_alone_or_as_its_second_output(tmp_path, both):
    path = tmp_path / "channels.pt2"
    torch.export.save(torch.export.export(Channels(both), (torch.rand(1, 3, 16, 32),)), path)
    segmenter = open_segmenter(parse_method({"name": "argmax", "model": str(path), "image_size": (16, 32)}))
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :16, 2] = image[:16, 16:, 1] = image[16:, 16:, 0] = 200
    ids = segmenter(image)
    assert segmenter.count == 3
    assert [ids[8, 4], ids[4, 40], ids[28, 40]] == [2, 1, 0]


def test_a_run_of_teach_images_says_what_its_network_says(tmp_path, image):
    """Its cells lie where its convolutions leave them, not in the middle of their patches."""
    torch.manual_seed(0)
    network = ImageNetwork(ImageModel(network="small", width=0.25, classes=("a", "b", "c"), taxonomy="mine")).eval()
    save_teacher(network, tmp_path)
    size = (40, 92)  # about half of the picture
    segmenter = open_segmenter(parse_method({"name": "argmax", "model": str(tmp_path), "image_size": size}))
    expected = classify(network, prepare(image, size), image.shape[:2]).reshape(image.shape[:2])
    assert np.array_equal(segmenter(image), expected)
    assert len(np.unique(expected)) > 1


def test_networks_that_cannot_segment(tmp_path):
    with pytest.raises(InputError, match=r"type 'sam' is not known, only beit, .*export it with torch\.export"):
        open_segmenter(parse_method({"name": "argmax", "model": str(tiny_sam(tmp_path))}))
    encoder = tmp_path / "encoder"
    tiny_segformer(encoder)
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(encoder)
    network.segformer.save_pretrained(encoder)
    with pytest.raises(InputError, match=r"lack or misfit \d+ parameters .*give a network that was trained for this"):
        open_segmenter(parse_method({"name": "argmax", "model": str(encoder)}))
