"""Learning a segmentation head from labels: linear probing, finetuning, from scratch (one loop, ``SegmentRecipe``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.fabric import Fabric
from torch import Tensor, nn

from lidistill.datasets.source import Source
from lidistill.objectives.segmentation import cross_entropy_lovasz
from lidistill.students.network import Network
from lidistill.training.layer_decay import layer_decay_groups
from lidistill.training.loop import fit
from lidistill.training.optimizer import build_optimizer
from lidistill.training.recipe import SegmentRecipe
from lidistill.training.run import Run
from lidistill.training.samples import SegmentBatch, TrainSamples


def segment(
    fabric: Fabric, run: Run, train: Source, recipe: SegmentRecipe, start: Mapping[str, dict[str, Tensor]]
) -> Network:
    """Train a network on the labels of ``train``, or go on from the run's checkpoint, and write it into ``run``.

    ``start``: states of its parts, ``backbone``, ``calibration``, ``space`` and ``head``; those left out start from
    random weights. What is frozen is kept in evaluation mode, so that only the head's batch norm gathers statistics
    (ScaLR, section 4.1).
    """
    fabric.seed_everything(recipe.seed, verbose=False)
    network = Network(run.config.model.student, run.config.model.head)
    for part, state in start.items():
        network.get_submodule(part).load_state_dict(state)
    network.train()
    if recipe.frozen:
        network.freeze()

    def loss(model: nn.Module, batch: SegmentBatch) -> dict[str, Tensor]:
        logits = model(batch.points).float()[batch.rows]
        return {"loss": cross_entropy_lovasz(logits, batch.labels, recipe.lovasz)}

    optimizer = build_optimizer(parameter_groups(network, recipe), recipe)
    samples = TrainSamples(train, recipe, network.tokenizer)
    fit(fabric, run, network, optimizer, samples, recipe, loss)
    if fabric.is_global_zero:
        run.save_network(network)
    # every process goes on with what was saved: the statistics of batch norms differ between devices
    fabric.barrier()
    return run.load_network()[0]


def parameter_groups(network: Network, recipe: SegmentRecipe) -> list[dict[str, Any]]:
    """What learns, and how fast: one group, or one a layer with ``layer_decay`` (ScaLR, section 4.1), or two with
    ``head_lr`` (SLidR).
    """
    if recipe.head_lr is not None:
        head = {"params": list(network.head.parameters()), "lr": recipe.head_lr}
        rest = [p for name, p in network.named_parameters() if not name.startswith("head.")]
        return [{"params": rest}, head]
    if recipe.layer_decay is not None and not recipe.frozen:
        return layer_decay_groups(network, recipe.lr, recipe.layer_decay, recipe.weight_decay)
    return [{"params": [p for p in network.parameters() if p.requires_grad]}]
