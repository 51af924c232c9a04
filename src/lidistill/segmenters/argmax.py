"""Classes as superpixels: the likeliest class of every pixel, by a semantic segmentation network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.errors import InputError
from lidistill.segmenters.methods import Argmax, Ids, Segmenter
from lidistill.segmenters.network import device, load_network
from lidistill.teachers.images import prepare
from lidistill.teachers.program import ProgramTeacher
from lidistill.teachers.registry import PROGRAM
from lidistill.teachers.sampling import likeliest

PER_PIXEL = ("beit", "data2vec-vision", "dpt", "mobilenet_v2", "mobilevit", "mobilevitv2", "segformer", "upernet")
PER_MASK = ("mask2former", "maskformer")


def open_argmax(method: Argmax) -> Segmenter:
    """A ``.pt2`` program, a run of teach-images, or a network of transformers."""
    path = Path(method.model)
    program = path if path.suffix == ".pt2" else path / PROGRAM
    return ProgramSegmenter(method, program) if program.is_file() or program == path else HubSegmenter(method)


class HubSegmenter:
    """A segmentation network of transformers; ids are its classes, every pixel has one."""

    unassigned = None

    def __init__(self, method: Argmax) -> None:
        self.network, self.processor = load_network(method.model, "argmax", _kind)
        self.count = int(self.network.config.num_labels)

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Ids:
        """(H, W, 3) uint8 -> (H, W) ids."""
        inputs = self.processor(images=image, return_tensors="pt")
        said = self.network(pixel_values=inputs["pixel_values"].to(self.network.device))
        (classes,) = self.processor.post_process_semantic_segmentation(said, target_sizes=[image.shape[:2]])
        ids: Ids = classes.cpu().numpy().astype(np.uint16)
        return ids


class ProgramSegmenter:
    """A program: its second output, or the only one, is (1, C, h, w) logits; ids are the channels."""

    unassigned = None

    def __init__(self, method: Argmax, path: Path) -> None:
        self.method = method
        self.program = ProgramTeacher(path, method.image_size)
        self.program.freeze().to(device())
        self.count = self._logits(torch.full((1, 3, *method.image_size), 0.5)).shape[1]

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Ids:
        """(H, W, 3) uint8 -> (H, W) ids; logits are read bilinearly, from where the program says that its cells lie."""
        shape, size = (image.shape[0], image.shape[1]), self.method.image_size
        found = likeliest(self._logits(prepare(image, size)[None]), shape, size, self.program.grid)
        ids: Ids = found.reshape(shape).cpu().numpy().astype(np.uint16)
        return ids

    @torch.inference_mode()
    def _logits(self, images: Tensor) -> Tensor:
        program = self.program
        outputs = program.outputs((images.to(program.mean) - program.mean) / program.std)
        logits: Tensor = outputs[min(1, len(outputs) - 1)]
        if logits.ndim != 4:
            raise InputError(
                f"{self.method.model}: the logits must be (B, C, h, w), found {tuple(logits.shape)}; export the "
                f"network with its class logits as the only or the second output"
            )
        return logits


def _kind(transformers: Any, settings: Any) -> Any:
    if settings.model_type in PER_PIXEL:
        return transformers.AutoModelForSemanticSegmentation
    if settings.model_type in PER_MASK:
        return transformers.AutoModelForUniversalSegmentation
    raise InputError(
        f"superpixels by argmax: a network of type {settings.model_type!r} is not known, only "
        f"{', '.join((*PER_PIXEL, *PER_MASK))}; export it with torch.export and give the .pt2 file instead"
    )
