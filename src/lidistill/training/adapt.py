"""Self-training on a target without labels: rounds of guessing and learning (MuDDoS, BMVC 2025, step 3)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lidistill.datasets.source import Source, evenly
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.objectives.segmentation import cross_entropy_lovasz
from lidistill.sensing.frame import IGNORE
from lidistill.students.batch import PointBatch
from lidistill.students.network import Network
from lidistill.taxonomy import Taxonomy
from lidistill.training.adapt_samples import AdaptSamples
from lidistill.training.engine import shared_run
from lidistill.training.guesses import Guessed, guess, thresholds
from lidistill.training.loop import fit
from lidistill.training.optimizer import build_optimizer
from lidistill.training.recipe import AdaptRecipe
from lidistill.training.run import Run
from lidistill.training.samples import Collate, SegmentBatch, full_sample

log = logging.getLogger("lidistill")
STATISTICS_SCANS = 40
"""Scans from which statistics are measured anew."""


@dataclass(frozen=True)
class Round:
    """A network, and what can be said of it without labels of the target: its ``agreement``, larger is better."""

    number: int
    network: Network
    agreement: float


def adapt(
    fabric: Fabric,
    run: Run,
    source: Source,
    target: Unlabelled,
    recipe: AdaptRecipe,
    network: Network,
    agreement: Callable[[Network], float],
) -> Network:
    """Adapt ``network``, which knows the classes of ``source``, to ``target``; write the best round into ``run``.

    Of all rounds the one of the highest ``agreement`` is kept, or the network as it was given where none has a higher
    one: no label of the target is ever asked for. Rounds lie in ``run``'s folder ``rounds/``; finished ones are not
    repeated.
    """
    if fabric.is_global_zero:
        run.rewind_metrics(-1)  # of an interrupted run all rounds are reported again
    taxonomy, voxel = source.taxonomy, run.config.model.voxel
    assert taxonomy is not None
    if recipe.statistics == "target":
        restate(network, target, voxel)
    best = now = start = Round(0, network, agreement(network))
    _report(fabric, run, now, 0.0)
    for number in range(1, recipe.rounds + 1):
        keep = recipe.keep[0] + (recipe.keep[1] - recipe.keep[0]) * (number - 1) / max(recipe.rounds - 1, 1)
        learned = self_train(fabric, run, source, target, recipe, now.network, taxonomy, number, keep)
        now = Round(number, learned, agreement(learned))
        _report(fabric, run, now, keep)
        best = max(best, now, key=lambda one: one.agreement)
    if fabric.is_global_zero:
        if best is start and recipe.rounds:
            log.info("the network is kept as it was: no round agrees more")
        elif recipe.rounds:
            log.info("round %d of %d is kept", best.number, recipe.rounds)
        run.save_network(best.network)
    fabric.barrier()
    return run.load_network()[0]


def _report(fabric: Fabric, run: Run, found: Round, keep: float) -> None:
    if fabric.is_global_zero:
        which = f"round {found.number}" if found.number else "as it was given"
        log.info("%s: agreement %.1f %%", which, 100 * found.agreement)
        run.log(step=found.number, split="target", agreement=found.agreement, keep=keep)


def self_train(
    fabric: Fabric,
    run: Run,
    source: Source,
    target: Unlabelled,
    recipe: AdaptRecipe,
    teacher: Network,
    taxonomy: Taxonomy,
    number: int,
    keep: float,
) -> Network:
    """One round: the ``teacher`` guesses, a student that starts as the teacher learns; returns the student's average.

    ``keep``: the share of the guesses of every class that is learned.
    """
    part = shared_run(fabric, run.path / "rounds" / str(number), run.config, resume=True, overwrite=False)
    if (part.path / "model.safetensors").is_file():
        return part.load_network()[0]
    # whatever was drawn in rounds before, and whether they were made in this call
    fabric.seed_everything(recipe.seed + number, verbose=False)
    share = fabric.global_rank, fabric.world_size
    guesses = guess(teacher, target, run.config.model.voxel, part.path / "guesses", share)
    fabric.barrier()
    least = thresholds(guesses.counts(len(target), len(taxonomy.classes)), keep)
    labelled = Guessed(target, guesses, least, taxonomy)
    learning = Averaging(copy.deepcopy(teacher).cpu(), recipe.ema)
    student = learning.network.train()
    if recipe.frozen:
        student.freeze()
    samples = AdaptSamples(source, labelled, recipe, student.tokenizer, number)
    optimizer = build_optimizer([{"params": [p for p in student.parameters() if p.requires_grad]}], recipe)

    def loss(model: nn.Module, batch: SegmentBatch) -> dict[str, Tensor]:
        logits = model(batch.points).float()[batch.rows]
        found = {"loss": cross_entropy_lovasz(logits, batch.labels, recipe.lovasz)}
        if recipe.entropy:
            found["loss/entropy"] = unsure(logits, batch.labels)
            found["loss"] = found["loss"] + recipe.entropy * found["loss/entropy"]
        return found

    fit(fabric, part, learning, optimizer, samples, recipe, loss)
    if fabric.is_global_zero:
        part.save_network(learning.average)
    fabric.barrier()
    return part.load_network()[0]


class Averaging(nn.Module):
    """A ``network`` that learns and its moving ``average``, which follows it at every step of the network."""

    def __init__(self, network: Network, stays: float) -> None:
        super().__init__()
        self.network, self.stays = network, stays
        self.average = copy.deepcopy(network).eval().requires_grad_(False)

    def forward(self, points: PointBatch) -> Tensor:
        """Outputs (M, C) of the network; the average takes over what the last step has changed."""
        with torch.no_grad():
            for slow, fast in zip(self._state(self.average), self._state(self.network), strict=True):
                slow.lerp_(fast, 1 - self.stays)
        outputs: Tensor = self.network(points)
        return outputs

    @staticmethod
    def _state(network: Network) -> list[Tensor]:
        return [t for t in network.state_dict().values() if t.dtype.is_floating_point]


def unsure(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean entropy of the predictions (P, C) where ``labels`` (P,) are 255, a scalar; 0 where there are none."""
    rows = logits[labels == IGNORE]
    if not len(rows):
        return logits.sum() * 0
    return -(rows.softmax(1) * rows.log_softmax(1)).sum(dim=1).mean()


def restate(network: Network, target: Unlabelled, voxel: float) -> None:
    """Measure the statistics of all batch norms anew, in place, on up to 40 evenly spread scans of ``target``.

    Adaptive batch normalisation (Li et al., 2016): the mean over the scans takes the place of what was learned.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    tokenizer = network.tokenizer
    # training mode measures; that of the rest would drop layers at random
    network.train()
    dropped = {module: module.drop_path for module in network.modules() if hasattr(module, "drop_path")}
    for module in dropped:
        setattr(module, "drop_path", 0.0)  # noqa: B010
    count = 0
    for index in evenly(target, STATISTICS_SCANS):
        try:
            batch = Collate(tokenizer)([full_sample(target[index], voxel, tokenizer)]).batch
        except InputError as error:
            log.warning("skipped: %s", error)
            continue
        assert isinstance(batch, SegmentBatch)
        count += 1
        for norm in norms:
            norm.momentum = 1 / count  # a plain mean over the scans
        with torch.no_grad():
            network(batch.points)
    for module, chance in dropped.items():
        setattr(module, "drop_path", chance)  # noqa: B010
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
