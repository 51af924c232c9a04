"""One training loop for every objective: batches in, losses out, with progress, records, checkpoints and resume."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from lidistill.errors import RunError
from lidistill.training.loader import Order, resolve_workers, train_loader
from lidistill.training.recipe import AnyRecipe, DistilRecipe
from lidistill.training.run_folder import RunFolder
from lidistill.training.samples import Batch, Collated, Samples, Skip

log = logging.getLogger("lidistill")
LOG_EVERY = 10


class Interrupted(RunError):
    """The run was told to stop and has saved its state."""

    def __init__(self, folder: Path, step: int, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(
            f"stopped by {name} after iteration {step}; to go on with {folder}, give the same command and --resume"
        )
        self.step, self.number, self.exit_code = step, number, 128 + number


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying: the loop looks at the list after every iteration."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    try:
        old = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: signals are somebody else's business
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def dead_workers() -> Iterator[None]:
    """Say in a ``RunError`` when a loader process is killed (mostly for want of memory).

    Torch notices it in a signal handler and raises wherever the program happens to be; or the pipe to it breaks first.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
            raise
        if isinstance(error, BrokenPipeError):  # nobody reads the console any more
            raise
        raise RunError(
            "a loader process was killed from outside, mostly because the machine ran out of memory: go on with "
            "--resume and fewer of them, for example --set workers=1"
        ) from None


class Skipped:
    """Counts unusable frames, warns once for each and stops the run when there are too many.

    ``sizes``: frames of each data set by name. One that gives nothing stops the run however small it is.
    """

    def __init__(self, sizes: Mapping[str, int], limit: float) -> None:
        self.sizes, self.frames, self.limit = dict(sizes), sum(sizes.values()), limit
        self.reasons: dict[str, str] = {}

    def add(self, skips: Sequence[Skip]) -> None:
        """Note what a batch left out. Raises ``RunError`` above the limit (one bad frame of several is forgiven)."""
        for skip in skips:
            if skip.token not in self.reasons:
                self.reasons[skip.token] = skip.reason
                log.warning("skipped: %s", skip.reason)
        for name, count in Counter(token.rpartition("[")[0] for token in self.reasons).items():
            if count == self.sizes.get(name) and len(self.sizes) > 1:
                last = [reason for token, reason in self.reasons.items() if token.startswith(f"{name}[")][-1]
                raise RunError(
                    f"no frame of {name} is usable ({count} of {count}); leave it out or repair it; the last: {last}"
                )
        bad = len(self.reasons)
        if (bad > 1 and bad > self.limit * self.frames) or bad == self.frames:
            raise RunError(
                f"{bad} of {self.frames} frames are unusable, more than bad_frames = {self.limit:.0%} allows; "
                f"the last one: {next(reversed(self.reasons.values()))}"
            )


Loss = Callable[[nn.Module, Any], dict[str, Tensor]]


