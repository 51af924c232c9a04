"""Pickled pandas tables, read without pandas and without trusting them (PandaSet's ``.pkl.gz``).

A pickle is a program: it names functions and calls them. Here nothing that a file names is ever looked up or called.
The pickle machine runs with the opcodes that would call something replaced: they note the name, its arguments and its
state (``Made``). Names must be among those a table of numbers is made of. What was noted is read as a table of pandas
0.14 to 3, whatever version is installed, or none; arrays are views of the file's bytes.
"""

from __future__ import annotations

import io
import pickle
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lidistill.errors import InputError

MOST = 2**26
"""Bytes that a file may unpack to; a PandaSet sweep has 2^23. A few bytes of gzip can hold a thousand times as many."""

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


class Machine(pickle._Unpickler):
    """The pickle machine of the standard library (the one in Python), calling nothing."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

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

    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.NEWOBJ_EX[0]] = _new_with_keywords
    dispatch[pickle.BUILD[0]] = _build


def read_pickled_table(path: Path, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The ``columns`` of a gzipped pickled DataFrame: (N,) numbers each, read-only views, in the file's order of rows.

    Raises ``InputError`` for a file that is missing, truncated, no such pickle, names anything that a table does not
    need, unpacks to more than 64 MiB, or lacks a column of numbers.
    """
    content = _unpack(path)
    try:
        table = Machine(io.BytesIO(content)).load()
    except RefusedError as error:
        raise InputError(
            f"{path}: the pickle asks for {error}, which a table of numbers does not need; nothing of it was run, "
            "delete the file and copy the original"
        ) from None
    except Exception as error:  # a damaged program fails in any way
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    try:
        found = dict(_columns(table, set(columns), path))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    for column in columns:
        if column not in found:
            there = ", ".join(map(str, _names(_manager(table)[1][0])))
            raise InputError(f"{path}: no column {column!r}, found {there or 'none'}; copy the original file again")
    return {column: found[column] for column in columns}


def _unpack(path: Path) -> bytes:
    gunzip = zlib.decompressobj(wbits=31)
    try:
        content = gunzip.decompress(path.read_bytes(), MOST + 1)
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
    return InputError(f"{path}: not a pickled pandas table ({reason[:160]}); the file is damaged, copy it again")


# ---- the table in what was noted


def _columns(table: Any, wanted: set[str], path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    blocks, axes = _manager(table)
    names = _names(axes[0])
    for values, placement in blocks:
        places = _places(placement, len(names))
        if wanted.isdisjoint(names[place] for place in places):
            continue
        array = _array(values, f"{path}: column {names[places[0]]!r}")
        for place, row in zip(places, array if array.ndim == 2 else array[None], strict=True):
            if names[place] in wanted:
                yield names[place], row


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
    offsets = np.frombuffer(_bytes(ends), "<i8" if kind.args[0].startswith("large") else "<i4").tolist()
    text = _bytes(characters)
    return [text[offsets[i] : offsets[i + 1]].decode() for i in range(start, start + count)]


def _places(placement: Any, columns: int) -> list[int]:
    """Numbers of the columns that the rows of a block are."""
    if placement.is_from("slice"):
        return list(range(columns))[slice(*placement.args)]
    places: list[int] = _array(placement, "placement").tolist()
    return places


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
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError("no bytes")
    return bytes(data) if isinstance(data, bytearray) else data
