"""Words in CLIP's text space, against transformers' own model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from clips import DIM, tiny_clip
from lidistill.errors import InputError
from lidistill.teachers import text
from lidistill.teachers.catalog import CATALOG
from lidistill.teachers.config import TeacherConfig
from lidistill.teachers.text import TEMPLATES, in_text_space, spoken, text_vectors

transformers = pytest.importorskip("transformers")


@pytest.fixture
def clip(tmp_path: Path) -> tuple[Path, Any]:
    return tmp_path / "clip", tiny_clip(tmp_path / "clip")


def own_features(folder: Path, model: Any, prompts: list[str]) -> torch.Tensor:
    """Of CLIPModel itself, one prompt after the other (no padding)."""
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found = [model.get_text_features(**tokenizer(one, return_tensors="pt")).pooler_output for one in prompts]
    return functional.normalize(torch.cat(found), dim=1)


def test_one_prompt_equals_transformers_own(clip: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "TEMPLATES", ("a photo of a {}.",))
    found = text_vectors(TeacherConfig(name=str(clip[0])), ["tram", "traffic_cone"])
    assert torch.allclose(found, own_features(*clip, ["a photo of a tram.", "a photo of a traffic cone."]), atol=1e-6)


def test_mean_over_templates_brought_to_length_one(clip: tuple[Path, Any]) -> None:
    found = text_vectors(TeacherConfig(name=str(clip[0])), ["car", "tram"])
    assert found.shape == (2, DIM)
    assert torch.allclose(found.norm(dim=1), torch.ones(2))
    mean = own_features(*clip, [template.format("tram") for template in TEMPLATES]).mean(0)
    assert torch.allclose(found[1], mean / mean.norm(), atol=1e-6)
    assert mean.norm() < 0.999  # the templates differ, so a mean that is not brought to length 1 would show
    assert found[0] @ found[1] < 0.999


def test_templates_take_one_name_each() -> None:
    assert len(set(TEMPLATES)) == len(TEMPLATES)
    assert all(template.count("{}") == 1 and "tram" in template.format("tram") for template in TEMPLATES)


@pytest.mark.parametrize(
    ("name", "words"),
    [("driveable-surface", "driveable surface"), ("other_flat", "other flat"), (" traffic  cone ", "traffic cone")],
)
def test_names_are_read_as_words(name: str, words: str) -> None:
    assert spoken(name) == words


def test_which_teachers_lie_in_text_space() -> None:
    assert in_text_space(TeacherConfig(name="maskclip-vitb16"))
    assert in_text_space(TeacherConfig(name="/models/clip", layer="value"))
    assert in_text_space(TeacherConfig(name="clip-vitb16", layer="value"))
    for name, layer in (("clip-vitb16", "auto"), ("maskclip-vitb16", "pre-norm"), ("/models/clip", "auto")):
        assert not in_text_space(TeacherConfig.model_validate({"name": name, "layer": layer}))


def test_short_name_reads_the_text_part_of_its_hub_name(
    clip: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is not reachable in tests: the catalogue entry is pointed at a folder instead."""
    from dataclasses import replace

    monkeypatch.setitem(CATALOG, "maskclip-vitb16", replace(CATALOG["maskclip-vitb16"], hub=str(clip[0])))
    by_name, by_folder = (text_vectors(TeacherConfig(name=n), ["car"]) for n in ("maskclip-vitb16", str(clip[0])))
    assert torch.equal(by_name, by_folder)


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("token*.json"):
        file.unlink()


def without_text(folder: Path) -> None:
    config = transformers.CLIPVisionConfig.from_pretrained(folder)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)


def without_text_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("text_projection")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def moved(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")


FAULTS = {
    "no tokenizer": (without_tokenizer, r"tokenizer there knows \d tokens, the text encoder 514"),
    "vision part alone": (without_text, r"no text encoder of CLIP \(clip_vision_model alone is there\)"),
    "weights lack the text part": (without_text_weights, "lack or misfit 1 parameters of CLIPTextModelWithProjection"),
    "folder has moved": (moved, "if the folder has moved, put a link in its place"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_missing_is_said(clip: tuple[Path, Any], fault: str) -> None:
    damage, said = FAULTS[fault]
    damage(clip[0])
    with pytest.raises(InputError, match=said):
        text_vectors(TeacherConfig(name=str(clip[0]), layer="value"), ["car"])


def test_a_phrase_that_is_too_long(clip: tuple[Path, Any]) -> None:
    with pytest.raises(InputError, match=r"is too long: \d+ tokens in a sentence, the text encoder reads 77"):
        text_vectors(TeacherConfig(name=str(clip[0])), ["car", "very " * 20 + "long"])


def test_transformers_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'lidistill\[teachers\]'"):
        text_vectors(TeacherConfig(name="maskclip-vitb16"), ["car"])


def test_size_of_the_text_space_is_the_whole_models(clip: tuple[Path, Any]) -> None:
    """config.json of a whole CLIP may leave a default in the part."""
    assert json.loads((clip[0] / "config.json").read_text())["text_config"].get("projection_dim", 512) == 512
    assert text_vectors(TeacherConfig(name=str(clip[0])), ["car"]).shape == (1, DIM)
