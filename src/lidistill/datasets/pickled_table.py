"""Pickled pandas tables, read without pandas and without trusting them (PandaSet's ``.pkl.gz``).

A pickle is a program: it names functions and calls them. Here nothing that a file names is ever looked up or called.
The pickle machine runs with the opcodes that would call something replaced: they note the name, its arguments and its
state (``Made``). Names must be among those a table of numbers is made of. What was noted is read as a table of pandas
0.14 to 3, whatever version is installed, or none; arrays are views of the file's bytes.

Even without a call a small program can ask for any amount of memory or time: a buffer of a given size, a million sets,
a tuple of tuples that has 2^60 members when it is hashed or printed. So steps and columns are counted, buffers are no
larger than the file, and keys and names of columns are texts.
"""

from __future__ import annotations

import io
import itertools
import pickle
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

MOST = 2**26
"""Bytes that a file may unpack to; a PandaSet sweep has 2^23. A few bytes of gzip can hold a thousand times as many."""
STEPS = 2**16
"""Opcodes that a table may take; a PandaSet sweep takes 365."""
COLUMNS = 256
"""Columns that a table may have; a PandaSet sweep has 6."""

KNOWN = {
    f"{module}.{name}"
    for modules, names in {
        "numpy": "ndarray dtype",
        "numpy.core.multiarray numpy._core.multiarray": "_reconstruct scalar",
        "numpy.core.numeric numpy._core.numeric": "_frombuffer",
        "builtins __builtin__": "slice bytearray",
        "_codecs": "encode",
        "pandas": "DataFrame Index RangeIndex StringDtype",
        "pandas.core.frame": "DataFrame",
        "pandas.core.internals pandas.core.internals.managers": "BlockManager",
        "pandas._libs.internals": "_unpickle_block",
        "pandas.core.index pandas.indexes.base pandas.core.indexes.base": "_new_Index Index",
        "pandas.indexes.range pandas.core.indexes.range": "RangeIndex",
        "pandas.indexes.numeric pandas.core.indexes.numeric": "Int64Index UInt64Index Float64Index",
        "pandas.arrays": "ArrowStringArray StringArray",
        "pandas.core.arrays.string_": "StringArray StringArrayNumpySemantics StringDtype",
        "pandas.core.arrays.string_arrow": "ArrowStringArray ArrowStringArrayNumpySemantics",
        "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
        "pyarrow.lib": "_restore_array type_for_alias py_buffer chunked_array",
    }.items()
    for module in modules.split()
    for name in names.split()
}
"""Names that occur in pickled tables of numbers with names of columns."""


class RefusedError(Exception):
    """A pickle names something that is not ``KNOWN``."""


class Name(str):
    """A ``KNOWN`` name."""


@dataclass(eq=False)
class Made:
    """What a pickle would have made by calling ``name`` with ``args`` and then setting ``state``."""

    name: Any
    args: Any
    state: Any = None

    def is_from(self, *names: str) -> bool:
        """Whether it was to be made by one of ``names``, in whichever module."""
        return isinstance(self.name, Name) and self.name.rpartition(".")[2] in names


class Counted(dict[int, Any]):
    """Opcodes and what they do, handed out ``STEPS`` times."""

    left = STEPS

    def __getitem__(self, opcode: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"more than {STEPS} steps")
        return super().__getitem__(opcode)


