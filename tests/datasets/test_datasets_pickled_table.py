from __future__ import annotations

import gzip
import os
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from pickle_writer import Call, Global, dumps, table, write, write_table

from lidistill.datasets import pickled_table
from lidistill.datasets.pickled_table import read_pickled_table
from lidistill.errors import InputError

COLUMNS = {
    "x": np.array([1.5, -2, 3e5]),
    "d": np.array([0, 1, 1]),
    "y": np.array([4.0, 5, np.nan]),
    "i": np.array([7, 8, 9], np.uint8),
}


def same(found, columns):
    assert list(found) == list(columns)
    for name in columns:
        np.testing.assert_array_equal(found[name], COLUMNS[name])
        assert found[name].dtype == COLUMNS[name].dtype


# ---- tables


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_old_tables(tmp_path, protocol):
    path = write(tmp_path / "00.pkl.gz", table(**COLUMNS), protocol)
    same(read_pickled_table(path, ["x", "d", "y", "i"]), ["x", "d", "y", "i"])


def test_some_columns_in_the_order_asked_for(tmp_path):
    found = read_pickled_table(write_table(tmp_path / "00.pkl.gz", **COLUMNS), ["i", "x"])
    assert {*found} == {"i", "x"}
    np.testing.assert_array_equal(found["x"], COLUMNS["x"])


