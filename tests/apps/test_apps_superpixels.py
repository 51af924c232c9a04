"""``lidistill superpixels``: from the command to the page."""

from __future__ import annotations

import re

import pytest

import lidistill
from lidistill.cli import main
from lidistill.errors import InputError


def test_the_verb_makes_resumes_and_shows(tmp_path, tiny_rig, capsys, caplog):
    rig = tiny_rig(tmp_path / "rig", frames=3, cameras=2)
    (rig / "images" / "left" / "000001.png").write_bytes(b"nothing")
    out = tmp_path / "out"
    order = ["superpixels", str(rig), "--set", "n_segments=15", "--out", str(out), "--workers", "1"]
    with caplog.at_level("INFO", "lidistill"):
        assert main(order) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(out)]
    assert "frame/s" in shown.err
    assert shown.err.count("skipped: rig/000001") == 1
    assert "5 pictures cut now, 0 there before, 1 skipped" in caplog.text
    assert "images/left/000001.png" in caplog.text
    page = (out / "superpixels.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert len(re.findall(r"rig/00000\d, camera \w+: \d+ superpixels", page)) == 2 * 5  # caption and text for the blind
    assert "n_segments: 15" in page
    assert "<li>rig/000001: " in page
    assert "http://" not in page
    assert "https://" not in page
    (out / "front" / "rig" / "000000.png").unlink()
    caplog.clear()
    with caplog.at_level("INFO", "lidistill"):
        assert main(order) == 0
    assert "1 pictures cut now, 4 there before, 1 skipped" in caplog.text
    assert (out / "front" / "rig" / "000000.png").is_file()


def test_splits_shards_and_many_pictures(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path / "rig", frames=4, cameras=4)
    out = tmp_path / "out"
    made = []
    for options in ({"split": "val"}, {"split": "train", "shard": "0/2"}, {"shard": "1/2"}, {}):
        lidistill.superpixels(str(rig), set=["n_segments=4", "sigma=0"], out=out, workers=1, **options)
        made.append(sorted({path.stem for path in out.rglob("*.png")}))
    assert made == [
        ["000003"],
        ["000000", "000002", "000003"],
        ["000000", "000001", "000002", "000003"],
        ["000000", "000001", "000002", "000003"],
    ]
    assert (out / "superpixels.html").read_text().count("data:image/jpeg;base64,") == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "slik"}, "no superpixel method 'slik'; did you mean 'slic'"),
        ({"set": ["n_segments"]}, "expected a parameter of the method, for example --set n_segments=100"),
        ({"set": ["name=sam"]}, "expected a parameter of the method"),
        ({"set": ["n_segments=[1"]}, "not a YAML value"),
        ({"set": ["n_segments=many"]}, "n_segments = 'many'"),
        ({"model": "some/sam"}, "slic: unknown parameter 'model'"),
        ({"shard": "2/2"}, "expected I/N such as 0/4"),
        ({"split": "nothing"}, "no split 'nothing'"),
        ({"workers": 0}, "at least 1 process"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, tiny_rig, options, said):
    rig = tiny_rig(tmp_path / "rig", frames=2)
    with pytest.raises(InputError, match=re.escape(said)):
        lidistill.superpixels(str(rig), out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_source_without_pictures(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path / "rig", frames=1, cameras=1)
    for picture in (rig / "images" / "front").iterdir():
        picture.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no picture to cut into superpixels; .*000000\.png"):
        lidistill.superpixels(str(rig), out=tmp_path / "out", workers=1)
    bare = tiny_rig(tmp_path / "bare", frames=1, cameras=0, images=False)
    with pytest.raises(InputError, match="its frames have no cameras"):
        lidistill.superpixels(str(bare), out=tmp_path / "none", workers=1)