def fit(
    fabric: Fabric,
    run: RunFolder[Any],
    network: nn.Module,
    optimizer: Optimizer,
    samples: Samples,
    recipe: AnyRecipe,
    loss: Loss,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> None:
    """Train ``network`` in place for the recipe's epochs, from the run's checkpoint if there is one.

    ``loss(network, batch)`` returns named scalars, always the same names; ``"loss"`` is the one that is minimised,
    any other may be NaN when a batch has nothing of the kind. The network keeps
    the training or evaluation mode of its parts. ``validate`` is called about ten times and its figures logged.

    Raises ``Interrupted`` after SIGTERM or SIGINT (state saved), ``RunError`` for a loss that is not finite, too many
    unusable frames or a device without memory. Signals and unusable frames that one of several processes meets end all
    of them after the same iteration.
    """
    if fabric.world_size > 1 and fabric.device.type == "cuda":  # as published; torch has it for GPUs alone
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    wrapped, optimizer = fabric.setup(network, optimizer)
    order = Order(
        samples.sizes,
        recipe.batch_size,
        recipe.epochs,
        recipe.seed,
        mixture=recipe.mixture if isinstance(recipe, DistilRecipe) else "proportional",
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    skipped = Skipped(dict(zip(samples.names, samples.sizes, strict=True)), recipe.bad_frames)
    order.start = step = _restore(fabric, run, network, optimizer, skipped)
    base = [group["lr"] for group in optimizer.param_groups]
    workers = resolve_workers(recipe.workers, fabric.world_size)
    pin = fabric.device.type == "cuda"
    loader: DataLoader[Collated[Batch]] = train_loader(samples, order, recipe, workers=workers, pin=pin)
    if recipe.schedule.warmup(order.per_epoch) >= order.iterations:
        log.warning(
            "the warm-up is as long as the run (epochs = %d): the learning rate never reaches lr = %g; train longer or "
            "add --set schedule.warmup_epochs=%g",
            *(recipe.epochs, recipe.lr, round(0.1 * recipe.epochs, 2)),
        )
    validations = max(recipe.epochs // 10, 1)
    saved = shown = time.monotonic()
    shown_step = step
    last: Batch | None = None
    bar = tqdm(total=order.iterations, initial=step, desc=run.config.verb, unit="it", disable=not fabric.is_global_zero)
    with stop_signals() as stopped, dead_workers(), bar:
        for collated in loader:
            epoch, within = divmod(step, order.per_epoch)
            factor = recipe.schedule.factor(step, order.per_epoch, recipe.epochs, recipe.lr)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor
            failure = _failure(skipped, collated.skipped)
            # the other devices wait for this one's gradients, so it takes its last batch again
            batch = last = collated.batch or (last if fabric.world_size > 1 else None)
            if fabric.global_rank:  # its own paths drop and its own pairs contrast, also when it was resumed here
                torch.manual_seed(hash((recipe.seed, fabric.global_rank, step)))
            ready, stop = _agree(fabric, failure, batch is not None, stopped[0] if stopped else 0)
            losses = _step(fabric, wrapped, optimizer, batch, loss) if ready and batch is not None else {}
            step += 1
            bar.update()
            ends_epoch = within + 1 == order.per_epoch
            if step % LOG_EVERY == 0 or ends_epoch or step == 1:
                values = _over_devices(fabric, losses)
                if not all(abs(value) < float("inf") for value in values.values()):
                    raise RunError(
                        f"iteration {step}: the loss is {values}; lower the learning rate or use precision=32-true"
                    )
                now = time.monotonic()
                rate = (step - shown_step) * order.batch_size / max(now - shown, 1e-9)
                shown, shown_step = now, step
                if fabric.is_global_zero:
                    row = {"step": step, "epoch": step / order.per_epoch, "split": "train", **values}
                    run.log(**row, lr=recipe.lr * factor, samples_per_s=round(rate, 2))
                bar.set_postfix(loss=f"{values.get('loss', math.nan):.3f}", samples_per_s=f"{rate:.1f}")
            if validate and ends_epoch and ((epoch + 1) % validations == 0 or epoch + 1 == recipe.epochs):
                figures = validate(network)
                if fabric.is_global_zero and figures:
                    run.log(step=step, epoch=epoch + 1, split="val", **figures)
            due = recipe.checkpoint_iterations and step % recipe.checkpoint_iterations == 0
            old = ends_epoch and time.monotonic() - saved > 60 * recipe.checkpoint_minutes
            if due or old or stop or step == order.iterations:
                _save(fabric, run, network, optimizer, step, skipped)
                saved = time.monotonic()
            if stop:
                break
        # one that came while the last iteration was saved counts as well: what follows may take long
        stop = _agree(fabric, None, True, stopped[0] if stopped else 0)[1]
        if stop:
            fabric.barrier()  # a launcher ends all processes as soon as one has ended: the first one saves before
            raise Interrupted(run.path, step, stop)


def _step(fabric: Fabric, network: nn.Module, optimizer: Optimizer, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    optimizer.zero_grad(set_to_none=True)
    try:
        losses = loss(network, batch.to(fabric.device))
        fabric.backward(losses["loss"])
    except torch.OutOfMemoryError as error:
        said = str(error).split(". ", 1)[0]
        raise RunError(
            f"{fabric.device} has no memory left ({said}); lower batch_size or points, or choose a smaller student"
        ) from None
    optimizer.step()
    return losses


def _failure(skipped: Skipped, skips: Sequence[Skip]) -> RunError | None:
    """What ``skipped`` has to say against going on."""
    try:
        skipped.add(skips)
    except RunError as error:
        return error
    return None


def _agree(fabric: Fabric, failure: RunError | None, ready: bool, stop: int) -> tuple[bool, int]:
    """Whether every device is ready, and the signal to ``stop`` that any of them received (0: none).

    None may step, average its losses or leave while another does not: the one would wait for ever. Raises the
    ``failure`` of any device on all.
    """
    if fabric.world_size > 1:
        own = torch.tensor([fabric.global_rank + 1 if failure else 0, not ready, stop], device=fabric.device)
        distributed.all_reduce(own, distributed.ReduceOp.MAX)
        failed, missing, stop = own.tolist()
        ready = not missing
        if failed:
            failure = fabric.broadcast(failure, src=failed - 1)
    if failure is not None:
        raise failure
    return ready, stop


def _over_devices(fabric: Fabric, losses: dict[str, Tensor]) -> dict[str, float]:
    """Mean of every named scalar over the devices where there is one."""
    values = {}
    for name, value in losses.items():
        everywhere = cast(Tensor, fabric.all_gather(value.detach()))
        mean = float(everywhere.mean() if name == "loss" else everywhere.nanmean())
        if name == "loss" or mean == mean:  # NaN: no device had any
            values[name] = mean
    return values


def _save(
    fabric: Fabric, run: RunFolder[Any], network: nn.Module, optimizer: Optimizer, step: int, skipped: Skipped
) -> None:
    if not fabric.is_global_zero:
        return
    random = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(fabric.device)
    run.save_checkpoint(
        {
            "step": step,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": random,
            "precision": fabric.strategy.precision.state_dict(),  # the scale of the loss with 16-mixed
            "skipped": dict(skipped.reasons),
        }
    )
    run.write_json("skipped.json", [{"frame": k, "reason": v} for k, v in skipped.reasons.items()])


def _restore(fabric: Fabric, run: RunFolder[Any], network: nn.Module, optimizer: Optimizer, skipped: Skipped) -> int:
    """Bring everything back to the run's last checkpoint; 0 when there is none."""
    state = run.load_checkpoint()
    if state is None:
        if fabric.is_global_zero:
            run.rewind_metrics(0)
        return 0
    network.load_state_dict(state["network"])
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    for group, lr in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = lr
    if state.get("precision"):  # older runs have none
        fabric.strategy.precision.load_state_dict(state["precision"])
    torch.set_rng_state(state["random"]["cpu"])
    if "cuda" in state["random"] and fabric.device.type == "cuda":
        torch.cuda.set_rng_state(state["random"]["cuda"], fabric.device)
    skipped.reasons.update(state["skipped"])
    step = int(state["step"])
    if fabric.is_global_zero:
        run.rewind_metrics(step)
        log.info("resumed at iteration %d", step)
    return step
