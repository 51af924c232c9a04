"""An ``ImageNetwork`` as the files of a teacher, for ``pretrain --teacher FOLDER``."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from lidistill.sensing.files.atomic import write_atomically
from lidistill.teachers.image_network import GRID, STRIDE, ImageNetwork
from lidistill.teachers.registry import PROGRAM

LARGEST_BATCH, MOST_CELLS = 4096, 4096
"""A program is exported for up to so many pictures, and so many cells in a row or column."""


def save_teacher(network: ImageNetwork, folder: Path) -> None:
    """Write ``teacher.pt2``, ``teacher.yaml`` and ``teacher.safetensors`` into ``folder``.

    The program takes normalised pictures (B, 3, H, W) of any number and size that 4 divides, and returns features
    (B, D, H / 4, W / 4) and scores of the classes (B, C, H / 4, W / 4); the safetensors file holds the classifier
    between them, ``weight`` (C, D) and ``bias`` (C,).
    """
    program = folder / PROGRAM
    layer, classifier = network.classifier, program.with_suffix(".safetensors")
    assert layer.bias is not None
    tensors = {"weight": layer.weight.detach().flatten(1).contiguous(), "bias": layer.bias.detach()}
    said = {
        "stride": STRIDE,
        "grid": GRID,
        "mean": list(network.mean),
        "std": list(network.std),
        "classes": list(network.model.classes),
        "taxonomy": network.model.taxonomy,
        "classifier": classifier.name,
    }
    dim = torch.export.Dim
    rows, columns = (dim(name, min=2, max=MOST_CELLS) for name in ("rows", "columns"))
    sizes = ({0: dim("batch", min=1, max=LARGEST_BATCH), 2: STRIDE * rows, 3: STRIDE * columns},)
    exported = torch.export.export(network.cpu().eval(), (torch.rand(2, 3, 64, 96),), dynamic_shapes=sizes)
    write_atomically(classifier, lambda file: save_file(tensors, file))
    write_atomically(program.with_suffix(".yaml"), lambda file: file.write_text(yaml.safe_dump(said, sort_keys=False)))
    write_atomically(program, lambda file: torch.export.save(exported, file))
