"""The folder of superpixels: places, PNGs, records, what is said when something is missing."""

from __future__ import annotations

import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import lidistill
from lidistill.cli import main
from lidistill.datasets.concat import Concat
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.segmenters.methods import SLIDR, open_segmenter, parse_method
from lidistill.segmenters.store import (
    create_superpixels,
    open_superpixels,
    picture_path,
    read_ids,
    read_record,
    usual_folder,
    write_ids,
)

FEW = ("n_segments=20", "sigma=1")
METHOD = parse_method({"name": "slic", "n_segments": 20, "sigma": 1})


@pytest.fixture
def rig(tmp_path, tiny_rig):
    return tiny_rig(tmp_path / "rig", frames=2, cameras=2)


@pytest.mark.parametrize(("highest", "mode"), [(0, "L"), (255, "L"), (256, "I;16"), (65535, "I;16")])
def test_pictures_are_as_deep_as_they_need(tmp_path, highest, mode):
    ids = np.zeros((5, 7), np.uint16)
    ids[2, 3] = highest
    write_ids(tmp_path / "a" / "b.png", ids)
    with Image.open(tmp_path / "a" / "b.png") as picture:
        assert picture.mode == mode
    again = read_ids(tmp_path / "a" / "b.png")
    assert again.dtype == np.uint16
    assert np.array_equal(again, ids)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]


@pytest.mark.parametrize("damage", ["cut", "text", "colour"])
def test_a_damaged_png_is_named(tmp_path, damage):
    path = tmp_path / "x.png"
    write_ids(path, np.random.default_rng(0).integers(0, 200, (60, 60)).astype(np.uint16))
    if damage == "colour":
        Image.new("RGB", (4, 4)).save(path)
    else:
        path.write_bytes(path.read_bytes()[:300] if damage == "cut" else b"nothing")
    with pytest.raises(InputError, match=r"x\.png: .*delete .*make it again"):
        read_ids(path)


def test_made_superpixels_are_found_again(rig):
    folder = lidistill.superpixels(str(rig), set=FEW, workers=1)
    source = open_source(str(rig))
    assert folder == usual_folder(source, METHOD)
    assert folder.parent.name == "superpixels"
    assert folder.name.startswith("rig-slic-20-")
    record = yaml.safe_load((folder / "method.yaml").read_text())
    assert record["method"] == {"name": "slic", "n_segments": 20, "compactness": 6.0, "sigma": 1.0}
    assert (record["data"], record["source"], record["count"], record["unassigned"]) == ("rig", str(rig), 40, None)
    assert record["made_with"]["scikit-image"]
    found = pickle.loads(pickle.dumps(open_superpixels(source.split("train"), METHOD)))
    assert (found.folders, found.count, found.unassigned, found.method) == ((folder,), 40, None, METHOD)
    frame = source[0]
    for view in frame.views:
        ids = found.load(frame.token, view.name)
        assert ids.shape == (view.height, view.width)
        assert ids.max() < found.count
        assert np.array_equal(ids, open_segmenter(METHOD)(view.image()))
    assert len(pickle.dumps(found)) < 2000


def told(caught: pytest.ExceptionInfo[InputError]) -> list[str]:
    """The words of the command that the sentence names."""
    return shlex.split(str(caught.value).partition("with: lidistill ")[2])


def test_none_made_yet_names_the_command_and_it_helps(rig):
    source, there = open_source(str(rig)), rig.parent / "out there"
    with pytest.raises(InputError, match=r"no superpixels of .* here; make them with: ") as caught:
        open_superpixels(source, METHOD)
    assert main(told(caught)) == 0
    assert open_superpixels(source, METHOD).method == METHOD
    with pytest.raises(InputError) as caught:
        open_superpixels(source, folders=there)
    assert main([*told(caught), "--set", "n_segments=9"]) == 0
    assert open_superpixels(source, folders=there).count == 18


def test_a_missing_picture_names_the_command_and_it_helps(rig):
    folder = lidistill.superpixels(str(rig), set=FEW, workers=1)
    found = open_superpixels(open_source(str(rig)), METHOD)
    before = found.load("rig/000001", "front")
    picture_path(folder, "rig/000001", "front").unlink()
    with pytest.raises(InputError, match=r"front/rig/000001\.png: no superpixels of this picture") as caught:
        found.load("rig/000001", "front")
    assert main(told(caught)) == 0
    assert np.array_equal(found.load("rig/000001", "front"), before)


def test_a_folder_keeps_to_its_data_set_and_method(rig, tmp_path, tiny_rig):
    out = tmp_path / "out"
    assert lidistill.superpixels(str(rig), set=FEW, out=out, workers=1) == out
    source = open_source(str(rig))
    assert open_superpixels(source, folders=out).method == METHOD
    assert open_superpixels(source, METHOD, [out]).load("rig/000000", "front").shape == (96, 192)
    with pytest.raises(
        InputError, match=r"made with --method slic --set n_segments=20 .*asked for were --method slic;"
    ):
        open_superpixels(source, SLIDR, out)
    with pytest.raises(InputError, match="made with --method slic --set n_segments=20"):
        lidistill.superpixels(str(rig), out=out)
    other = tiny_rig(tmp_path / "other", frames=1)
    with pytest.raises(InputError, match="holds superpixels of data set 'rig', not 'other'"):
        lidistill.superpixels(str(other), set=FEW, out=out)
    (out / "method.yaml").write_text("count: 3")
    with pytest.raises(InputError, match=r"method\.yaml: not a record of superpixels"):
        open_superpixels(source, folders=out)


def test_a_mixture_reads_from_all_its_folders(rig, tmp_path, tiny_rig):
    other = tiny_rig(tmp_path / "other", frames=1)
    both = Concat([open_source(str(rig)), open_source(str(other))])
    outs = [
        lidistill.superpixels(str(path), set=FEW, out=tmp_path / f"s-{path.name}", workers=1) for path in (rig, other)
    ]
    found = open_superpixels(both, folders=outs)
    for index in range(len(both)):
        assert found.load(both[index].token, "front").shape == (96, 192)
    with pytest.raises(InputError, match="2 data sets but 1 folders"):
        open_superpixels(both, folders=outs[0])
    namesake = open_source(str(tiny_rig(tmp_path / "again" / "rig", frames=1)))
    lidistill.superpixels(namesake.spec, set=FEW, out=tmp_path / "s-again", workers=1)
    twins = open_superpixels(Concat([open_source(str(rig)), namesake]), folders=[outs[0], tmp_path / "s-again"])
    with pytest.raises(InputError, match="rename one data set"):
        twins.load("rig/000000", "front")


def test_tokens_stay_in_their_folder():
    for token in ("a/b", "../../x", "/etc/x", "a/..", ".hidden", "ünï:*?"):
        path = picture_path(Path("/f"), token, "..")
        assert path.is_relative_to("/f/%2E.")
        assert not {"..", "."} & set(path.parts)
    names = ["a b", "a%20b", "a/b", "a:b", "a_b", ".a", "%2Ea"]
    assert len({picture_path(Path(), name, "v") for name in names}) == len(names)


def test_a_source_that_is_no_folder_needs_out(tmp_path, rig):
    class Elsewhere:
        spec, name = "cloud:bucket/data", "cloud"

    with pytest.raises(InputError, match=r"cloud:bucket/data: .* choose one with --out"):
        usual_folder(Elsewhere(), SLIDR)
    made = create_superpixels(Elsewhere(), SLIDR, open_segmenter(SLIDR), tmp_path / "out")
    assert read_record(made.folders[0]).source == "cloud:bucket/data"
