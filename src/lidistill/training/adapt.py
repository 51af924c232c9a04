"""Self-training on a target without labels: rounds of pseudo-labels and learning (MuDDoS, BMVC 2025, step 3)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lightning.fabric import Fabric
from torch import Tensor, nn

from lidistill.datasets.pseudo_labels import UNSURE, PseudoLabelled, PseudoLabels, thresholds
from lidistill.datasets.source import Source
from lidistill.datasets.unlabelled import Unlabelled
from lidistill.objectives.entropy import entropy
from lidistill.objectives.segmentation import cross_entropy_lovasz
from lidistill.sensing.frame import IGNORE
from lidistill.students.network import Network
from lidistill.training.adapt_samples import AdaptSamples
from lidistill.training.batch_norms import measure_anew
from lidistill.training.engine import shared_run
from lidistill.training.loop import fit
from lidistill.training.moving_average import MovingAverage
from lidistill.training.optimizer import build_optimizer
from lidistill.training.recipe import AdaptRecipe
from lidistill.training.run import Run
from lidistill.training.samples import SegmentBatch

log = logging.getLogger("lidistill")


@dataclass(frozen=True)
class Judge:
    """Says how good a network is on the target, with no label of it, by the sum of its ``parts``: larger is better.

    ``by``: the same in words.
    """

    by: str
    parts: Callable[[Network], dict[str, float]]


@dataclass(frozen=True)
class Round:
    """A network, and what the judge thinks of it; 0 is the network as it was given."""

    number: int
    network: Network
    parts: dict[str, float]

    @property
    def judged(self) -> float:
        """Larger is better."""
        return sum(self.parts.values())


@dataclass(frozen=True, eq=False)
class SelfTraining:
    """Rounds that adapt a network, which knows the classes of ``source``, to ``target``; they lie in ``run``.

    ``ask`` has pseudo-labels of a network written into a folder, by this process its share (rank, world) of the frames.
    """

    fabric: Fabric
    run: Run
    source: Source
    target: Unlabelled
    recipe: AdaptRecipe
    ask: Callable[[Network, Path, tuple[int, int]], PseudoLabels]
    judge: Judge

    def adapt(self, network: Network) -> Round:
        """Do all rounds, write the one that is judged best into the run, and return it.

        ``network`` itself is kept where no round is better. Finished rounds are not repeated.
        """
        recipe = self.recipe
        if self.fabric.is_global_zero:
            self.run.rewind_metrics(-1)  # of an interrupted run all rounds are reported again
        teacher = network
        if recipe.statistics == "target":
            log.info("the batch norms' statistics are measured anew on %s (AdaBN)", self.target.spec)
            teacher = copy.deepcopy(network).to(self.fabric.device)
            measure_anew(teacher, self.target, self.run.config.model.voxel)
        best = start = Round(0, network, self.judge.parts(network)) if recipe.rounds else Round(0, teacher, {})
        if recipe.rounds:
            self._report(start, 0.0)
        for number in range(1, recipe.rounds + 1):
            keep = recipe.keep[0] + (recipe.keep[1] - recipe.keep[0]) * (number - 1) / max(recipe.rounds - 1, 1)
            teacher = self.round(number, teacher, keep)
            now = Round(number, teacher, self.judge.parts(teacher))
            self._report(now, keep)
            best = max(best, now, key=lambda one: one.judged)
        if self.fabric.is_global_zero:
            if recipe.rounds:
                kept = "the network as it was: no round is judged better" if best is start else f"round {best.number}"
                log.info("kept: %s (every round is a run in %s)", kept, self.run.path / "rounds")
                self.run.log(step=best.number, split="kept", by=self.judge.by)
            self.run.save_network(best.network)
        self.fabric.barrier()
        return replace(best, network=self.run.load_network()[0])

    def round(self, number: int, teacher: Network, keep: float) -> Network:
        """The ``teacher`` gives pseudo-labels, a student that starts as the teacher learns the surest ``keep`` of them.

        Returns the student's moving average.
        """
        fabric, recipe = self.fabric, self.recipe
        part = shared_run(
            fabric, Run, self.run.path / "rounds" / str(number), self.run.config, resume=True, overwrite=False
        )
        if (part.path / "model.safetensors").is_file():
            return part.load_network()[0]
        found = self.ask(teacher, part.path / "pseudo-labels", (fabric.global_rank, fabric.world_size))
        fabric.barrier()
        least = thresholds(found.counts(len(self.target), teacher.head_config.outputs), keep)
        learning = MovingAverage(copy.deepcopy(teacher).cpu(), recipe.ema)
        student = learning.network.train()
        if recipe.frozen:
            student.freeze()
        labelled = PseudoLabelled(self.target, found, least)
        samples = AdaptSamples(self.source, labelled, recipe, student.tokenizer, number)
        optimizer = build_optimizer([{"params": [p for p in student.parameters() if p.requires_grad]}], recipe)
        # whatever was drawn before, and whether rounds and pseudo-labels were made in this call
        fabric.seed_everything(recipe.seed + number, verbose=False)
        fit(fabric, part, learning, optimizer, samples, recipe, self._loss)
        learning.follow()
        if fabric.is_global_zero:
            part.save_network(learning.average)
        fabric.barrier()
        return part.load_network()[0]

    def _loss(self, network: nn.Module, batch: SegmentBatch) -> dict[str, Tensor]:
        logits = network(batch.points).float()[batch.rows]
        unsure = batch.labels == UNSURE
        found = {"loss": cross_entropy_lovasz(logits, batch.labels.masked_fill(unsure, IGNORE), self.recipe.lovasz)}
        if self.recipe.entropy:
            found["loss/entropy"] = entropy(logits[unsure])
            found["loss"] = found["loss"] + self.recipe.entropy * found["loss/entropy"]
        return found

    def _report(self, found: Round, keep: float) -> None:
        if self.fabric.is_global_zero:
            which = f"round {found.number}" if found.number else "before the first round"
            parts = " + ".join(f"{name} {100 * value:.1f}" for name, value in found.parts.items())
            log.info("%s: judged %.1f = %s", which, 100 * found.judged, parts)
            self.run.log(step=found.number, split="target", judged=found.judged, keep=keep, parts=found.parts)
