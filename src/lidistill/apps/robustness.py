"""``lidistill evaluate --corruptions``: clean and corrupted scans, mCE and mRR, as a table and one card (Robo3D)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lidistill.apps.exam import Exam, main_figures
from lidistill.apps.pace import pace
from lidistill.datasets.source import Source
from lidistill.errors import InputError, nearest
from lidistill.evaluation.card import Card, read_card, write_card
from lidistill.evaluation.inference import Evaluation, first
from lidistill.evaluation.parts import Parts
from lidistill.evaluation.robustness import (
    BASELINES,
    corruption_errors,
    mean_corruption_error,
    mean_resilience_rate,
    resilience_rates,
)
from lidistill.evaluation.table import Row, text_table
from lidistill.training.data import open_split
from lidistill.transforms import corruptions
from lidistill.transforms.corruptions import NAMES, SEVERITIES, Corrupted, corrupt

log = logging.getLogger("lidistill")

SEED = 1205
"""Of all corruptions, whatever the run: every network meets the same fog."""
CODE = "corruptions"
"""Under ``software`` in a card: a checksum of the code that made the corrupted scans."""
LEVELS = ("light", "moderate", "heavy")


@dataclass(frozen=True)
class Reference:
    """What corruption errors are measured against: ``scores`` in per cent, the mean of the severities."""

    title: str
    scores: Mapping[str, float]


def chosen_corruptions(said: str) -> tuple[str, ...]:
    """``all``, or names separated by commas, in the published order; raises ``InputError`` for another name."""
    names = NAMES if said == "all" else tuple(name.strip() for name in said.split(","))
    for name in names:
        if name not in NAMES:
            raise InputError(f"--corruptions {said}: there is no corruption {name!r}{nearest(name, ['all', *NAMES])}")
    return tuple(name for name in NAMES if name in names)


def reference(said: str, names: Sequence[str]) -> Reference:
    """A published baseline by name, or the card of another run.

    Raises ``InputError`` when ``said`` is neither, or a card without one of the corruptions ``names``.
    """
    if said in BASELINES:
        return Reference(BASELINES[said].title, BASELINES[said].scores)
    if not Path(said).is_file():
        raise InputError(f"--baseline {said}: is neither a card nor a published baseline{nearest(said, BASELINES)}")
    card = read_card(said)
    scores = {}
    for name in names:
        metric = card.metrics.get(f"miou/{name}")
        if metric is None or metric.mean is None:
            raise InputError(
                f"--baseline {said}: has no mIoU under {name!r}; evaluate that run with --corruptions {name} first"
            )
        scores[name] = 100 * metric.mean
    return Reference(card.name, scores)


def doubts(said: str, ours: Card) -> list[str]:
    """Why the errors of baseline ``said`` are no measure for those of the card ``ours``; empty when they are."""
    evaluated = ours.recipe["evaluation"]
    if said in BASELINES:
        if "released" not in evaluated:
            return [
                "is published for the released scans, not for those that are corrupted here: this mCE compares with no "
                "published one; take a card, or name the released folder with --released"
            ]
        name = str(evaluated["released"]).partition(":")[0]
        return [] if name == said else [f"is published for {said}, not for {name}"]
    theirs = read_card(said)
    there = theirs.recipe.get("evaluation", {})
    found = []
    if theirs.data.checksum != ours.data.checksum:
        found.append(f"was evaluated on other scans ({theirs.data.spec})")
    if theirs.recipe.get("model", {}).get("classes") != ours.recipe["model"]["classes"]:
        found.append("has other classes")
    for key, what in (("released", "other corrupted scans"), ("seed", "another seed"), ("tta", "other poses")):
        if there.get(key) != evaluated.get(key):
            found.append(f"was evaluated with {what} ({key}: {there.get(key)}, here {evaluated.get(key)})")
    codes = [card.software.get(CODE) for card in (theirs, ours)]
    if None not in codes and codes[0] != codes[1]:
        found.append("was evaluated with other code of the corruptions")
    return found


def corrupted_scans(exam: Exam, released: str | None, names: Sequence[str]) -> dict[tuple[str, int], Source]:
    """The scans of every corruption and severity: made here, or the parts of the ``released`` folder.

    Raises ``InputError`` when a part is not there or has other classes than the clean scans, or when a corruption looks
    for classes that the data do not have.
    """
    wanted = [(name, severity) for name in names for severity in SEVERITIES]
    if released is None:
        _try_out(exam.source, names)
        return {(name, severity): Corrupted(exam.source, name, severity, SEED) for name, severity in wanted}
    found: dict[tuple[str, int], Source] = {}
    for name, severity in wanted:
        options = f"corruption={name.replace('-', '_')}&severity={LEVELS[severity - 1]}"
        spec = f"{released}{'&' if '?' in released else '?'}{options}"
        part = open_split(spec, "val", exam.run.config.model.sensors)
        if part.taxonomy is None or part.taxonomy.classes != exam.classes:
            raise InputError(f"--released {released}: has other classes than the run; evaluate a run of its classes")
        if len(part) != len(exam.source):
            log.warning("%s: has %d scans, %s has %d", spec, len(part), exam.source.spec, len(exam.source))
        found[name, severity] = part
    return found


def _try_out(source: Source, names: Sequence[str]) -> None:
    """Corrupt the first frame: what no frame of these data allows is known before the first is evaluated."""
    try:
        frame = source[0]
    except InputError:  # a damaged frame is the evaluation's business
        return
    for name in names:
        classes = None if source.taxonomy is None else source.taxonomy.classes
        corrupt(frame, name, SEVERITIES[0], np.random.default_rng(0), classes)


def robustness(
    exam: Exam, folder: Path, names: Sequence[str], baseline: str | None, released: str | None = None
) -> Path:
    """Evaluate clean and corrupted, print the tables and write the card into ``folder``; returns its path.

    Every finished corruption and severity is kept there: an interrupted evaluation goes on, more corruptions add to it.
    """
    against = None if baseline is None else reference(baseline, names)  # a wrong one shall not wait for the last scan
    scans = corrupted_scans(exam, released, names)
    title = f"{exam.name}-corruptions" if released is None else f"{exam.name}-released"
    parts = Parts(folder / f"{title}.parts", _key(exam, released))
    count = 1 + len(scans)

    def made(source: Source, said: str) -> Callable[[], Evaluation]:
        return lambda: exam.take(source, said)

    clean = parts.take("clean", made(exam.source, f"clean [1/{count}]"))
    found: dict[str, list[Evaluation]] = {name: [] for name in names}
    for number, ((name, severity), source) in enumerate(scans.items(), 2):
        said = f"{name} {LEVELS[severity - 1]} [{number}/{count}]"
        found[name].append(parts.take(f"{name}/{severity}", made(source, said)))
    path = exam.place(folder / f"{'-'.join([title, *(names if tuple(names) != NAMES else ())])}.json")
    if not first():
        return path
    for part in (clean, *(part for levels in found.values() for part in levels)):
        for skip in part.skipped:
            log.warning("skipped: %s", skip.reason)
    metrics = figures(clean, found, against)
    print(text_table(corruption_rows(metrics, names)))
    options: dict[str, object] = {"corruptions": list(names)}
    options |= {"seed": SEED} if released is None else {"released": released}
    line = f"mRR {100 * metrics['mrr']:.1f} %"
    if against is not None:
        line = f"mCE {100 * metrics['mce']:.1f} % of the errors of {against.title}, {line}"
        options["baseline"] = {"title": against.title, "scores": {name: against.scores[name] for name in names}}
    which = "all corruptions" if tuple(names) == NAMES else ", ".join(names)
    if metrics["mrr"] > 1:
        log.warning("mRR is above 100 %%: the network is better on corrupted scans, so it has not learned enough yet")
    print(f"{line} over {which}; {len(clean.tokens)} scans of {exam.source.spec} ({exam.split})")
    if parts.scans:
        print(pace(parts.seconds, parts.scans, exam.source.sensor))
    card = replace(exam, options=exam.options | options).card(metrics, clean.tokens)
    card = card.model_copy(update={"software": card.software | ({} if released else {CODE: _code()[:12]})})
    for doubt in doubts(baseline, card) if baseline else ():
        log.warning("baseline %s: %s", baseline, doubt)
    write_card(card, path)
    return path


def figures(
    clean: Evaluation, found: Mapping[str, Sequence[Evaluation]], against: Reference | None
) -> dict[str, float]:
    """The card's figures, as shares of 1: those of the clean scans, and

    ``miou/fog/1`` .. ``3`` by severity, ``miou/fog`` their mean, ``miou_corrupted`` the mean over the corruptions;
    ``rr/fog``, ``mrr``; with a reference ``ce/fog``, ``mce``.
    """
    metrics = main_figures(clean.confusion)
    shares = {name: [part.confusion.miou() for part in levels] for name, levels in found.items()}
    metrics |= {f"miou/{name}/{i}": x for name, levels in shares.items() for i, x in enumerate(levels, 1)}
    metrics |= {f"miou/{name}": sum(levels) / len(levels) for name, levels in shares.items()}
    metrics["miou_corrupted"] = sum(metrics[f"miou/{name}"] for name in shares) / len(shares)
    scores = {name: [100 * share for share in levels] for name, levels in shares.items()}
    percents = {f"rr/{name}": rate for name, rate in resilience_rates(scores, 100 * metrics["miou"]).items()}
    percents["mrr"] = mean_resilience_rate(scores, 100 * metrics["miou"])
    if against is not None:
        percents |= {f"ce/{name}": error for name, error in corruption_errors(scores, against.scores).items()}
        percents["mce"] = mean_corruption_error(scores, against.scores)
    return metrics | {name: percent / 100 for name, percent in percents.items()}


def corruption_rows(metrics: Mapping[str, float], names: Sequence[str]) -> list[Row]:
    """A row per corruption, in per cent; first the clean scans."""
    rows: list[Row] = [{"corruption": "none", **dict.fromkeys(LEVELS, "-"), "mIoU %": f"{100 * metrics['miou']:.1f}"}]
    for name in names:
        keys = {level: f"miou/{name}/{severity}" for level, severity in zip(LEVELS, SEVERITIES, strict=True)}
        keys |= {"mIoU %": f"miou/{name}", "CE %": f"ce/{name}", "RR %": f"rr/{name}"}
        shown = {column: f"{100 * metrics[key]:.1f}" for column, key in keys.items() if key in metrics}
        rows.append({"corruption": name, **shown})
    return rows


def _code() -> str:
    """A text that changes with what the corruptions do."""
    digest = hashlib.sha256()
    for module in sorted(Path(corruptions.__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _key(exam: Exam, released: str | None) -> str:
    """A text that changes with all that the figures depend on: weights, words, data, poses, what the corruptions do."""
    digest = hashlib.sha256((exam.run.path / "model.safetensors").read_bytes())
    digest.update(_code().encode())
    said = [exam.source.spec, exam.split, len(exam.source), len(exam.poses), exam.classes, SEED, released]
    said += [exam.options["words"]] if "words" in exam.options else []
    digest.update(json.dumps(said).encode())
    return digest.hexdigest()
