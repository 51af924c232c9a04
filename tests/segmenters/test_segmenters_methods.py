"""Methods as they are asked for: names, parameters, folders, commands."""

from __future__ import annotations

import shlex

import pytest

from lidistill.errors import InputError
from lidistill.segmenters.methods import SLIDR, Slic, folder_name, options_of, parse_method


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "slik"}, "no superpixel method 'slik'; did you mean 'slic'"),
        ({"name": "slic", "n_segment": 3}, "slic: unknown parameter 'n_segment'; did you mean 'n_segments'"),
        ({"name": "slic", "n_segments": 0}, "slic: n_segments = 0: input should be greater than or equal to 1"),
        ({"name": "slic", "model": "x"}, "unknown parameter 'model'"),
        ({"name": "sam", "min_iou": 2}, "sam: min_iou = 2"),
        ({"name": "argmax"}, "argmax: model is missing; give it with --model"),
    ],
)
def test_what_cannot_be(values, said):
    with pytest.raises(InputError, match=said):
        parse_method(values)


def test_every_parameter_has_its_own_folder():
    names = {folder_name("rig", SLIDR), folder_name("other", SLIDR)}
    names |= {folder_name("rig", parse_method({"name": "slic", key: 7})) for key in Slic.model_fields if key != "name"}
    names.add(folder_name("rig", parse_method({"name": "sam"})))
    assert len(names) == 6
    assert folder_name("a/b rig", SLIDR).startswith("a_b_rig-slic-150-")
    assert folder_name("rig", SLIDR) == folder_name("rig", parse_method({"name": "slic", "n_segments": 150}))


def test_options_say_the_method_again():
    asked = parse_method({"name": "sam", "model": "some/sam", "points": 16, "max_overlap": 0.5})
    options = options_of(asked)
    assert shlex.join(options) == "--method sam --model some/sam --set points=16 --set max_overlap=0.5"
    assert options_of(SLIDR) == ["--method", "slic"]


def test_a_folder_is_the_same_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_method({"name": "argmax", "model": "net"}).model == str(tmp_path / "net")
    assert parse_method({"name": "argmax", "model": "some/net"}).model == "some/net"
