"""Asking a network for pseudo-labels of a target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from lidistill.datasets.pseudo_labels import PseudoLabels, levels
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.evaluation.inference import scan
from lidistill.sensing.files.atomic import write_atomically
from lidistill.students.network import Network
from lidistill.training.samples import Skip


def pseudo_label(
    network: Network, folder: Path, part: tuple[int, int] = (0, 1), *, target: Unlabelled, voxel: float
) -> PseudoLabels:
    """Ask ``network`` about every frame of ``target``, or about the share ``part`` = (rank, world); write ``folder``.

    Files of a call that was interrupted are made again: they are the same. Those of one that was not are taken.
    """
    made = PseudoLabels(folder)
    if made.complete(part).is_file():
        return made
    frames = range(part[0], len(target), part[1])
    with tqdm(total=len(frames), desc="pseudo-label", unit="scan", disable=part[0] > 0) as bar:
        for item in scan(network, target, voxel, part=part):
            bar.update()
            if not isinstance(item, Skip):
                confidence, classes = (t.numpy()[item.rows.numpy()] for t in item.outputs.softmax(1).max(dim=1))
                made.write(item.index, classes.astype(np.uint8), levels(confidence))
    write_atomically(made.complete(part), Path.touch)
    return made
