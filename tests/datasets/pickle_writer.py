"""Pickles as old versions of pandas wrote them, and as attackers do: any name, called with anything."""

from __future__ import annotations

import gzip
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


@dataclass
class Global:
    """A name that the reader of the pickle is to look up."""

    module: str
    name: str


@dataclass
class Call:
    """What a name makes of its arguments: by a call, or as a new object of that class; then its state."""

    what: Any
    args: tuple
    state: Any = None
    new: bool = False


class Writer(pickle._Pickler):
    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_global_name(self, obj):
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    def save_call(self, obj):
        self.save(obj.what)
        self.save(obj.args)
        self.write(pickle.NEWOBJ if obj.new else pickle.REDUCE)
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    dispatch[Global] = save_global_name
    dispatch[Call] = save_call


def dumps(obj: Any, protocol: int = 3) -> bytes:
    file = io.BytesIO()
    Writer(file, protocol).dump(obj)
    return file.getvalue()


def index(names: list[str]) -> Call:
    data = {"data": np.array(names, object), "name": None}
    base = "pandas.core.indexes.base"
    return Call(Global(base, "_new_Index"), (Global(base, "Index"), data))


def table(**columns: np.ndarray) -> Call:
    """A DataFrame as pandas 0.25 pickles it: columns of one type are the rows of one array."""
    names = list(columns)
    kinds = list(dict.fromkeys(column.dtype for column in columns.values()))
    blocks = []
    for kind in kinds:
        places = [i for i, name in enumerate(names) if columns[name].dtype == kind]
        even = places == list(range(places[0], places[-1] + 1))
        place = Call(Global("builtins", "slice"), (places[0], places[-1] + 1, 1)) if even else np.array(places)
        blocks.append({"values": np.stack([columns[names[i]] for i in places]), "mgr_locs": place})
    rows = {"name": None, "start": 0, "stop": len(columns[names[0]]) if names else 0, "step": 1}
    lines = Call(
        Global("pandas.core.indexes.base", "_new_Index"), (Global("pandas.core.indexes.range", "RangeIndex"), rows)
    )
    axes = [index(names), lines]
    state = (
        axes,
        [block["values"] for block in blocks],
        [index(names)],
        {"0.14.1": {"axes": axes, "blocks": blocks}},
    )
    manager = Call(Global("pandas.core.internals.managers", "BlockManager"), (), state, new=True)
    frame = {"_data": manager, "_typ": "dataframe", "_metadata": [], "attrs": {}}
    return Call(Global("pandas.core.frame", "DataFrame"), (), frame, new=True)


def write(path: Path, obj: Any, protocol: int = 3) -> Path:
    """A gzipped pickle of the numpy of old: ``numpy.core``, now ``numpy._core``."""
    content = dumps(obj, protocol)
    path.parent.mkdir(parents=True, exist_ok=True)
    # in protocol 3 names end with a line, so that they may change their length
    path.write_bytes(gzip.compress(content.replace(b"numpy._core.", b"numpy.core.") if protocol < 4 else content, 1))
    return path


def write_table(path: Path, **columns: Any) -> Path:
    return write(path, table(**{name: np.asarray(column) for name, column in columns.items()}))