@pytest.mark.parametrize("storage", ["pyarrow", "python", "object"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tables_of_the_installed_pandas(tmp_path, storage, protocol):
    """Names of columns are kept in three ways; blocks that were never joined, rows that were chosen."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dict(list(COLUMNS.items())[:3]))
    if storage == "object":
        frame.columns = frame.columns.astype(object)
    else:
        with pandas.option_context("mode.string_storage", storage):
            frame.columns = pandas.Index([*COLUMNS][:3], dtype="str")
    frame["i"] = COLUMNS["i"]
    frame["comment"] = "text"
    path = tmp_path / "00.pkl.gz"
    frame.to_pickle(path, protocol=protocol)
    same(read_pickled_table(path, ["x", "d", "y", "i"]), ["x", "d", "y", "i"])
    frame[frame["d"] == 1].to_pickle(path, protocol=protocol)
    np.testing.assert_array_equal(read_pickled_table(path, ["x"])["x"], COLUMNS["x"][1:])
    with pytest.raises(InputError, match="column 'comment' holds no plain numbers"):
        read_pickled_table(path, ["comment"])


def test_neither_pandas_nor_torch_is_imported(tmp_path):
    path = write_table(tmp_path / "00.pkl.gz", **COLUMNS)
    program = (
        "import sys; from pathlib import Path; from lidistill.datasets.pickled_table import read_pickled_table\n"
        f"read_pickled_table(Path({str(path)!r}), ['x'])\n"
        "assert not {'pandas', 'pyarrow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# ---- pickles that mean harm


CALLS = {
    "system": (Global("os", "system"), ("touch {victim}",), "os.system"),
    "posix": (Global("posix", "system"), ("touch {victim}",), "posix.system"),
    "eval": (Global("builtins", "eval"), ("open('{victim}', 'w')",), "builtins.eval"),
    "getattr": (Global("builtins", "getattr"), (Global("os", "system"), "x"), "builtins.getattr"),
    "numpy-looking module": (Global("numpy.f2py.os", "system"), ("touch {victim}",), "numpy.f2py.os.system"),
    "numpy-looking name": (
        Global("numpy.core.multiarray", "_reconstruct.__globals__"),
        (),
        "numpy.core.multiarray._reconstruct.__globals__",
    ),
    "numpy runs code": (
        Global("numpy.testing._private.utils", "runstring"),
        ("open('{victim}', 'w')", {}),
        "numpy.testing._private.utils.runstring",
    ),
    "numpy loads pickles": (Global("numpy", "load"), ("{victim}",), "numpy.load"),
    "pandas reads pickles": (Global("pandas", "read_pickle"), ("{victim}",), "pandas.read_pickle"),
    "pandas runs code": (Global("pandas", "eval"), ("1",), "pandas.eval"),
    "pandas-looking module": (
        Global("pandas.io.common.os", "system"),
        ("touch {victim}",),
        "pandas.io.common.os.system",
    ),
    "copyreg": (
        Global("copyreg", "_reconstructor"),
        (Global("builtins", "object"), None, None),
        "copyreg._reconstruct",
    ),
}


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("name", CALLS)
def test_malicious_pickles(tmp_path, name, protocol):
    what, args, named = CALLS[name]
    victim = tmp_path / "victim"
    call = Call(what, tuple(arg.format(victim=victim) if isinstance(arg, str) else arg for arg in args))
    nested = table(**COLUMNS)
    nested.state["_metadata"] = [{"deep": (call,)}]
    for obj in (call, nested):
        path = write(tmp_path / "00.pkl.gz", obj, protocol)
        with pytest.raises(InputError, match="the pickle asks for") as caught:
            read_pickled_table(path, ["x"])
        text = str(caught.value)
        assert str(path) in text
        assert (named in text) or "os.system" in text
        assert "nothing of it was run" in text
    assert not victim.exists()


def test_a_real_attack(tmp_path):
    """As Python itself writes one; the same bytes do harm when they are unpickled."""

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "victim"),)

    content = pickle.dumps(Attack())
    path = tmp_path / "00.pkl.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"the pickle asks for posix.mkdir|nt.mkdir"):
        read_pickled_table(path, ["x"])
    assert not (tmp_path / "victim").exists()
    pickle.loads(content)
    assert (tmp_path / "victim").exists()


def test_known_names_are_not_called(tmp_path):
    """Names that a table needs may be misused: 2^50 bytes, an array of pointers out of raw bytes."""
    huge = Call(Global("builtins", "bytearray"), (1 << 50,))
    pointers = table(**COLUMNS)
    block = pointers.state["_data"].state[3]["0.14.1"]["blocks"][0]
    kind = Call(Global("numpy", "dtype"), ("O8", False, True), (3, "<", None, None, None, -1, -1, 0))
    block["values"] = Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        (Global("numpy", "ndarray"), (0,), b"b"),
        (1, (2, 3), kind, False, b"\x41" * 48),
    )
    sizes = table(**COLUMNS)
    block = sizes.state["_data"].state[3]["0.14.1"]["blocks"][0]
    kind = Call(Global("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    block["values"] = Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        (Global("numpy", "ndarray"), (1 << 60,), b"b"),
        (1, (1 << 40, 1 << 20), kind, False, b"1" * 48),
    )
    for obj, message in (
        (huge, "no DataFrame"),
        (pointers, "of type 'O8'"),
        (sizes, "cannot reshape|too big|too large"),
    ):
        with pytest.raises(InputError, match=message):
            read_pickled_table(write(tmp_path / "00.pkl.gz", obj), ["x"])


# doubling 22 times is seconds; an attacker doubles 60 times
NESTED = pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 22
HOSTILE = {
    "a buffer of 256 MiB": (pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 28) + b"x.", "the pickle ends in a buffer"),
    "a key with four million members": (b"}" + NESTED + b"Ns.", "a key that is no text"),
    "such a key among several": (b"}(" + NESTED + b"Nu.", "a key that is no text"),
    "such a key of a new dict": (b"(" + NESTED + b"Nd.", "a key that is no text"),
    "such a member of a set": (b"(" + NESTED + pickle.FROZENSET + b".", "KeyError: 145"),
    "a hundred thousand dicts": (b"}" * 100_000 + b".", "more than 65536 steps"),
    "memo numbers of one hash": (b"Np%d\n." % (2**61 - 1), "a memo beyond all steps"),
    "a key without a value": (b"}(Nu.", "not a pickled pandas table"),
    "a name of a megabyte": (b"cos\n" + b"a" * (1 << 20) + b"\n.", "asks for os.aaa"),
    "a name of several lines": (
        pickle.SHORT_BINUNICODE + b"\x02os" + pickle.SHORT_BINUNICODE + b"\x05a\n\x1b[7" + pickle.STACK_GLOBAL + b".",
        r"asks for os\.a\\n\\x1b\[7,",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_small_programs_that_ask_for_much(tmp_path, name):
    program, message = HOSTILE[name]
    path = tmp_path / "00.pkl.gz"
    path.write_bytes(gzip.compress(b"\x80\x05" + program))
    with pytest.raises(InputError, match=message) as caught:
        read_pickled_table(path, ["x"])
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_tables_that_ask_for_much(tmp_path):
    """What the opcodes leave behind must be as harmless as they are."""
    selfish: list = []
    selfish.append(Call(Global("pyarrow.lib", "py_buffer"), selfish))  # a buffer of itself of itself ...
    kind = Call(Global("pyarrow.lib", "type_for_alias"), ("string",))
    # a megabyte of text again and again: 200 names of it
    ends = np.array([0, 1 << 20] * 100, "<i4").tobytes()
    wide = (kind, 199, 0, 0, (None, ends, b"a" * (1 << 20)))
    for names, message in (
        ((kind, 1, 0, 0, (None, selfish[0], b"x")), "RecursionError"),
        (wide, "texts that overlap"),
    ):
        obj = table(**COLUMNS)
        arrow = Call(
            Global("pyarrow.lib", "chunked_array"), ([Call(Global("pyarrow.lib", "_restore_array"), (names,))],)
        )
        texts = Call(Global("pandas.arrays", "ArrowStringArray"), (), {"_pa_array": arrow}, new=True)
        base = "pandas.core.indexes.base"
        obj.state["_data"].state[3]["0.14.1"]["axes"][0] = Call(
            Global(base, "_new_Index"), (Global(base, "Index"), {"data": texts, "name": None})
        )
        with pytest.raises(InputError, match=message):
            read_pickled_table(write(tmp_path / "00.pkl.gz", obj, 4), ["x"])


def test_columns_that_are_none(tmp_path):
    """Rows of different lengths, of three dimensions, twice, and too many."""
    short, deep, twice = (table(**COLUMNS) for _ in range(3))
    many = table(**{f"c{i}": np.arange(2.0) for i in range(300)})
    blocks = short.state["_data"].state[3]["0.14.1"]["blocks"]
    blocks[0]["values"] = blocks[0]["values"][:, :-1]
    blocks = deep.state["_data"].state[3]["0.14.1"]["blocks"]
    blocks[0]["values"] = blocks[0]["values"][..., None]
    blocks = twice.state["_data"].state[3]["0.14.1"]["blocks"]
    blocks.append(blocks[0])
    for obj, columns, message in (
        (short, ["x", "d"], "columns of different lengths"),
        (deep, ["x"], "columns of 3 dimensions"),
        (twice, ["x"], "a column is there twice"),
        (many, ["c1"], "more than 256 columns"),
    ):
        with pytest.raises(InputError, match=message):
            read_pickled_table(write(tmp_path / "00.pkl.gz", obj), columns)


def test_a_gzip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled_table, "MOST", 1 << 20)
    bomb = zlib.compressobj(9, wbits=31)
    content = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush()
    assert len(content) < 100_000
    path = tmp_path / "00.pkl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        read_pickled_table(path, ["x"])


# ---- damage


def test_damaged_files(tmp_path):
    good = write_table(tmp_path / "good.pkl.gz", **COLUMNS).read_bytes()
    content = gzip.decompress(good)
    for damaged, message in (
        (good[:-4], "truncated"),
        (good[:30], "truncated"),
        (b"", "truncated"),
        (good[:200] + b"\0" * 9 + good[209:], "damaged or no gzip"),
        (content, "damaged or no gzip"),
        (gzip.compress(content[:-5]), "not a pickled pandas table"),
        (gzip.compress(content[: len(content) // 2]), "not a pickled pandas table"),
        (gzip.compress(b"x,y,z\n1,2,3\n"), "not a pickled pandas table"),
        (gzip.compress(dumps({"x": np.ones(3)})), "no DataFrame"),
        (gzip.compress(dumps(np.ones(3))), "no DataFrame"),
    ):
        path = tmp_path / "00.pkl.gz"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=message) as caught:
            read_pickled_table(path, ["x"])
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="cannot be read"):
        read_pickled_table(tmp_path / "absent.pkl.gz", ["x"])


def test_every_flipped_byte_is_a_table_or_an_error(tmp_path):
    content = bytearray(gzip.decompress(write_table(tmp_path / "00.pkl.gz", **COLUMNS).read_bytes()))
    path, refused = tmp_path / "00.pkl.gz", 0
    for place in range(0, len(content), 3):
        content[place] ^= 0x55
        path.write_bytes(gzip.compress(bytes(content), 0))
        try:
            read_pickled_table(path, ["x", "d"])
        except InputError:
            refused += 1
        content[place] ^= 0x55
    assert refused > 100


def test_missing_and_wrong_columns(tmp_path):
    path = write_table(tmp_path / "00.pkl.gz", **COLUMNS, time=np.array([1, 2, 3], "M8[s]"))
    with pytest.raises(InputError, match=r"no column 'z', found x, d, y, i, time"):
        read_pickled_table(path, ["x", "z"])
    with pytest.raises(InputError, match=r"column 'time' is of type 'M8', expected numbers"):
        read_pickled_table(path, ["time"])


def test_real_files(real):
    """Old pandas; equal to what the installed one makes of them."""
    pandas = pytest.importorskip("pandas")
    root = real("pandaset")
    for path, columns in (
        (root / "001/lidar/01.pkl.gz", ["x", "y", "z", "i", "t", "d"]),
        (root / "001/annotations/semseg/01.pkl.gz", ["class"]),
    ):
        found, expected = read_pickled_table(path, columns), pandas.read_pickle(path)
        for column in columns:
            np.testing.assert_array_equal(found[column], expected[column])
