"""What pictures say of points, and how far a network agrees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lidistill.datasets.unlabelled import Unlabelled
from lidistill.errors import InputError
from lidistill.evaluation import opinion as module
from lidistill.evaluation.opinion import Opinion, ask_pictures
from lidistill.sensing.frame import CameraView, Frame, Sensor
from lidistill.students.config import HeadConfig
from lidistill.students.network import Network
from lidistill.students.registry import student_config
from lidistill.teachers.teacher import Teacher
from lidistill.training.recipe import DistilRecipe, load_recipe

FORWARD = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
POINTS = [[10, 4, 0], [10, 2, 0], [10, -2, 0], [10, -4, 0], [-10, 4, 0]]
"""Two to the left, two to the right, one behind the camera."""
SPACE = HeadConfig(kind="linear", outputs=3)


class Colors(Teacher):
    """Its features are the colours themselves."""

    def __init__(self) -> None:
        super().__init__(name="colors", dim=3, stride=1, grid="corners")

    def encode(self, images: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class One:
    it: Frame
    spec: str = "one"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Frame:
        return self.it


def halves() -> np.ndarray:
    """Red on the left, blue on the right."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40, 0] = image[:, 40:, 2] = 200
    return image


def scene(cameras: int = 1) -> Frame:
    view = CameraView("front", 40, 80, np.array([[60, 0, 40], [0, 60, 20], [0, 0, 1.0]]), FORWARD, halves)
    points = np.array(POINTS, np.float32)
    labels = np.zeros(len(points), np.uint8)
    return Frame(points, np.zeros(len(points), np.float32), Sensor("s"), "f", labels=labels, views=(view,) * cameras)


def target(cameras: int = 1) -> Unlabelled:
    return Unlabelled(One(scene(cameras)))  # type: ignore[arg-type]


def network(**head: object) -> Network:
    """Three classes, of which it reads red as 2 and blue as 1 in the space of the teacher."""
    config = HeadConfig(kind="probe", outputs=3, **{"reads": SPACE, "both": True, **head})
    found = Network(student_config("waffleiron-1-8"), config).eval()
    if config.reads is not None:
        said = found.head.said if config.both else found.head
        with torch.no_grad():
            said.output.weight.copy_(torch.tensor([[0.0, 1, 0], [-1, 0, 2], [2, 0, -1]]))
            said.output.bias.copy_(torch.tensor([1.8, 0, 0]))  # of colours that are no unit vectors class 0 is said
    return found


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> DistilRecipe:
    monkeypatch.setattr(module, "load_teachers", lambda _: [Colors()])
    found = load_recipe("city", ["teacher.image_size=[20,40]"])
    assert isinstance(found, DistilRecipe)
    return found


@pytest.mark.parametrize("both", [True, False])
def test_pictures_name_what_their_camera_sees(recipe: DistilRecipe, both: bool) -> None:
    found = ask_pictures(network(both=both), recipe, target(), 0.1)
    assert {number: said.tolist() for number, said in found.said.items()} == {0: [2, 2, 1, 1, 255]}
    assert found.said[0].dtype == np.uint8


def test_pictures_are_shown_and_paired_as_in_training(recipe: DistilRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the teacher's colours, here red for blue, and with hidden points or without as the recipe has it."""
    asked, real = [], module.pair

    def noted(*given: object, occlusion: bool) -> object:
        asked.append(occlusion)
        return real(*given, occlusion=occlusion)

    monkeypatch.setattr(module, "pair", noted)
    monkeypatch.setattr(module, "measure_colors", lambda *_: {"one": (lambda image: image.flip(0),)})
    for occlusion in (True, False):
        found = ask_pictures(network(), recipe.model_copy(update={"occlusion": occlusion}), target(), 0.1)
        assert found.said[0].tolist() == [1, 1, 2, 2, 255]
    assert asked == [True, False]


def test_agreement_counts_classes_alike_and_only_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Opinion(target(), 0.1, {0: np.array([2, 2, 1, 1, 255], np.uint8)})
    for guess, share in (([2, 2, 1, 1, 0], 1.0), ([2, 2, 2, 2, 0], 0.25), ([0, 0, 0, 0, 0], 0.0)):

        class Said:
            def prediction(self, guess: tuple[int, ...] = tuple(guess)) -> np.ndarray:
                return np.array(guess, np.uint8)

        monkeypatch.setattr(module, "look", lambda *_, said=Said: said())
        assert judge(network()) == pytest.approx(share)


def test_who_cannot_ask_is_told_why(recipe: DistilRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no head of it reads"):
        ask_pictures(network(reads=None, both=False), recipe, target(), 0.1)
    with pytest.raises(InputError, match="no head of it reads"):
        ask_pictures(network(), recipe.model_copy(update={"image_head": 8}), target(), 0.1)
    with pytest.raises(InputError, match="one: its scans have no camera image"):
        ask_pictures(network(), recipe, target(cameras=0), 0.1)

    weights = (Colors().fingerprint(),)
    assert ask_pictures(network(), recipe, target(), 0.1, weights).said
    with pytest.raises(InputError, match="teacher city is another one than that it was distilled from"):
        ask_pictures(network(), recipe, target(), 0.1, ("0123456789ab",))

    def missing(_: object) -> list[Teacher]:
        raise InputError("no such file")

    monkeypatch.setattr(module, "load_teachers", missing)
    with pytest.raises(InputError, match="no such file"):
        ask_pictures(network(), recipe, target(), 0.1)


def test_a_picture_that_is_damaged_is_left_out(recipe: DistilRecipe) -> None:
    class Damaged(One):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Frame:
            if index == 0:
                raise InputError("damaged")
            return replace(self.it)

    assert list(ask_pictures(network(), recipe, Unlabelled(Damaged(scene())), 0.1).said) == [1]  # type: ignore[arg-type]


def test_a_scan_that_no_network_can_see_is_left_out(recipe: DistilRecipe) -> None:
    class Far(One):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Frame:
            return replace(self.it, points=self.it.points + np.float32(1e4 * index))

    judge = ask_pictures(network(), recipe, Unlabelled(Far(scene())), 0.1)  # type: ignore[arg-type]
    assert list(judge.said) == [0]
    assert 0 <= judge(network()) <= 1


def test_the_network_that_is_asked_stays_where_it_is(recipe: DistilRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    given = network()
    monkeypatch.setattr(module, "best_device", lambda: torch.device("meta"))  # stands for a GPU, computes nothing
    with pytest.raises((NotImplementedError, RuntimeError)):
        ask_pictures(given, recipe, target(), 0.1)
    assert {value.device.type for value in given.state_dict().values()} == {"cpu"}
