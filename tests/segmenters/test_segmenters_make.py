"""Making them frame by frame: shares, processes, what is there already, what is damaged."""

from __future__ import annotations

import pytest

from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.segmenters.make import make_superpixels, take_share
from lidistill.segmenters.methods import open_segmenter, parse_method
from lidistill.segmenters.store import picture_path, read_ids

METHOD = parse_method({"name": "slic", "n_segments": 12, "sigma": 0})


def make(source, folder, frames, workers=1):
    return list(make_superpixels(source, METHOD, open_segmenter(METHOD), folder, frames, workers))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_shares_together_are_all_and_apart():
    shares = [take_share(range(11), f"{i}/4") for i in range(4)]
    assert sorted(index for share in shares for index in share) == list(range(11))
    assert take_share(range(3), "0/1") == [0, 1, 2]
    for wrong in ("4/4", "1", "a/b", "-1/4", "1/0", "/"):
        with pytest.raises(InputError, match="expected I/N such as 0/4"):
            take_share(range(4), wrong)


def test_two_processes_and_two_shares_make_the_same(tmp_path, tiny_rig):
    source = open_source(str(tiny_rig(tmp_path / "rig", frames=3, cameras=2)))
    whole = make(source, tmp_path / "whole", range(3))
    assert [frame.made for frame in whole] == [("front", "left")] * 3
    assert len(contents(tmp_path / "whole")) == 6
    for share in ("0/2", "1/2"):
        make(source, tmp_path / "shares", take_share(range(3), share))
    make(source, tmp_path / "processes", range(3), workers=2)
    assert contents(tmp_path / "shares") == contents(tmp_path / "processes") == contents(tmp_path / "whole")


def test_what_is_there_is_kept(tmp_path, tiny_rig):
    source = open_source(str(tiny_rig(tmp_path / "rig", frames=4)))
    out = tmp_path / "out"
    make(source, out, range(4))
    before = contents(out)
    paths = [picture_path(out, source[i].token, "front") for i in range(4)]
    for path in paths[::2]:
        path.unlink()
    times = [path.stat().st_mtime_ns for path in paths[1::2]]
    again = make(source, out, range(4))
    assert [(frame.made, frame.kept) for frame in again] == [(("front",), ()), ((), ("front",))] * 2
    assert contents(out) == before
    assert [path.stat().st_mtime_ns for path in paths[1::2]] == times


def test_damaged_pictures_and_scans_are_told_and_the_rest_is_made(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path / "rig", frames=3, cameras=2)
    (rig / "images" / "front" / "000001.png").write_bytes(b"nothing")
    (rig / "scans" / "000002.bin").write_bytes(b"12345")
    made = make(open_source(str(rig)), tmp_path / "out", range(3))
    assert [frame.made for frame in made] == [("front", "left"), ("left",), ()]
    assert [len(frame.faults) for frame in made] == [0, 1, 1]
    assert "images/front/000001.png" in made[1].faults[0]
    assert "000002.bin" in made[2].faults[0]
    assert read_ids(picture_path(tmp_path / "out", "rig/000001", "left")).shape == (96, 192)
