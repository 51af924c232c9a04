"""The index cache: built once, mapped afterwards, rebuilt when it is stale or damaged, never unpickled."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from lidistill.datasets import json_table
from lidistill.datasets.index import open_index
from lidistill.datasets.json_table import read_table, stream_table
from lidistill.errors import InputError

COLUMNS = {
    "name": np.array([b"one", b"three"]),
    "pose": np.arange(14.0).reshape(2, 7),
    "count": np.array(5),
    "none": np.zeros((0, 3)),
}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A function that opens the index of a folder with one table, and counts how often it was built."""
    monkeypatch.delenv("LIDISTILL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "table.json").write_text("[]")

    def open_it(version=1, columns=COLUMNS):
        def build():
            open_it.built += 1
            return columns

        return open_index("tables", data, [data / "table.json"], version, build)

    open_it.built, open_it.data = 0, data
    return open_it


def test_built_once_and_mapped(opened):
    for _ in range(3):
        index = opened()
        for name, column in COLUMNS.items():
            np.testing.assert_array_equal(index[name], column)
        assert index.text("name", 1) == "three"
    assert opened.built == 1
    assert index.path.parent == opened.data / ".lidistill"
    with np.load(index.path, allow_pickle=False) as archive:
        assert set(archive.files) == set(COLUMNS)


def test_columns_are_views_of_the_file(opened):
    index = opened()
    column = index["pose"]
    assert not column.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1
    base = column
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)


def test_pickles_as_a_path(opened):
    index = opened(columns={"x": np.zeros(100_000)})
    index["x"].sum()
    content = pickle.dumps(index)
    assert len(content) < 500
    assert pickle.loads(content)["x"].shape == (100_000,)
    index.path.unlink()
    with pytest.raises(InputError, match="the index is gone"):
        pickle.loads(content)["x"]


def test_stale_is_rebuilt_and_the_old_one_removed(opened):
    first = opened().path
    (opened.data / "table.json").write_text("[ ]")
    second = opened().path
    opened(version=2)
    assert opened.built == 3
    assert not first.exists()
    assert not second.exists()
    assert len(list(first.parent.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "pickle", "compressed"])
def test_damaged_is_rebuilt(opened, damage):
    path = opened().path
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[content.index(b"three")] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "pickle":
        np.savez(path, name=np.array([{"a": 1}], dtype=object))
    else:
        np.savez_compressed(path, **COLUMNS)
    index = opened()
    assert opened.built == 2
    assert index.text("name", 1) == "three"
    assert zipfile.ZipFile(path).testzip() is None


def test_where_it_lies(opened, tmp_path, monkeypatch):
    opened.data.chmod(0o555)
    home = opened().path
    assert home.is_relative_to(tmp_path / "home/.cache/lidistill")
    assert not (opened.data / ".lidistill").exists()
    opened.data.chmod(0o755)
    monkeypatch.setenv("LIDISTILL_CACHE", str(tmp_path / "cache"))
    assert opened().path.is_relative_to(tmp_path / "cache")
    assert opened.built == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIDISTILL_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .*; set LIDISTILL_CACHE to a folder"):
        opened(version=3)


def test_two_data_sets_share_a_cache_folder(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDISTILL_CACHE", str(tmp_path / "cache"))
    opened()
    other = tmp_path / "other"
    other.mkdir()
    (other / "table.json").write_text("[1]")
    index = open_index("tables", other, [other / "table.json"], 1, lambda: {"x": np.zeros(2)})
    assert index["x"].shape == (2,)
    opened()
    assert opened.built == 1


def test_nothing_is_kept_of_a_build_that_fails(opened):
    def fail():
        raise InputError("no")

    with pytest.raises(InputError):
        open_index("tables", opened.data, [opened.data / "table.json"], 1, fail)
    assert not (opened.data / ".lidistill").exists()
    with pytest.raises(InputError, match=r"absent.json: the file is missing"):
        open_index("tables", opened.data, [opened.data / "absent.json"], 1, fail)


# ---- large tables in pieces

FORMS = {
    "release": '[\n{\n"token": "a",\n"n": 1\n},\n{\n"token": "b",\n"n": [1.5, 2]\n},\n{\n"token": "é]",\n"n": 3\n}\n]',
    "compact": '[{"token":"a","n":1},{"token":"b","n":[1.5,2]},{"token":"é]","n":3}]',
    "spaced": ' [ { "token": "a", "n": 1 } ,\r\n { "token": "b", "n": [1.5, 2] } , { "token": "é]", "n": 3 } ] \n',
}
ROWS = [{"token": "a", "n": 1}, {"token": "b", "n": [1.5, 2]}, {"token": "é]", "n": 3}]


@pytest.mark.parametrize("chunk", [*range(1, 12), 40, 1000])
@pytest.mark.parametrize("form", FORMS)
def test_any_piece_size_gives_the_same_rows(tmp_path, monkeypatch, form, chunk):
    monkeypatch.setattr(json_table, "CHUNK", chunk)
    path = tmp_path / "table.json"
    path.write_text(FORMS[form], encoding="utf-8")
    if FORMS[form][:chunk].lstrip():  # white space at the start must fit into the first piece
        assert [row for rows in stream_table(path, lambda text: True) for row in rows] == ROWS == read_table(path)
        assert [row for rows in stream_table(path, lambda text: '"b"' in text) for row in rows] == ROWS[1:2]


def test_empty_table(tmp_path):
    path = tmp_path / "table.json"
    for content in ("[]", "[\n]\n"):
        path.write_text(content)
        assert [row for rows in stream_table(path, lambda text: True) for row in rows] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}, {"a": 2}', "ends in row 2 without"),
        (b'[{"a": 1}, {"a": ', "ends in row 2 without"),
        (b'[{"a": 1}, {"a" 2}, {"a": 3}]', "row 2 is not JSON"),
        (b'[{"a": 1} {"a": 2}]', "row 1 is not JSON"),
        (b'{"a": 1}', "expected a JSON list of rows, found"),
        (b"", "expected a JSON list of rows, found"),
        (b"[1, 2]", r"expected rows \{...\} from row 1 on"),
        (b'[{"a": "\xff"}]', "not text"),
    ],
)
def test_damaged_table(tmp_path, content, message):
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(stream_table(path, lambda text: True))
    assert str(caught.value).startswith(str(path))
    with pytest.raises(InputError, match=str(path)):
        read_table(path)


def test_missing_table(tmp_path):
    for read in (read_table, lambda path: list(stream_table(path, lambda text: True))):
        with pytest.raises(InputError, match=r"absent.json: the table cannot be read \(No such file"):
            read(tmp_path / "absent.json")
