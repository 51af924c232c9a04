"""Classes by words alone: a network whose features lie in CLIP's text space is asked in phrases (open vocabulary)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from lidistill.datasets.rig_file import read_yaml
from lidistill.errors import InputError, nearest
from lidistill.sensing.frame import IGNORE
from lidistill.students.network import Network, classified
from lidistill.teachers.registry import load_teachers
from lidistill.teachers.text import in_text_space, spoken, text_vectors
from lidistill.training.recipe import DistilRecipe
from lidistill.training.run import ModelConfig, Run, RunConfig

Words = dict[str, tuple[str, ...]]
"""Class -> the phrases that stand for it, at least one."""


def read_words(said: str) -> Words:
    """``--classes``: a YAML file of classes with their phrases, or the same in a line: ``car; van, tram``.

    In a line, commas stand between classes and semicolons between phrases; the first phrase names the class. In a file
    a class has a phrase, a list of them, or nothing if its own name will do. Raises ``InputError`` for an empty name
    and for a class that is there twice.
    """
    if said.endswith((".yaml", ".yml")):
        listed = _listed(Path(said))
    else:
        entries = [tuple(phrase.strip() for phrase in entry.split(";")) for entry in said.split(",")]
        listed = [(phrases[0], phrases) for phrases in entries]
    for name, phrases in listed:
        if not all(spoken(phrase) for phrase in (name, *phrases)):
            raise InputError(f"--classes {said}: a name is empty; expected words such as 'car; van, tram'")
        if sum(other == name for other, _ in listed) > 1:
            raise InputError(f"--classes {said}: {name!r} is there twice; expected every class once")
    return dict(listed)


def _listed(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    content = read_yaml(path, yaml.BaseLoader)  # which leaves all as text: no class is called False
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected classes with their phrases, such as `car: [car, van]`")
    listed = []
    for name, said in content.items():
        phrases = said if isinstance(said, list) else [said or name]
        if not (phrases and all(isinstance(phrase, str) for phrase in phrases)):
            raise InputError(f"{path}: class {name!r}: expected a phrase or a list of phrases, found {said}")
        listed.append((name, tuple(phrases)))
    return listed


def words_for(classes: Sequence[str], said: str | None) -> Words:
    """Words for the ``classes`` of some data: their names, but for those that ``said`` (see ``read_words``) tells.

    Raises ``InputError`` when that names a class that the data do not have.
    """
    told = {} if said is None else read_words(said)
    for name in told:
        if name not in classes:
            raise InputError(f"--classes {said}: the data have no class {name!r}{nearest(name, classes)}")
    return {name: told.get(name, (name,)) for name in classes}


def knows_words(config: RunConfig) -> bool:
    """Whether a run has no classes of its own but a teacher whose features lie in CLIP's text space."""
    recipe = config.recipe
    return (
        config.model.classes is None
        and isinstance(recipe, DistilRecipe)
        and any(in_text_space(teacher) for teacher in recipe.teachers)
    )


def speaking(run: Run, words: Words) -> tuple[Network, ModelConfig]:
    """The distilled network of ``run`` with ``words`` for its classes: nothing is learned, no label is needed.

    The score of a phrase at a point is t . s, with its unit vector t in text space and the student's features s there:
    the cosine times |s|. That length is one number for all phrases of a point; dividing by it would change no argmax.
    So the vectors, as rows of a matrix, become part of the last linear layer, and a class takes the best of its
    phrases. Of several teachers (``joint.join``) only CLIP's part of the features counts: that of the others meets
    zeros. Raises ``InputError`` for a run whose features lie elsewhere, and for words that cannot be told apart.
    """
    recipe = _need_text_space(run)
    _check(words)
    network, model = run.load_network()
    phrases = [phrase for several in words.values() for phrase in several]
    weight = _rows(run, recipe, phrases, model.head.outputs)
    found = classified(network, weight, torch.zeros(len(weight)))
    found.head = nn.Sequential(found.head, Best([len(several) for several in words.values()]))
    return found, model.model_copy(update={"classes": tuple(words), "taxonomy": None})


class Best(nn.Module):
    """Scores (M, P) of phrases -> (M, C): a class has that of its best phrase; ``counts``: how many each class has."""

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.counts = list(counts)

    def forward(self, scores: Tensor) -> Tensor:
        """(M, P) -> (M, C)."""
        return torch.stack([own.amax(1) for own in torch.split(scores, self.counts, 1)], 1)


def _check(words: Words) -> None:
    if not 2 <= len(words) <= IGNORE:
        raise InputError(
            f"--classes: expected 2 to {IGNORE}, found {len(words)}: every point gets one of them, so name what else "
            "is there as well, as in 'car, road; building; tree'"
        )
    owner: dict[str, str] = {}
    for name, phrases in words.items():
        for phrase in phrases:
            other = owner.setdefault(spoken(phrase).lower(), name)
            if other != name:
                raise InputError(f"--classes: {phrase!r} stands for {other!r} and for {name!r}; give it to one of them")


def _need_text_space(run: Run) -> DistilRecipe:
    """The recipe of a run whose outputs lie in CLIP's text space; ``InputError`` for every other run."""
    recipe, model = run.distillation(), run.config.model
    if model.classes is not None:
        origin = run.origin()
        distilled = "" if origin.distillation() is None else f", {origin.path}"
        raise InputError(f"run {run.path}: has learned classes; words are for a run that was only distilled{distilled}")
    if recipe is None or not knows_words(run.config):
        names = "not known" if recipe is None else ", ".join(t.name for t in recipe.teachers)
        raise InputError(
            f"run {run.path}: no teacher of it ({names}) has features in CLIP's text space; distil from "
            "maskclip-vitb16, or from any CLIP with --set teacher.layer=value"
        )
    if recipe.image_head is not None:
        raise InputError(
            f"run {run.path}: recipe {recipe.name} has an image_head, so its features lie in a space of their own, not "
            "in CLIP's; distil with --set image_head=null, or with a recipe such as scalr-plus"
        )
    return recipe


def _rows(run: Run, recipe: DistilRecipe, phrases: Sequence[str], outputs: int) -> Tensor:
    """(P, outputs): the vectors of the phrases where the outputs are those of the CLIP teacher, 0 elsewhere."""
    teachers = recipe.teachers
    index = next(i for i, teacher in enumerate(teachers) if in_text_space(teacher))
    vectors = text_vectors(teachers[index], phrases)
    dim = vectors.shape[1]
    # what others say takes room that only loading them tells, unless they all stand on one side
    last = index == len(teachers) - 1
    start = outputs - dim if last else sum(teacher.dim for teacher in load_teachers(teachers[:index]))
    if not 0 <= start <= outputs - dim or (index == 0 and start > 0):
        raise InputError(
            f"run {run.path}: has {outputs} features, the text encoder of {teachers[index].name} {dim}; that is not "
            "the model it was distilled from"
        )
    rows = torch.zeros(len(vectors), outputs)
    rows[:, start : start + dim] = vectors
    return rows