class Machine(pickle._Unpickler):
    """The pickle machine of the standard library (the one in Python), calling nothing."""

    stack: list[Any]
    memo: dict[int, Any]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    for unused in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.EXT1, pickle.EXT2, pickle.EXT4):
        del dispatch[unused[0]]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.dispatch = Counted(Machine.dispatch)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Name:
        """The name itself; raises ``RefusedError`` for one that is not ``KNOWN``."""
        if f"{module}.{name}" not in KNOWN:
            raise RefusedError(f"{module}.{name}")
        return Name(f"{module}.{name}")

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.stack.append(Made(klass, tuple(args)))

    def _reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = Made(self.stack[-1], args)

    def _new(self) -> None:
        args, klass = self.stack.pop(), self.stack.pop()
        self.stack.append(Made(klass, args))

    def _new_with_keywords(self) -> None:
        self.stack.pop()
        self._new()

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Made):
            raise pickle.UnpicklingError("a state for what has none")
        self.stack[-1].state = state

    def _buffer(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        content = self.read(size)
        if len(content) < size:
            raise EOFError("the pickle ends in a buffer")
        self.stack.append(content)

    def _dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({_text(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_text(key)] = value

    def _set_items(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update((_text(key), value) for key, value in zip(items[::2], items[1::2], strict=True))

    def _put(self) -> None:
        # chosen numbers could all have one hash
        number = int(self.readline()[:-1])
        if not 0 <= number <= STEPS:
            raise pickle.UnpicklingError("a memo beyond all steps")
        self.memo[number] = self.stack[-1]

    dispatch[pickle.BYTEARRAY8[0]] = _buffer
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.PUT[0]] = _put
    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.NEWOBJ_EX[0]] = _new_with_keywords
    dispatch[pickle.BUILD[0]] = _build


def read_pickled_table(path: Path, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The ``columns`` of a gzipped pickled DataFrame: (N,) numbers each, read-only views, in the file's order of rows.

    Raises ``InputError`` for a file that is missing, truncated, no such pickle, names anything that a table does not
    need, unpacks to more than 64 MiB, or lacks a column of numbers, or whose columns differ in length.
    """
    content = _unpack(path)
    try:
        table = Machine(content).load()
    except RefusedError as error:
        raise InputError(
            f"{path}: the pickle asks for {_printable(error)}, which a table of numbers does not need; nothing of it "
            "was run, delete the file and copy the original"
        ) from None
    except Exception as error:  # a damaged program fails in any way
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    try:
        found = _columns(table, columns, path)
    except InputError:
        raise
    except Exception as error:  # what was noted need not make sense
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    lengths = {column: len(values) for column, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise _damaged(path, f"columns of different lengths: {lengths}")
    return found


def _unpack(path: Path) -> bytes:
    gunzip = zlib.decompressobj(wbits=31)
    try:
        with path.open("rb") as file:
            content = gunzip.decompress(file.read(MOST + 1), MOST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy it again") from None
    except zlib.error as error:
        raise InputError(f"{path}: damaged or no gzip ({error}); copy it again") from None
    if len(content) > MOST:
        raise InputError(f"{path}: unpacks to more than {MOST >> 20} MiB, expected a table of one sweep; copy it again")
    if not gunzip.eof:
        raise InputError(f"{path}: the file is truncated, its gzip has no end; copy it again")
    return content


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: not a pickled pandas table ({_printable(reason)}); the file is damaged, copy it again")


def _printable(text: object) -> str:
    """At most 160 characters of what a file may have chosen, on one line."""
    return str(text)[:160].encode("unicode_escape").decode()


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise pickle.UnpicklingError(f"a key that is no text but a {type(key).__name__}")
    return key


# ---- the table in what was noted


def _columns(table: Any, columns: Sequence[str], path: Path) -> dict[str, NDArray[Any]]:
    blocks, axes = _manager(table)
    names = [name if isinstance(name, str) else type(name).__name__ for name in _names(axes[0])]
    if max(len(names), len(blocks)) > COLUMNS:
        raise ValueError(f"more than {COLUMNS} columns")
    found: dict[str, NDArray[Any]] = {}
    for values, placement in blocks:
        places = _places(placement, len(names))
        if not any(names[place] in columns for place in places):
            continue
        array = _array(values, f"{path}: column {names[places[0]][:80]!r}")
        if array.ndim not in (1, 2):
            raise ValueError(f"columns of {array.ndim} dimensions")
        for place, row in zip(places, array if array.ndim == 2 else array[None], strict=True):
            if names[place] in found:
                raise ValueError("a column is there twice")
            if names[place] in columns:
                found[names[place]] = row
    for column in columns:
        if column not in found:
            there = _printable(", ".join(names)) or "none"
            raise InputError(f"{path}: no column {column!r}, found {there}; copy the original file again")
    return {column: found[column] for column in columns}


def _manager(table: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """(values, placement) of every block, and the axes: names of columns first."""
    if not isinstance(table, Made) or not table.is_from("DataFrame") or not isinstance(table.state, dict):
        raise ValueError("no DataFrame")
    manager = table.state.get("_mgr", table.state.get("_data"))
    if not isinstance(manager, Made) or not manager.is_from("BlockManager"):
        raise ValueError("a DataFrame without a BlockManager")
    if manager.args:  # pandas 1.3 and later: (blocks, axes)
        blocks, axes = manager.args
        return [(block.args[0], block.args[1]) for block in blocks], axes
    state = manager.state[-1]["0.14.1"]
    return [(block["values"], block["mgr_locs"]) for block in state["blocks"]], state["axes"]


def _names(index: Any) -> list[Any]:
    """Names of the columns: an index of objects, of texts as objects, or of texts as pyarrow keeps them."""
    if not index.is_from("_new_Index"):
        raise ValueError("an index of no known form")
    data = index.args[1].get("data")
    if isinstance(data, Made) and isinstance(data.state, dict):
        data = data.state.get("_pa_array", data.state.get("_ndarray"))
    elif isinstance(data, Made) and data.is_from("__pyx_unpickle_NDArrayBacked"):
        data = data.state[1] if isinstance(data.state[1], Made) else data.state[0]
    if isinstance(data, Made) and data.is_from("chunked_array"):
        (data,) = data.args[0]
    if isinstance(data, Made) and data.is_from("_restore_array"):
        return _arrow_texts(data)
    if isinstance(data, Made) and data.is_from("_reconstruct") and isinstance(data.state[4], list):
        return data.state[4]
    raise ValueError("columns without names")


def _arrow_texts(array: Made) -> list[str]:
    """Texts of an Arrow array: all characters in one buffer, where each begins in another."""
    kind, count, _, start, (_, ends, characters), *_ = array.args[0]
    offsets = np.frombuffer(_bytes(ends), "<i8" if kind.args[0].startswith("large") else "<i4")
    offsets = offsets[start : start + min(count, COLUMNS) + 1].tolist()
    if sorted(offsets) != offsets or offsets[0] < 0:
        raise ValueError("texts that overlap")
    text = _bytes(characters)
    return [text[begin:end].decode() for begin, end in itertools.pairwise(offsets)]


def _places(placement: Any, columns: int) -> list[int]:
    """Numbers of the columns that the rows of a block are."""
    if placement.is_from("slice"):
        return list(range(columns))[slice(*placement.args)]
    places = _array(placement, "placement")
    if places.size > columns:
        raise ValueError("more places than columns")
    return [int(place) for place in places]


def _array(made: Any, where: str) -> NDArray[Any]:
    if not isinstance(made, Made) or not made.is_from("_reconstruct", "_frombuffer"):
        raise InputError(f"{where} holds no plain numbers; copy the original file again")
    if made.is_from("_frombuffer"):
        data, kind, shape, order = made.args
    else:
        _, shape, kind, fortran, data = made.state
        order = "F" if fortran else "C"
    code, byteorder = kind.args[0], kind.state[1]
    if not re.fullmatch("[biuf][1248]", code) or byteorder not in "<>|=":
        raise InputError(f"{where} is of type {code[:20]!r}, expected numbers; copy the original file again")
    array: NDArray[Any] = np.frombuffer(_bytes(data), np.dtype(byteorder + code)).reshape(shape, order=order)
    return array


def _bytes(data: Any) -> bytes:
    """Bytes as they are, or as older protocols write them: text to be encoded."""
    if isinstance(data, Made) and data.is_from("py_buffer", "bytearray"):
        return _bytes(data.args[0])
    if isinstance(data, Made) and data.is_from("encode"):
        return bytes(data.args[0].encode("latin1"))
    if not isinstance(data, bytes):
        raise ValueError("no bytes")
    return data
