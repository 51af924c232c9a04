"""The report: everything that lies in a run, nothing from outside, and no matter what is missing or damaged."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill.apps.record import read_record
from lidistill.apps.report import write_report
from lidistill.errors import InputError

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects what a test asks about, and finds tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def headings(self) -> list[str]:
        return re.findall(r"(?m)^(Learning|Classes|Evaluations|Pictures|Skipped frames|Recipe|Environment)$", self.text)


def make_run(folder: Path) -> Path:
    """A run folder with every part a report can show."""
    (folder / "pictures").mkdir(parents=True)
    config = {
        "verb": "probe",
        "sources": ["my_rig/"],
        "parent": "runs/a",
        "model": {"student": {"kind": "waffleiron", "depth": 6, "width": 64}, "taxonomy": "city-16"},
        "recipe": {"kind": "segment", "name": "linear-probe", "lr": 0.001},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config))
    rows = [
        {"step": s, "epoch": s / 10, "split": "train", "loss": 5 / s, "lr": 1e-3 / s, "samples_per_s": 7.5}
        for s in range(1, 41)
    ]
    rows.append({"step": 40, "epoch": 4, "split": "val", "loss": 0.375})
    iou = {"car": 0.625, "person": None, "vegetation": 0.0}
    rows.append({"step": 40, "split": "val", "data": "my_rig/", "miou": 0.3125, "iou": iou, "frames": 12})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = {
        "data": {"spec": "my_rig/", "split": "val", "frames": 12},
        "seeds": [0],
        "metrics": {"miou": {"mean": 0.3125, "std": 0.01}, "iou/car": {"mean": 0.625, "std": None}},
        "hardware": {"cpu": "A processor", "cores": 2},
        "software": {"torch": "2.13.0"},
        "created": "2026-11-20T12:00:00+00:00",
    }
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "skipped.json").write_text(json.dumps([{"frame": "000007", "reason": "scans/000007.bin: truncated"}]))
    for name, value in (("b.png", 10), ("a.jpg", 200)):
        Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(folder / "pictures" / name)
    (folder / "pictures" / "captions.json").write_text(json.dumps({"b.png": "Similar to the car", "gone.png": "?"}))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def report(folder: Path) -> tuple[Page, str]:
    path = write_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return Page(text), text


def test_shows_every_part(tmp_path: Path) -> None:
    page, text = report(make_run(tmp_path / "first run"))
    assert "first run" in page.text
    assert page.headings() == [
        *("Learning", "Classes", "Evaluations", "Pictures", "Skipped frames", "Recipe", "Environment")
    ]
    for shown in ("31.2 %", "0.375", "62.5", "absent", "12 scans of my_rig/ (val)", "31.2 ± 1.0", "A processor"):
        assert shown in page.text, shown
    for shown in ("student waffleiron-6-64", "recipe linear-probe", "from runs/a", "scans/000007.bin: truncated"):
        assert shown in page.text, shown
    assert "not finished" not in page.text
    assert len(re.findall('<svg class="chart"', text)) == 3  # loss, learning rate, rate
    assert "lr: 0.001" in page.text


def test_bars_have_the_length_and_color_of_their_class(tmp_path: Path) -> None:
    _, text = report(make_run(tmp_path / "run"))
    bars = re.findall(r'class="bar"><i style="width:([\d.]+)%;background:(rgb\([\d,]+\))"', text)
    assert [float(width) for width, _ in bars] == [62.5, 0.0]
    assert bars[0][1] != bars[1][1]


def test_pictures_are_inside_in_the_order_of_the_captions(tmp_path: Path) -> None:
    page, _ = report(make_run(tmp_path / "run"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Similar to the car", "a"]
    for image, kind, value in zip(images, ("png", "jpeg"), (10, 200), strict=True):
        start, content = str(image["src"]).split(",", 1)
        assert start == f"data:image/{kind};base64"
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert abs(int(decoded.mean()) - value) <= 1


def test_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page, text = report(make_run(tmp_path / "run"))
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe", "object", "embed", "form"}]
    assert all(str(a.get("src", "data:")).startswith("data:") for _, a in page.tags)
    assert not re.findall(r"(?:url\(|@import|https?://)", text)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'")


def test_everything_from_files_is_escaped(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run <script>alert(0)<")
    evil = "<script>alert('x')</script>\"><img src=x onerror=y>"
    config = yaml.safe_load((folder / "recipe.yaml").read_text())
    config |= {"verb": evil, "sources": [evil], "parent": evil}
    config["model"]["student"]["kind"] = config["recipe"]["name"] = evil
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config))
    line = {"step": 41, "split": "val", evil: 1.0, "miou": 0.1, "iou": {evil: 0.5}, "data": evil, "frames": evil}
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    (folder / "skipped.json").write_text(json.dumps([{"frame": evil, "reason": evil}]))
    (folder / "pictures" / "captions.json").write_text(json.dumps({"b.png": evil}))
    card = json.loads((folder / "card.json").read_text())
    card["data"]["spec"] = card["hardware"][evil] = card["software"]["torch"] = card["created"] = evil
    card["metrics"][evil.replace("/", "")] = {"mean": 0.1}
    (folder / "card.json").write_text(json.dumps(card))
    page, text = report(folder)
    assert "<script" not in text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2
    assert page.text.count("alert('x')") >= 9


def test_only_a_recipe_is_enough(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("verb: pretrain\n")
    page, text = report(tmp_path)
    assert page.headings() == ["Recipe"]
    assert "not finished" in page.text
    assert "<svg" not in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", b'{"step": 1, "split": "train", "loss": 1.5}\n{"step": 2, "spl'),
        (
            "metrics.jsonl",
            b'[1]\nnull\n{"step": "x", "split": "train", "loss": [1], "lr": true, "speed": NaN}\n',
        ),
        ("metrics.jsonl", b'{"split": "val", "miou": NaN, "iou": {"car": "?"}}\n\xff\xfe\n'),
        ("card.json", b'{"metrics": 3, "data": [], "hardware": "x", "seeds": null}'),
        ("card.json", b"not json"),
        ("skipped.json", b'{"frame": 1}'),
        ("skipped.json", b'[1, {"frame": null}]'),
        ("pictures/captions.json", b"[]"),
        ("pictures/b.png", b"no picture"),
        ("recipe.yaml", b"- a list\n"),
        ("recipe.yaml", b"model: 3\nrecipe: [1]\nsources: rig\n"),
    ],
)
def test_damaged_parts_do_no_harm(tmp_path: Path, name: str, content: bytes) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_bytes(content)
    page, text = report(folder)
    assert "Recipe" in page.headings()
    assert not re.search(r'(?:points|cx|cy|y1)="[^"]*(?:nan|inf)', text)


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 1.5}\n{"step": 2, "split": "tr')
    assert [row["step"] for row in read_record(folder).rows] == [1]


def test_later_evaluations_are_listed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "evaluations").mkdir()
    card = json.loads((folder / "card.json").read_text())
    card["data"]["spec"] = "another_rig/"
    card["recipe"] = {"evaluation": {"tta": 4, "map": "kitti-10", "outside": "miss", "corruptions": ["fog"]}}
    (folder / "evaluations" / "another.json").write_text(json.dumps(card))
    page, _ = report(folder)
    assert "another_rig/" in page.text
    assert "4 poses, in kitti-10 (miss), 1 corruption" in page.text


@pytest.mark.parametrize(("make", "said"), [(False, "does not exist"), (True, "holds no recipe.yaml")])
def test_what_is_no_run_is_said(tmp_path: Path, make: bool, said: str) -> None:
    folder = tmp_path / "nowhere"
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match=said):
        write_report(folder)


def test_unreadable_recipe_is_said(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match="not valid YAML"):
        write_report(tmp_path)


def test_failed_writing_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    old = write_report(folder).read_text()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Exception, match="disk is full"):
        write_report(folder)
    monkeypatch.undo()
    assert (folder / "report.html").read_text() == old
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]
